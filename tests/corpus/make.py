#!/usr/bin/env python3
"""Writes the hostile files of this folder, and to the folder given as argument the fuzz targets' first inputs (well-formed).

    python3 tests/corpus/make.py [SEEDS]

Needs nothing but Python. Files in open/ still end the program (panics of the tokenizers crate): no test reads them yet. Files named found-* were found by fuzzing and are not written here.
"""
import json, struct, sys
from pathlib import Path

HERE = Path(__file__).parent
BETWEEN = b"\n---\n"
CONFIG = dict(model_type="llama", hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
              num_key_value_heads=1, head_dim=2, hidden_act="silu", vocab_size=8, max_position_embeddings=16,
              rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True)


def put(target, name, data, root=HERE):
    folder = Path(root) / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def js(value):
    return json.dumps(value).encode()


# --- safetensors ---

def layer(hidden=4, mlp=8, q=4, kv=2):
    p = "model.layers.0."
    return [("model.embed_tokens.weight", [8, hidden]), (p + "input_layernorm.weight", [hidden]),
            (p + "self_attn.q_proj.weight", [q, hidden]), (p + "self_attn.k_proj.weight", [kv, hidden]),
            (p + "self_attn.v_proj.weight", [kv, hidden]), (p + "self_attn.o_proj.weight", [hidden, q]),
            (p + "post_attention_layernorm.weight", [hidden]), (p + "mlp.gate_proj.weight", [mlp, hidden]),
            (p + "mlp.up_proj.weight", [mlp, hidden]), (p + "mlp.down_proj.weight", [hidden, mlp]),
            ("model.norm.weight", [hidden])]


def count(shape):
    n = 1
    for d in shape:
        n *= d
    return n


SIZES = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8}


def tensors_file(tensors, dtype="F32", edit=lambda header: header, fill=0.25, tail=b""):
    header, data = {}, b""
    for name, shape in tensors:
        n = count(shape) * SIZES[dtype]
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[len(data), len(data) + n])
        one = struct.pack("<f", fill)[4 - min(4, SIZES[dtype]):]
        data += (one * count(shape))[:n].ljust(n, b"\0")
    header = edit(header)
    text = header if isinstance(header, bytes) else js(header)
    return struct.pack("<Q", len(text)) + text + data + tail


def safetensors(seeds):
    whole = tensors_file(layer())
    index = js({"metadata": {}, "weight_map": {name: "a.safetensors" for name, _ in layer()}})
    for dtype in SIZES:
        put("safetensors", dtype, tensors_file(layer(), dtype), seeds)
    put("safetensors", "config", js(CONFIG) + BETWEEN + whole, seeds)
    qwen = dict(CONFIG, model_type="qwen3", rope_scaling={"rope_type": "linear", "factor": 2.0}, eos_token_id=[1, 2])
    put("safetensors", "qwen3", js(qwen) + BETWEEN + whole, seeds)
    put("safetensors", "index", js(CONFIG) + BETWEEN + index + BETWEEN + whole, seeds)

    def edited(name, **keys):
        return lambda header: {**header, name: {**header[name], **keys}}
    embed, norm = "model.embed_tokens.weight", "model.norm.weight"
    put("safetensors", "empty", b"")
    put("safetensors", "seven-bytes", b"\x08\0\0\0\0\0\0")
    put("safetensors", "header-of-2-to-the-64", b"\xff" * 8 + whole[8:99])
    put("safetensors", "header-longer-than-file", struct.pack("<Q", 99_999_999) + whole[8:99])
    put("safetensors", "cut-in-the-data", whole[:-5])
    put("safetensors", "bytes-left-over", tensors_file(layer()[:1], tail=b"MZ\x90payload"))
    put("safetensors", "two-tensors-overlap", tensors_file(layer()[-2:], edit=edited(norm, data_offsets=[0, 16])))
    put("safetensors", "offset-2-to-the-64",
        tensors_file(layer()[-2:], edit=edited(norm, data_offsets=[2**64 - 16, 2**64 - 1])))
    put("safetensors", "offsets-backwards", tensors_file(layer()[:1], edit=edited(embed, data_offsets=[128, 0])))
    put("safetensors", "shape-overflows", tensors_file(layer()[:1], edit=edited(embed, shape=[2**63, 2**63, 4])))
    put("safetensors", "shape-wraps-to-the-right-size",
        tensors_file(layer()[:1], edit=edited(embed, shape=[2**62 + 8, 4])))
    put("safetensors", "negative-size", tensors_file(layer()[:1], edit=edited(embed, shape=[-8, -4])))
    put("safetensors", "tensor-twice", tensors_file(layer()[:1], edit=lambda h: js(h)[:-1] + b"," + js(h)[1:]))
    put("safetensors", "deep-nesting", tensors_file([], edit=lambda h: b'{"a":' * 900))
    put("safetensors", "deep-metadata", tensors_file([], edit=lambda h: b'{"__metadata__":' + b"[" * 5000))
    put("safetensors", "unknown-type", tensors_file(layer()[:1], edit=edited(embed, dtype="Q\n\x1b[2J")))
    put("safetensors", "terminal-in-a-name", tensors_file([("\x1b]0;owned\x07\n" * 9, [1])]))
    put("safetensors", "name-of-5-kilobytes", tensors_file(layer()[:1], edit=lambda h: {**h, "x" * 5000: 3}))
    put("safetensors", "not-utf-8", tensors_file([], edit=lambda h: b'{"\xff\xfe": {}}'))
    put("safetensors", "half-a-surrogate", tensors_file([], edit=lambda h: b'{"\\ud800": {}}'))
    config = lambda **keys: js(dict(CONFIG, **keys)) + BETWEEN + tensors_file(layer()[-1:])
    put("safetensors", "config-a-billion-layers", config(num_hidden_layers=10**9))
    put("safetensors", "config-2-to-the-63-layers", config(num_hidden_layers=2**63))
    put("safetensors", "config-huge-sizes", config(hidden_size=2**62, intermediate_size=2**62, vocab_size=2**62))
    put("safetensors", "config-no-heads", config(num_attention_heads=0, num_key_value_heads=0))
    put("safetensors", "config-odd-head", config(head_dim=1))
    put("safetensors", "config-1e999", js(CONFIG).replace(b"10000.0", b"1e999") + BETWEEN + whole[:99])
    put("safetensors", "config-minus-epsilon", config(rms_norm_eps=-1e300))
    put("safetensors", "config-terminal-in-a-type", config(model_type="\x1b[2J\r\nllama"))
    put("safetensors", "config-deep-nesting", b'{"model_type": ' + b"[" * 5000 + BETWEEN)
    put("safetensors", "config-is-a-list", b"[1, 2]" + BETWEEN + whole)
    put("safetensors", "config-rope-of-nothing", config(rope_scaling={"rope_type": "llama3", "factor": 0,
        "low_freq_factor": 0, "high_freq_factor": 0, "original_max_position_embeddings": 0}))
    def indexed(file):
        text = {"weight_map": {name: file for name, _ in layer()}}
        return js(CONFIG) + BETWEEN + js(text) + BETWEEN + whole
    put("safetensors", "index-outside-the-folder", indexed("../../../../etc/passwd"))
    put("safetensors", "index-absolute-path", indexed("/etc/shadow"))
    put("safetensors", "index-names-itself", indexed("model.safetensors.index.json"))
    put("safetensors", "index-terminal-in-a-path", indexed("\x1b[1A\n.safetensors"))
    put("safetensors", "index-maps-to-a-list", indexed(["a.safetensors"]))
    put("safetensors", "index-of-nothing", js(CONFIG) + BETWEEN + b"{}" + BETWEEN + whole)


