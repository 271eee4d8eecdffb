"""A tiny random model of every family, with the logits, loss and gradients that `transformers` gives for it.

    pip install torch numpy safetensors transformers gguf
    python tests/golden/families/make.py

Figures are from an independent implementation in float64, below; `transformers` in float32 must agree with it.
"""

import json
import math
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
BLOCKS, LENGTH, VOCAB, LAST = 4, 96, 160, 8
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

SIZES = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
LLAMA3 = dict(rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0)
FAMILIES = {
    "qwen2": (transformers.Qwen2Config, dict(rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True)),
    "qwen3": (
        transformers.Qwen3Config,
        dict(head_dim=24, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True),
    ),
    # Scaled so that 96 tokens see it.
    "llama32": (
        transformers.LlamaConfig,
        dict(
            rope_theta=5e5, rms_norm_eps=1e-5, tie_word_embeddings=True,
            rope_scaling=LLAMA3 | dict(factor=32.0, original_max_position_embeddings=32),
        ),
    ),
    # What else a Llama may have: biases on all of attention, linear scaling, a head of its own.
    "llama_biased": (
        transformers.LlamaConfig,
        dict(
            rope_theta=1e4, rms_norm_eps=1e-5, tie_word_embeddings=False, attention_bias=True,
            rope_scaling=dict(rope_type="linear", factor=2.5),
        ),
    ),
    # The layer without rotary embedding has others on both sides.
    "smollm3": (
        transformers.SmolLM3Config,
        dict(num_hidden_layers=5, rope_theta=5e6, rms_norm_eps=1e-6, tie_word_embeddings=True),
    ),
}  # fmt: skip


def random_state(model, generator):
    """Matrices that keep activations near 1, biases that matter, norms around 1; all of them BF16 numbers."""
    for name, p in model.state_dict().items():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.5 * noise
        else:
            value = noise * p.shape[1] ** -0.5
        p.copy_(value.bfloat16())


