"""Random blocks of GGUF's quantised formats and their values, by the `gguf` package.

    pip install numpy safetensors gguf
    python tests/golden/quants/make.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from safetensors.numpy import save_file

# Where the f16 numbers of a block are: all else may be any bytes.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip

rng = np.random.default_rng(5)
tensors = {}
for name, halves in HALVES.items():
    ty = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[ty]
    blocks = rng.integers(0, 256, (3 if elements == 256 else 5, size), dtype=np.uint8)
    for at in halves:
        values = rng.normal(0, 0.02, len(blocks)).astype(np.float16)
        values[1] = 3e-7  # subnormal
        values[2] = 0.0 if at else -1.5
        blocks[:, at : at + 2] = values.view(np.uint8).reshape(-1, 2)
    tensors[f"{name}.blocks"] = blocks
    tensors[f"{name}.values"] = dequantize(blocks, ty).astype(np.float32).reshape(-1)
save_file(tensors, Path(__file__).parent / "blocks.safetensors")