# --- GGUF ---

def s(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def kv(name, kind, value):
    return s(name) + struct.pack("<I", kind) + value


def u32(name, n):
    return kv(name, 4, struct.pack("<I", n))


def array(kind, items, n=None):
    return struct.pack("<IQ", kind, len(items) if n is None else n) + b"".join(items)


TOKENS = ["<|end|>", "<|turn|>", "h", "e", "he", "\u0120", "\u010a", "l"]


def keys(**other):
    found = {
        "general.architecture": (8, s("llama")), "llama.block_count": (4, struct.pack("<I", 1)),
        "llama.context_length": (4, struct.pack("<I", 16)), "llama.embedding_length": (4, struct.pack("<I", 4)),
        "llama.feed_forward_length": (4, struct.pack("<I", 8)),
        "llama.attention.head_count": (4, struct.pack("<I", 2)),
        "llama.attention.head_count_kv": (4, struct.pack("<I", 1)),
        "llama.attention.layer_norm_rms_epsilon": (6, struct.pack("<f", 1e-5)),
        "llama.rope.freq_base": (6, struct.pack("<f", 1e4)),
        "tokenizer.ggml.model": (8, s("gpt2")), "tokenizer.ggml.pre": (8, s("smollm")),
        "tokenizer.ggml.tokens": (9, array(8, [s(t) for t in TOKENS])),
        "tokenizer.ggml.token_type": (9, array(5, [struct.pack("<i", t) for t in [3, 3, 1, 1, 1, 1, 1, 4]])),
        "tokenizer.ggml.merges": (9, array(8, [s("h e")])),
        "tokenizer.ggml.eos_token_id": (4, struct.pack("<I", 0)),
        "tokenizer.chat_template": (8, s("{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}")),
    }
    found.update({name.replace("__", "."): value for name, value in other.items()})
    return [kv(name, *value) for name, value in found.items() if value is not None]


TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34),
         "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210)}