def frequencies(config):
    rope = config.rope_parameters
    d = config.head_dim
    f = rope["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    if rope["rope_type"] == "linear":
        return f / rope["factor"]
    if rope["rope_type"] == "llama3":
        low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
        wave = 2 * math.pi / f
        smooth = (old / wave - low) / (high - low)
        blended = (1 - smooth) * f / rope["factor"] + smooth * f
        return torch.where(wave > old / low, f / rope["factor"], torch.where(wave < old / high, f, blended))
    assert rope["rope_type"] == "default"
    return f


def forward(config, weights, ids, deltas):
    """Logits in float64; `deltas` are the DiaBlo blocks by path."""
    eps, d = config.rms_norm_eps, config.head_dim
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads

    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weights[name + ".weight"]

    def linear(x, path):
        y = x @ weights[path + ".weight"].T + torch.cat(
            [part @ block for part, block in zip(x.chunk(BLOCKS, -1), deltas[path])], -1
        )
        return y + weights[path + ".bias"] if path + ".bias" in weights else y

    angles = torch.arange(len(ids), dtype=torch.float64)[:, None] * frequencies(config)
    cos, sin = angles.cos(), angles.sin()

    def rotate(x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    mask = torch.full((len(ids), len(ids)), -math.inf, dtype=torch.float64).triu(1)
    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm")
        q, k, v = (linear(h, f"{at}self_attn.{p}_proj").view(len(ids), -1, d).transpose(0, 1) for p in "qkv")
        if at + "self_attn.q_norm.weight" in weights:
            q, k = norm(q, at + "self_attn.q_norm"), norm(k, at + "self_attn.k_norm")
        if not hasattr(config, "no_rope_layers") or config.no_rope_layers[layer]:
            q, k = rotate(q), rotate(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 0) for t in (k, v))
        y = (q @ k.transpose(1, 2) * d**-0.5 + mask).softmax(-1) @ v
        x = x + linear(y.transpose(0, 1).reshape(len(ids), -1), at + "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        gate, up = linear(h, at + "mlp.gate_proj"), linear(h, at + "mlp.up_proj")
        x = x + linear(torch.nn.functional.silu(gate) * up, at + "mlp.down_proj")
    return norm(x, "model.norm") @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


def paths(config):
    for layer in range(config.num_hidden_layers):
        for module in MODULES:
            part = "mlp" if module in MODULES[4:] else "self_attn"
            yield f"model.layers.{layer}.{part}.{module}"


def loss_of(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:])


def golden(config, state, ids):
    """Logits of the last positions, norms of all, the loss, the gradient of every block, norm and bias."""
    weights = {name: p.double() for name, p in state.items()}
    vectors = {name: p.requires_grad_() for name, p in weights.items() if p.ndim == 1}
    deltas = {}
    for path in paths(config):
        d_out, d_in = state[path + ".weight"].shape
        deltas[path] = torch.zeros(BLOCKS, d_in // BLOCKS, d_out // BLOCKS, dtype=torch.float64, requires_grad=True)
    logits = forward(config, weights, ids, deltas)
    loss = loss_of(logits, ids)
    loss.backward()

    # The same with `transformers`.
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    model.load_state_dict(state, strict=False)
    other = model(ids[None]).logits[0]
    loss_of(other, ids).backward()
    ours, theirs = {}, {}
    for path, delta in deltas.items():
        dense = model.get_submodule(path).weight.grad.T
        (r, c) = (n // BLOCKS for n in dense.shape)
        ours[path] = delta.grad
        theirs[path] = torch.stack([dense[i * r : (i + 1) * r, i * c : (i + 1) * c] for i in range(BLOCKS)])
    for name, vector in vectors.items():
        ours[name], theirs[name] = vector.grad, model.get_parameter(name).grad
    worst = max(float((theirs[name] - g).norm() / g.norm()) for name, g in ours.items())
    difference = (other - logits).abs().max().item()
    assert difference < 2e-5 and worst < 2e-5, (difference, worst)
    print(f"  loss {loss.item():.6f}; transformers: logits {difference:.1e}, gradients {worst:.1e}")
    tensors = {
        "input_ids": ids.int(),
        "logits": logits[-LAST:].float(),
        "logit_norms": logits.norm(dim=-1).float(),
        "loss": loss.float()[None],
    }
    tensors |= {f"grad.{name}": g.float() for name, g in ours.items()}
    return {name: t.detach().contiguous() for name, t in tensors.items()}


# GGUF


def permuted(w, heads):
    """As llama.cpp's converter stores q and k of a Llama or SmolLM3."""
    return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermuted(w, heads):
    return w.reshape(heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rotary_heads(config, name):
    """Number of heads of a tensor that is rotated, else None."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return next((n for part, n in heads.items() if f".{part}." in name), None)


def write_gguf(path, architecture, pre, config, state, raw=None):
    """`raw` holds the bytes of tensors that are quantised, with their type."""
    w = gguf.GGUFWriter(path, architecture)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_rope_freq_base(config.rope_parameters["rope_theta"])
    w.add_vocab_size(VOCAB)
    if config.rope_parameters["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(config.rope_parameters["factor"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(["<pad>", "<s>", "</s>"] + [f"t{i}" for i in range(3, VOCAB)])
    w.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (VOCAB - 3))
    w.add_token_merges(["t 3"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_pad_token_id(0)
    w.add_add_bos_token(False)

    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    if config.rope_parameters["rope_type"] == "llama3":
        plain = config.rope_parameters["rope_theta"] ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
        w.add_tensor("rope_freqs.weight", (plain / frequencies(config).numpy()).astype(np.float32))
    for name, t in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        data = t.float().numpy()
        if architecture in ("llama", "smollm3") and rotary_heads(config, name):
            data = permuted(data, rotary_heads(config, name))
        if raw and name in raw:
            w.add_tensor(stored, raw[name][0], raw_dtype=raw[name][1])
        elif data.ndim == 1:
            w.add_tensor(stored, data)
        else:
            bf16 = gguf.quantize(data, gguf.GGMLQuantizationType.BF16)
            w.add_tensor(stored, bf16, raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# One of each format, in rows long enough for it.
QUANTS = {
    "embed_tokens": "Q6_K", "q_proj": "Q4_K", "k_proj": "Q5_K", "v_proj": "Q6_K", "o_proj": "Q5_0",
    "gate_proj": "Q3_K", "up_proj": "Q2_K", "down_proj": "Q5_1",
}  # fmt: skip
# Where the f16 numbers of a block are.
HALVES = {
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q5_0": [0], "Q5_1": [0, 2],
}  # fmt: skip


def random_blocks(name, shape, rng):
    """Random bytes whose values spread as a matrix should, and the values."""
    ty = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[ty]
    blocks = rng.integers(0, 256, (shape[0], shape[1] // elements, size), dtype=np.uint8)
    centre = {"Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5, "Q5_1": -15.5}.get(name, 0.0)

    def scaled(scale):
        for at, factor in zip(HALVES[name], [1.0, centre]):
            noise = 1 + 0.3 * rng.random(blocks.shape[:2])
            blocks[..., at : at + 2] = (scale * factor * noise).astype(np.float16)[..., None].view(np.uint8)
        return gguf.dequantize(blocks.reshape(shape[0], -1), ty)

    spread = scaled(1e-3).std() / 1e-3
    return blocks.reshape(shape[0], -1), scaled(shape[1] ** -0.5 / spread)


def k_quants(rng):
    """A Llama whose matrices are in all of GGUF's other quantised formats."""
    sizes = SIZES | dict(hidden_size=256, intermediate_size=32, num_hidden_layers=1)
    config = transformers.LlamaConfig(**sizes, rope_theta=1e4, rms_norm_eps=1e-5, tie_word_embeddings=True)
    model = transformers.AutoModelForCausalLM.from_config(config)
    state, raw = model.state_dict(), {}
    random_state(model, torch.Generator().manual_seed(9))
    for name, p in state.items():
        quant = next((quant for part, quant in QUANTS.items() if part in name), None)
        if quant:
            blocks, values = random_blocks(quant, p.shape, rng)
            if heads := rotary_heads(config, name):
                values = unpermuted(values, heads)
            p.copy_(torch.from_numpy(values))
            raw[name] = (blocks, gguf.GGMLQuantizationType[quant])
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return config, state, raw


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(3)
    ids = torch.from_numpy(rng.integers(3, VOCAB, LENGTH))
    pre = dict(qwen2="qwen2", qwen3="qwen2", smollm3="smaug-bpe")
    for seed, (name, (kind, options)) in enumerate(FAMILIES.items()):
        print(name)
        config = kind(**(SIZES | options), dtype="bfloat16")
        model = transformers.AutoModelForCausalLM.from_config(config).float()
        config.architectures = [type(model).__name__]
        with torch.no_grad():
            random_state(model, torch.Generator().manual_seed(seed))
        state = model.state_dict()
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(config.to_json_string())
        kept = {n: t.bfloat16() for n, t in state.items() if n != "lm_head.weight" or not config.tie_word_embeddings}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        save_file(golden(config, state, ids), folder / "golden.safetensors")

        if name == "llama32":  # a GGUF file can say only what Llama 3.1 to 3.3 have
            config.rope_parameters["original_max_position_embeddings"] = 8192
            save_file(golden(config, state, ids), HERE / "llama32_gguf.safetensors")
        write_gguf(HERE / f"{name}.gguf", config.model_type, pre.get(name, "llama-bpe"), config, state)

    print("k_quants")
    with torch.no_grad():
        config, state, raw = k_quants(rng)
    save_file(golden(config, state, ids), HERE / "k_quants_gguf.safetensors")
    write_gguf(HERE / "k_quants.gguf", "llama", "llama-bpe", config, state, raw)


main()