def gguf_layer(hidden=4, mlp=8):
    return [("token_embd.weight", [8, hidden]), ("blk.0.attn_norm.weight", [hidden]),
            ("blk.0.attn_q.weight", [hidden, hidden]), ("blk.0.attn_k.weight", [hidden // 2, hidden]),
            ("blk.0.attn_v.weight", [hidden // 2, hidden]), ("blk.0.attn_output.weight", [hidden, hidden]),
            ("blk.0.ffn_norm.weight", [hidden]), ("blk.0.ffn_gate.weight", [mlp, hidden]),
            ("blk.0.ffn_up.weight", [mlp, hidden]), ("blk.0.ffn_down.weight", [hidden, mlp]),
            ("output_norm.weight", [hidden])]


def gguf(entries=None, tensors=None, ty="F32", version=3, counts=None, offset=lambda n: n, tail=b"", fill=b"\x3e",
         shape=lambda name, shape: shape):
    entries = keys() if entries is None else entries
    tensors = gguf_layer() if tensors is None else tensors
    described, data = b"", b""
    for name, dims in tensors:
        number, elements, size = TYPES[ty if len(dims) > 1 else "F32"]
        n = count(dims) // elements * size
        data += b"\0" * (-len(data) % 32)
        dims = shape(name, dims)
        described += s(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in reversed(dims))
        described += struct.pack("<IQ", number, offset(len(data)))
        data += (fill * (n // len(fill) + 1))[:n]
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(entries)))) + b"".join(entries)
    head += described
    return head + b"\0" * (-len(head) % 32) + data + tail


LITTLE = dict(entries=keys()[:1], tensors=gguf_layer()[-1:])


def little(other):
    return gguf([kv(name.replace("__", "."), *value) for name, value in other.items()], gguf_layer()[-1:])


def ggufs(seeds):
    for ty in ["F32", "F16", "BF16"]:
        put("gguf", ty, gguf(ty=ty), seeds)
    wide = dict(llama__embedding_length=(4, struct.pack("<I", 32)), llama__feed_forward_length=(4, struct.pack("<I", 32)))
    for ty in ["Q4_0", "Q8_0"]:
        put("gguf", ty, gguf(keys(**wide), gguf_layer(32, 32), ty=ty), seeds)
    put("gguf", "no-tensors", gguf(tensors=[]), seeds)

    whole = gguf()
    put("gguf", "empty.gguf", b"")
    put("gguf", "only-the-magic.gguf", b"GGUF")
    put("gguf", "version-1.gguf", gguf(**LITTLE, version=1))
    put("gguf", "big-endian.gguf", gguf(**LITTLE, version=3 << 24))
    put("gguf", "2-to-the-64-tensors.gguf", gguf(**LITTLE, counts=(2**64 - 1, 16)))
    put("gguf", "2-to-the-60-keys.gguf", gguf(**LITTLE, counts=(11, 2**60)))
    put("gguf", "cut-in-the-header.gguf", whole[:300])
    put("gguf", "cut-in-the-data.gguf", whole[:-1])
    put("gguf", "name-of-2-to-the-63.gguf", b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**63) + b"x" * 99)
    put("gguf", "array-of-2-to-the-61.gguf", little(dict(x=(9, array(5, [b"\0" * 4], 2**61)))))
    put("gguf", "array-of-a-billion-strings.gguf", little(dict(x=(9, array(8, [s("a")], 10**9)))))
    put("gguf", "array-of-arrays.gguf", little(dict(x=(9, array(9, [array(9, [array(9, [])])])))))
    put("gguf", "key-twice.gguf", gguf(keys()[:1] + [kv("general.architecture", 8, s("qwen2"))], tensors=[]))
    put("gguf", "tensor-twice.gguf", gguf(entries=[], tensors=gguf_layer()[-1:] * 2))
    put("gguf", "all-tensors-at-one-place.gguf", gguf([], gguf_layer()[-4:], offset=lambda n: 0))
    put("gguf", "offset-2-to-the-64.gguf", gguf(**LITTLE, offset=lambda n: 2**64 - 32))
    put("gguf", "offset-beyond-the-end.gguf", gguf(**LITTLE, offset=lambda n: n + (1 << 40)))
    put("gguf", "offset-not-aligned.gguf", gguf(**LITTLE, offset=lambda n: n + 1))
    for alignment in [0, 3, 2**31]:
        put("gguf", f"alignment-{alignment}.gguf", little(dict(general__alignment=(4, struct.pack("<I", alignment)))))
    put("gguf", "alignment-2-to-the-63.gguf", little(dict(general__alignment=(10, struct.pack("<Q", 2**63)))))
    put("gguf", "dimensions-overflow.gguf", gguf(**LITTLE, shape=lambda name, dims: [2**62, 2**62, 4]))
    put("gguf", "dimensions-wrap-to-the-right-size.gguf", gguf(**LITTLE, shape=lambda name, dims: [dims[0] + 2**62, *dims[1:]]))
    put("gguf", "no-dimensions.gguf", gguf(**LITTLE, shape=lambda name, dims: []))
    put("gguf", "dimension-0.gguf", gguf(**LITTLE, shape=lambda name, dims: [0] + dims[1:]))
    put("gguf", "five-dimensions.gguf", gguf(**LITTLE, shape=lambda name, dims: [1, 1, 1] + dims))
    put("gguf", "a-billion-layers.gguf", gguf(keys(llama__block_count=(4, struct.pack("<I", 10**9)))))
    put("gguf", "2-to-the-63-layers.gguf", gguf(keys(llama__block_count=(10, struct.pack("<Q", 2**63)))))
    names = {"general__architecture": (8, s("smollm3"))}
    for key in ["context_length", "embedding_length", "feed_forward_length", "attention.head_count"]:
        names["smollm3." + key] = (4, struct.pack("<I", 4))
    names["smollm3.attention.layer_norm_rms_epsilon"] = (6, struct.pack("<f", 1e-5))
    names["smollm3.block_count"] = (4, struct.pack("<I", 2**32 - 1))
    put("gguf", "smollm3-4-billion-layers.gguf", gguf(keys(**names)))
    put("gguf", "no-heads.gguf", gguf(keys(llama__attention__head_count=(4, b"\0" * 4))))
    put("gguf", "vocabulary-of-4-billion.gguf", gguf(keys(llama__vocab_size=(4, b"\xff" * 4))))
    put("gguf", "epsilon-nan.gguf", gguf(keys(**{"llama.attention.layer_norm_rms_epsilon": (6, b"\0\0\xc0\x7f")})))
    put("gguf", "architecture-with-a-terminal.gguf", gguf(keys(general__architecture=(8, s("\x1b[2J\r\n")))))
    put("gguf", "string-not-utf-8.gguf", gguf(keys(general__architecture=(8, s(b"\xff\xfe\x80")))))
    put("gguf", "flag-of-7.gguf", gguf(keys(**{"tokenizer.ggml.add_bos_token": (7, b"\x07")})))
    put("gguf", "unknown-value-type.gguf", little(dict(x=(99, b"\0" * 16))))
    wide_nan = gguf(keys(**wide), gguf_layer(32, 32), ty="Q8_0", fill=b"\0\x7e")
    put("gguf", "scales-are-nan.gguf", wide_nan)
    tokens = lambda names: (9, array(8, [s(t) for t in names]))
    tkey = "tokenizer.ggml."
    put("gguf", "no-tokens.gguf", gguf(keys(**{tkey + "tokens": tokens([]), tkey + "token_type": (9, array(5, []))})))
    put("gguf", "token-twice.gguf", gguf(keys(**{tkey + "tokens": tokens(["a"] * 8)})))
    put("gguf", "empty-token.gguf", gguf(keys(**{tkey + "tokens": tokens(["", *TOKENS[1:]])})))
    put("gguf", "merge-of-nothing.gguf", gguf(keys(**{tkey + "merges": tokens(["", " ", "h", "zz zz", "h e l"])})))
    put("gguf", "end-of-text-4-billion.gguf", gguf(keys(**{tkey + "eos_token_id": (4, b"\xff" * 4)})))
    put("gguf", "template-loops-for-ever.gguf",
        gguf(keys(**{"tokenizer.chat_template": (8, s("{% for i in range(99999) %}" * 9 + "x" + "{% endfor %}" * 9))})))


# --- rows ---

def rows(seeds):
    lines = [{"text": "hello"}, {"prompt": "a", "completion": "b"},
             {"instruction": "a", "input": "c", "output": "b"},
             {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
             {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "x"}]},
             {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}]
    put("rows", "jsonl", b"0" + b"\n".join(map(js, lines)), seeds)
    put("rows", "json", b"1" + js(lines), seeds)
    put("rows", "csv", b"2prompt,completion\na,b\n\"c\nd\",\"e \"\"f\"\"\"\n", seeds)
    put("rows", "tsv", b"3text\tn\nhello\t1\n", seeds)
    put("rows", "txt", "4Once upon a time.\r\n\r\nÉ 日本 🙂 The end.\n".encode(), seeds)

    put("rows", "jsonl-deep-nesting", b'0{"text": ' + b"[" * 5000)
    put("rows", "jsonl-deep-message", b'0{"messages": [{"role": "user", "content": ' + b'{"a":' * 100 + b"1" + b"}" * 101 + b"]}")
    put("rows", "jsonl-key-twice", b'0{"text": "a", "text": "b"}')
    put("rows", "jsonl-half-a-surrogate", b'0{"text": "\\ud800"}')
    put("rows", "jsonl-not-utf-8", b'0{"text": "\xc3\x28"}')
    put("rows", "jsonl-utf-16", b"0" + '{"text": "a"}'.encode("utf-16"))
    put("rows", "jsonl-nul-bytes", b"0\0\0\0\0")
    put("rows", "jsonl-number-too-large", b'0{"input_ids": [99999999999999999999999, 1e999, -1]}')
    put("rows", "jsonl-id-beyond-the-vocabulary", b'0{"input_ids": [4294967295, 4294967295]}')
    put("rows", "jsonl-label-beyond", b'0{"input_ids": [1, 2], "labels": [2147483647, -2147483648]}')
    put("rows", "jsonl-labels-missing", b'0{"input_ids": [1, 2, 3], "labels": []}')
    put("rows", "jsonl-terminal-in-a-key", b'0{"\\u001b[2J\\n": 1, "\\r": 2}')
    put("rows", "jsonl-key-of-5-kilobytes", b'0{"' + b"k" * 5000 + b'": 1}')
    put("rows", "jsonl-role-with-a-terminal", js({"messages": [{"role": "\x1b[2J\nx", "content": "a"}]}).join([b"0", b""]))
    put("rows", "jsonl-no-content", b'0{"messages": [{"role": "assistant"}]}')
    put("rows", "jsonl-content-is-a-number", b'0{"messages": [{"role": "assistant", "content": 7}]}')
    put("rows", "json-list-never-ends", b'1[{"text": "a"},')
    put("rows", "json-deep-nesting", b"1" + b"[" * 5000)
    put("rows", "json-many-commas", b"1[" + b"," * 3000 + b"]")
    put("rows", "csv-quote-never-ends", b'2text\n"' + b"a\n" * 1500)
    put("rows", "csv-column-twice", b"2text,text\na,b\n")
    put("rows", "csv-too-many-cells", b"2text\na" + b"," * 3000 + b"\n")
    put("rows", "csv-no-columns", b"2\n\n\n")
    put("rows", "csv-terminal-in-a-column", b"2\x1b[2J,\x07\na,b\n")
    put("rows", "tsv-only-tabs", b"3" + b"\t" * 2000 + b"\n" + b"\t" * 2000)
    put("rows", "txt-one-letter", b"4a")
    put("rows", "txt-only-blanks", b"4" + b" \r\n" * 900)
    put("rows", "txt-one-long-word", b"4" + b"a" * 5000)


# --- tokenizer ---

def tokenizer(seeds):
    special = dict(id=0, content="<|end|>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    vocab = {"<|end|>": 0, "h": 1, "e": 2, "he": 3, "l": 4, "\u0120": 5}

    def json_of(model=None, **keys):
        whole = dict(version="1.0", truncation=None, padding=None, added_tokens=[special], normalizer=None,
                     pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
                     post_processor=None, decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True,
                                                       use_regex=True),
                     model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                                end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, vocab=vocab,
                                merges=["h e"]))
        whole["model"].update(model or {})
        whole.update(keys)
        return js(whole)
    bpe = json_of()
    put("tokenizer", "bpe", bpe, seeds)
    put("tokenizer", "unigram", json_of(model=dict(type="Unigram", unk_id=0, vocab=[["<unk>", 0.0], ["h", -1.0]])), seeds)
    put("tokenizer", "wordpiece", json_of(model=dict(type="WordPiece", unk_token="<|end|>",
                                                     continuing_subword_prefix="##", max_input_chars_per_word=9)), seeds)
    put("tokenizer", "wordlevel", json_of(model=dict(type="WordLevel", unk_token="<|end|>")), seeds)
    split = lambda regex: dict(type="Split", pattern=dict(Regex=regex), behavior="Isolated", invert=False)
    normalizers = dict(type="Sequence", normalizers=[dict(type="NFC"), dict(type="Lowercase"), dict(type="Replace",
                       pattern=dict(Regex=" {2,}"), content="_"), dict(type="Prepend", prepend="_"), dict(type="Strip",
                       strip_left=True, strip_right=True)])
    put("tokenizer", "sequence", json_of(normalizer=normalizers, pre_tokenizer=dict(type="Sequence", pretokenizers=[
        split(r"\p{L}+|\d"), dict(type="Digits", individual_digits=True)])), seeds)
    fallback = json_of(model=dict(byte_fallback=True, unk_token="<|end|>"), decoder=dict(type="Sequence", decoders=[
        dict(type="ByteFallback"), dict(type="Fuse"), dict(type="Strip", content=" ", start=1, stop=0)]))
    put("tokenizer", "fallback", fallback, seeds)

    put("tokenizer", "decoder-number-too-large", bpe.replace(b'"decoder": {', b'"decoder": {"x": 1e999, '))
    put("tokenizer", "empty", b"")
    put("tokenizer", "deep-nesting", b'{"model":' + b"[" * 5000)
    put("tokenizer", "deep-normalizer",
        bpe.replace(b'"normalizer": null', b'"normalizer": ' + b'{"type":"Sequence","normalizers":[' * 60 + b"]}" * 60))
    put("tokenizer", "vocabulary-empty", json_of(model=dict(vocab={}, merges=[]), added_tokens=[]))
    put("tokenizer", "id-4-billion", json_of(model=dict(vocab=dict(vocab, z=2**32 - 1))))
    put("tokenizer", "id-2-to-the-63", json_of(model=dict(vocab=dict(vocab, z=2**63))))
    put("tokenizer", "id-twice", json_of(model=dict(vocab=dict(vocab, z=1))))
    put("tokenizer", "merge-of-unknown", json_of(model=dict(merges=["q q"])))
    put("tokenizer", "merge-of-three", json_of(model=dict(merges=["h e l"])))
    put("tokenizer", "merge-of-nothing", json_of(model=dict(merges=[["", ""]])))
    put("open", "tokenizer-prefix-longer-than-tokens", json_of(model=dict(continuing_subword_prefix="#" * 999)))
    put("tokenizer", "prefix-of-a-part-of-a-character",
        json_of(model=dict(continuing_subword_prefix="a", vocab={"h": 1, "é": 2, "h\u0301": 3}, merges=["h é"])))
    put("tokenizer", "regex-that-backtracks",
        json_of(pre_tokenizer=split(r"(?:(?:[^\d]+)+)+(?=X)|(?:(\w+|\s+|.)*)*(?<=Y)$")))
    put("tokenizer", "regex-huge-repeat", json_of(pre_tokenizer=split(r"(((a{999}){999}){999}){999}")))
    put("tokenizer", "regex-broken", json_of(pre_tokenizer=split("(\n[")))
    put("tokenizer", "regex-of-nothing", json_of(pre_tokenizer=split("")))
    put("tokenizer", "padding-of-4-billion", json_of(padding=dict(strategy=dict(Fixed=2**32), direction="Right",
        pad_to_multiple_of=2**32, pad_id=0, pad_type_id=0, pad_token="x")))
    put("tokenizer", "truncation-stride", json_of(truncation=dict(direction="Right", max_length=0, strategy="LongestFirst",
        stride=2**32)))
    put("tokenizer", "template-of-unknown-token", json_of(post_processor=dict(type="TemplateProcessing", single=[
        dict(SpecialToken=dict(id="nothing", type_id=0))], pair=[], special_tokens={})))
    put("tokenizer", "added-empty-token", json_of(added_tokens=[dict(special, content="")]))
    put("tokenizer", "added-id-4-billion", json_of(added_tokens=[dict(special, id=2**32 - 1, content="wörld")]))
    put("tokenizer", "wordpiece-unknown-missing",
        json_of(model=dict(type="WordPiece", unk_token="nothing", continuing_subword_prefix="", max_input_chars_per_word=0)))
    put("tokenizer", "unigram-unknown-missing", json_of(model=dict(type="Unigram", unk_id=99, vocab=[["a", 0.0]])))
    put("tokenizer", "unigram-scores-nan", json_of(model=dict(type="Unigram", unk_id=0, vocab=[["a", 1e308], ["aa", -1e308]])))
    put("tokenizer", "unigram-empty", json_of(model=dict(type="Unigram", unk_id=None, vocab=[])))
    put("open", "tokenizer-strip-more-than-there-is",
        json_of(decoder=dict(type="Strip", content="h", start=2**31, stop=2**31)))
    put("tokenizer", "byte-fallback-not-utf-8", json_of(model=dict(byte_fallback=True, vocab={"<0xFF>": 0, "<0xZZ>": 1}, merges=[])))
    put("open", "tokenizer-replace-with-much", json_of(normalizer=dict(type="Replace", pattern=dict(Regex=""), content="x" * 999)))


# --- templates ---

def templates(seeds):
    turn = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content | trim + eos_token }}{% endfor %}"
    put("template", "chatml", turn + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}", seeds)
    put("template", "macro", "{% macro f(x, y=1) %}{{ x ~ y }}{% endmacro %}{% set ns = namespace(a=0) %}"
        "{% for m in messages %}{% set ns.a = ns.a + 1 %}{{ f(m.content, ns.a) }}{% endfor %}", seeds)
    put("template", "methods", "{% for m in messages if loop.index0 % 2 == 0 %}{{ m.content.split(' ')[0].strip().upper() }}"
        "{{ m | tojson(indent=2) }}{{ m.items() | list }}{{ m.get('x', none) }}{{ 'a'.startswith('b') }}{% endfor %}"
        "{{ strftime_now('%d %b %Y') }}", seeds)
    put("template", "raise", "{% if messages[0].role != 'user' %}{{ raise_exception('no ' ~ messages[0].role) }}{% endif %}"
        "{%- for m in messages -%}{{ m.content[1:] }}{%- endfor -%}", seeds)
    put("template", "filters", "{{ messages | map(attribute='role') | join(',') | replace('u', 'vv') | length }}"
        "{{ [1, 2.5, true, none, {'a': 'b'}] | string }}{{ 'x' * 3 }}{{ range(3) | list }}{{ messages | selectattr('role', "
        "'equalto', 'user') | list | count }}{% set x %}a{% endset %}{{ x | default('y') }}", seeds)

    put("template", "loops-in-loops", "{% for a in range(99999) %}" * 30 + "x" + "{% endfor %}" * 30)
    put("template", "a-billion-letters", "{{ 'a' * 10**9 }}")
    put("template", "a-billion-values", "{{ [1] * 10**9 }}")
    put("template", "range-of-a-quintillion", "{{ range(10**18) | list }}")
    put("template", "range-sum", "{{ range(10**18) | sum }}{{ range(10**18) | max }}")
    put("template", "doubles-itself", "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}"
        "{% endfor %}{{ ns.s }}")
    put("template", "doubles-a-list", "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}"
        "{% endfor %}{{ ns.l }}")
    put("template", "doubles-in-one-expression", "{{ " + "('a' * 65536)" + " | replace('a', 'b' * 65536)" + " }}")
    put("template", "join-of-joins", "{{ range(99999) | join('x' * 99999) }}")
    put("template", "format-width", "{{ '%999999999d' | format(1) }}{{ '%.999999999f' | format(1.5) }}")
    put("template", "center-width", "{{ 'a' | center(10**12) }}{{ 'a' | indent(10**12) }}{{ 'a'.center(10**12) }}")
    put("template", "json-indent", "{{ messages | tojson(indent=10**12) }}")
    put("template", "batch-and-slice", "{{ [1] | batch(10**12, 'x') | list }}{{ [1] | slice(10**12) | list }}")
    put("template", "macro-calls-itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    put("template", "macro-calls-itself-twice", "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}x{% endmacro %}{{ f(30) }}")
    put("template", "loop-calls-itself", "{% for a in messages recursive %}{{ loop(messages) }}{% endfor %}")
    put("template", "namespace-in-itself", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns | tojson }}")
    put("template", "includes-itself", "{% include 'chat template' %}{% extends 'chat template' %}")
    put("template", "includes-a-file", "{% include '/etc/passwd' %}{% import '../../secret' as x %}")
    put("template", "python-internals", "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__ }}")
    put("template", "deep-brackets", "{{ " + "(" * 1400 + "1" + ")" * 1400 + " }}")
    put("template", "deep-lists", "{{ " + "[" * 1400 + "]" * 1400 + " }}")
    put("template", "deep-nots", "{{ " + "not " * 1400 + "1 }}")
    put("template", "deep-minus", "{{ " + "-" * 1400 + "1 }}")
    put("template", "deep-ifs", "{% if 1 %}" * 400 + "{% endif %}" * 400)
    put("template", "many-elifs", "{% if 0 %}" + "{% elif 0 %}" * 600 + "{% endif %}")
    put("template", "long-sum", "{{ 1" + "+1" * 4000 + " }}")
    put("template", "long-filters", "{{ 'a'" + "|upper" * 800 + " }}")
    put("template", "tag-never-ends", "{% for x in " + "a." * 900)
    put("template", "raises-with-a-terminal", "{{ raise_exception('\x1b[2J\n\nall is well\r') }}")
    put("template", "raises-much", "{{ raise_exception('a' * 5000) }}")
    put("template", "unknown-with-a-terminal", "{{ '' | \x1b[2J }}\n{{ x.\x07 }}")
    put("template", "unknown-method-of-long-name", "{{ ''." + "x" * 5000 + "() }}")
    put("template", "integer-overflow", "{{ 9223372036854775807 + 1 }}{{ -9223372036854775807 * 99 }}{{ 2 ** 9999 }}")
    put("template", "division-by-zero", "{{ 1 // 0 }}{{ 1 % 0 }}{{ 1 / 0 }}")
    put("template", "least-integer-by-minus-one", "{{ (-9223372036854775807 - 1) // -1 }}{{ (-9223372036854775807 - 1) % -1 }}")
    put("template", "slice-in-a-character", "{{ 'é日🙂'[1:2:-1] }}{{ 'é'[::0] }}{{ 'é'[-9223372036854775807:] }}")
    put("template", "strftime-nonsense", "{{ strftime_now('%' ~ '%Q%9999999d%\u00e9%') }}")
    put("template", "range-step-0", "{{ range(1, 9, 0) | list }}{{ range(9, 1, -1) | list }}")
    put("template", "split-by-nothing", "{{ 'abc'.split('') }}{{ 'abc'.replace('', 'x' * 99) }}{{ ''.join([1]) }}")
    put("template", "not-utf-8", b"{{ messages }}\xff\xfe")


# --- adapters and checkpoints ---

def adapter_parts():
    config = dict(peft_type="DIABLO", task_type="CAUSAL_LM", base_model_name_or_path="m", num_blocks=2, all_weights=False,
                  target_modules=["q_proj", "down_proj"], diablo_dropout=0.0)
    p = "base_model.model.model.layers.0."
    return config, [(p + "self_attn.q_proj.diablo_block.weight", [2, 2, 2]), (p + "mlp.down_proj.diablo_block.weight", [2, 4, 2])]


def adapters(seeds):
    config, slots = adapter_parts()
    lora = dict(config, peft_type="LORA", r=2, lora_alpha=4, lora_dropout=0.0)
    factors = [(f"base_model.model.model.layers.0.self_attn.q_proj.lora_{ab}.weight", [2, 4] if ab == "A" else [4, 2])
               for ab in "AB"]
    weights = tensors_file(slots)
    for dtype in ["F32", "BF16"]:
        put("adapter", f"diablo-{dtype}", js(config) + BETWEEN + tensors_file(slots, dtype), seeds)
    put("adapter", "lora", js(dict(lora, target_modules=["q_proj"])) + BETWEEN + tensors_file(factors), seeds)
    put("adapter", "full", js(dict(config, num_blocks=1, all_weights=True)) + BETWEEN
        + tensors_file([("base_model.model." + name, shape) for name, shape in layer()]), seeds)

    case = lambda name, weights=weights, **keys: put("adapter", name, js(dict(config, **keys)) + BETWEEN + weights)
    put("adapter", "empty", b"")
    put("adapter", "no-weights", js(config))
    put("adapter", "config-deep-nesting", b'{"target_modules":' + b"[" * 5000 + BETWEEN + weights)
    put("adapter", "config-is-a-list", b"[]" + BETWEEN + weights)
    case("blocks-0", num_blocks=0)
    case("blocks-2-to-the-63", num_blocks=2**63)
    case("blocks-minus-1", num_blocks=-1)
    case("kind-with-a-terminal", peft_type="\x1b[2J\nDIABLO")
    case("kind-of-5-kilobytes", peft_type="x" * 5000)
    case("modules-with-a-terminal", target_modules=["\x1b[2J\r"])
    case("modules-of-5-kilobytes", target_modules="x" * 5000)
    case("no-modules", target_modules=[])
    case("module-a-hundred-times", target_modules=["q_proj"] * 100)
    case("base-with-a-terminal", base_model_name_or_path="\x1b[2J\n", base_shapes_sha256="0")
    case("base-of-5-kilobytes", base_model_name_or_path="m" * 5000, base_shapes_sha256="0")
    case("dropout-1e308", diablo_dropout=1e308)
    case("rank-0", peft_type="LORA", r=0, lora_alpha=1)
    case("rank-2-to-the-62", peft_type="LORA", r=2**62, lora_alpha=1)
    case("alpha-minus", peft_type="LORA", r=2, lora_alpha=-1e300)
    case("weights-nan", tensors_file(slots, fill=float("nan")))
    case("weights-infinite", tensors_file(slots, fill=float("inf")))
    case("weights-of-f64", tensors_file(slots, "F64"))
    case("tensor-left-over", tensors_file(slots + [("\x1b[2J\nx", [1])]))
    case("tensor-name-of-5-kilobytes", tensors_file(slots + [("x" * 5000, [1])]))
    case("tensor-missing", tensors_file(slots[:1]))
    case("tensor-of-another-shape", tensors_file([(name, shape[::-1]) for name, shape in slots]))
    case("header-of-2-to-the-64", b"\xff" * 8 + weights[8:])
    case("weights-cut", weights[:-3])
    case("weights-deep-nesting", tensors_file([], edit=lambda h: b'{"a":' * 900))
    case("weights-are-a-pickle", b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.")
    case("shape-overflows", tensors_file(slots, edit=lambda h: {n: dict(i, shape=[2**63, 2**63]) for n, i in h.items()}))


def checkpoints(seeds):
    import hashlib
    config, slots = adapter_parts()
    watch = dict(count=0, mean=0.0, variance=0.0)
    state = dict(format=1, build="diablo 0.1.0", device="cpu", model="m", data="d", config=dict(iters=2, batch_size=4),
                 progress=dict(step=2, passes=0, cursor=dict(epoch=0, position=0), tokens=9, seconds=1.5, loss=0.5,
                               best=dict(step=2, loss=0.5), evaluated=2, evaluations_without_gain=0,
                               loss_watch=watch, norm_watch=watch))
    moments = [(f"{moment}.{name}", shape) for moment in ["exp_avg", "exp_avg_sq"] for name, shape in slots]
    names = ["trainer_state.json", "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"]
    good = [js(state), js(config), tensors_file(slots), tensors_file(moments)]
    hashes = lambda files: "".join(f"{hashlib.sha256(f).hexdigest()}  {n}\n" for f, n in zip(files, names)).encode()
    put("checkpoint", "whole", BETWEEN.join(good + [hashes(good)]), seeds)

    def case(name, files=good, complete=None):
        put("checkpoint", name, BETWEEN.join([*files, hashes(files) if complete is None else complete]))
    edited = lambda at, data: [data if n == at else file for n, file in enumerate(good)]
    state_of = lambda **keys: edited(0, js(dict(state, **keys)))
    progress = lambda **keys: state_of(progress=dict(state["progress"], **keys))
    put("checkpoint", "empty", b"")
    put("checkpoint", "only-the-state", good[0])
    case("complete-is-empty", complete=b"")
    case("complete-not-utf-8", complete=b"\xff\xfe\n")
    case("complete-outside-the-folder", complete=b"0" * 64 + b"  ../../../../etc/passwd\n")
    case("complete-absolute-path", complete=b"0" * 64 + b"  /etc/passwd\n")
    case("complete-dots", complete=b"0" * 64 + b"  ..\n")
    case("complete-names-itself", complete=b"0" * 64 + b"  COMPLETE\n")
    case("complete-terminal-in-a-name", complete=b"0" * 64 + b"  \x1b[2J\x07x\n")
    case("complete-nul-in-a-name", complete=b"0" * 64 + b"  a\0b\n")
    case("complete-name-of-3-kilobytes", complete=b"0" * 64 + b"  " + b"x" * 3000 + b"\n")
    case("complete-other-hashes", complete=hashes(good).replace(b"0", b"1"))
    case("complete-lists-the-state-only", complete=hashes(good[:1]))
    case("state-of-format-2", state_of(format=2))
    case("state-format-with-a-terminal", state_of(format="\x1b[2J\x7f\n" * 3))
    case("state-format-of-5-kilobytes", state_of(format="x" * 5000))
    case("state-deep-nesting", edited(0, b'{"format": 1, "x": ' + b"[" * 5000))
    case("state-is-a-number", edited(0, b"1"))
    case("state-key-twice", edited(0, good[0][:-1] + b', "format": 1}'))
    case("state-field-with-a-terminal", state_of(config=dict(lr_schedule="\x1b[2J\n")))
    case("state-field-of-5-kilobytes", state_of(config=dict(lr_schedule="x" * 5000)))
    case("steps-2-to-the-64", progress(step=2**64 - 1, passes=2**64 - 1, tokens=2**64 - 1))
    case("steps-minus-1", progress(step=-1))
    case("position-2-to-the-64", progress(cursor=dict(epoch=2**64 - 1, position=2**64 - 1)))
    case("seconds-minus", progress(seconds=-1e308))
    case("loss-is-a-word", progress(loss="NaN"))
    case("moments-missing", edited(3, tensors_file([])))
    case("moments-of-another-shape", edited(3, tensors_file([(n, s[::-1]) for n, s in moments])))
    case("moments-nan", edited(3, tensors_file(moments, fill=float("nan"))))
    case("moments-of-bf16", edited(3, tensors_file(moments, "BF16")))
    case("moments-cut", edited(3, good[3][:-1]))
    case("moments-header-of-2-to-the-64", edited(3, b"\xff" * 8 + good[3][8:]))
    case("weights-of-another-method", edited(1, js(dict(config, peft_type="LORA", r=2, lora_alpha=4))))


seeds = sys.argv[1] if len(sys.argv) > 1 else None
if seeds is None:
    import tempfile
    seeds = tempfile.mkdtemp()
for make in [safetensors, ggufs, rows, tokenizer, templates, adapters, checkpoints]:
    make(seeds)
