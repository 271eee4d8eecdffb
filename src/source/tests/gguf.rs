//! GGUF files.

use super::*;
use crate::model::RopeScaling;
use crate::weights::gguf::testing::GgufWriter;

pub(super) const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Special tokens, some bytes as GPT-2 spells them, what `MERGES` makes of them, then fillers.
fn tokens() -> Vec<String> {
    let made = ["i", "s", "Ġ", "5", "is", "Ġ5", "55", "555", "<tool>"];
    let named: Vec<_> = SPECIAL.into_iter().chain(made).map(str::to_owned).collect();
    let fillers = (named.len()..VOCAB).map(|i| format!("filler{i}"));
    named.iter().cloned().chain(fillers).collect()
}

const MERGES: [&str; 4] = ["i s", "Ġ 5", "5 5", "55 5"];

/// The names in a GGUF file of every tensor of a layer, and its shape.
const LAYER: [(&str, &[usize]); 9] = [
    ("attn_norm", &[HIDDEN]),
    ("attn_q", &[HEADS * HEAD_DIM, HIDDEN]),
    ("attn_k", &[KV_HEADS * HEAD_DIM, HIDDEN]),
    ("attn_v", &[KV_HEADS * HEAD_DIM, HIDDEN]),
    ("attn_output", &[HIDDEN, HEADS * HEAD_DIM]),
    ("ffn_norm", &[HIDDEN]),
    ("ffn_gate", &[MLP, HIDDEN]),
    ("ffn_up", &[MLP, HIDDEN]),
    ("ffn_down", &[HIDDEN, MLP]),
];

const HUGGING_FACE: [&str; 9] = [
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

pub(super) fn add(writer: &mut GgufWriter, name: &str, shape: &[usize], ty: TensorType) {
    let ty = if shape.len() == 1 { TensorType::F32 } else { ty };
    writer.tensor(name, shape, ty, encode(ty, &values_of(name, shape)));
}

pub(super) fn model(ty: TensorType) -> GgufWriter {
    let tokens = tokens();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    let mut types = [1; VOCAB];
    types[..3].fill(3);
    types[11] = 4;
    types[VOCAB - 1] = 5;
    let mut writer = GgufWriter::default();
    writer
        .string("general.architecture", "llama")
        .u32("llama.block_count", LAYERS as u32)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", HIDDEN as u32)
        .u32("llama.feed_forward_length", MLP as u32)
        .u32("llama.attention.head_count", HEADS as u32)
        .u32("llama.attention.head_count_kv", KV_HEADS as u32)
        .u32("llama.rope.dimension_count", HEAD_DIM as u32)
        .f32("llama.rope.freq_base", 1e5)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .u32("llama.vocab_size", VOCAB as u32)
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "smollm")
        .strings("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &MERGES)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .u32("tokenizer.ggml.unknown_token_id", 0)
        .u32("tokenizer.ggml.padding_token_id", 2)
        .string("tokenizer.chat_template", "{{ messages }}");
    add(&mut writer, "token_embd.weight", &[VOCAB, HIDDEN], ty);
    for layer in 0..LAYERS {
        for (part, shape) in LAYER {
            add(&mut writer, &format!("blk.{layer}.{part}.weight"), shape, ty);
        }
    }
    add(&mut writer, "output_norm.weight", &[HIDDEN], ty);
    writer
}

pub(super) fn open(file: Vec<u8>) -> Result<Source> {
    block_on(Source::from_files("x.gguf", vec![("x.gguf".to_owned(), Storage::from_bytes("x.gguf", file))]))
}

/// `stored.reshape(heads, head_dim/2, 2, width).swapaxes(1, 2)`, in the words of `convert_hf_to_gguf.py` undone.
fn swapped(stored: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let half = HEAD_DIM / 2;
    let mut values = vec![f32::NAN; stored.len()];
    for head in 0..heads {
        for pair in 0..half {
            for side in 0..2 {
                let from = ((head * half + pair) * 2 + side) * width;
                let to = ((head * 2 + side) * half + pair) * width;
                values[to..to + width].copy_from_slice(&stored[from..from + width]);
            }
        }
    }
    values
}

fn check_values(source: &Source) {
    for layer in 0..LAYERS {
        for ((part, shape), name) in LAYER.into_iter().zip(HUGGING_FACE) {
            let name = format!("model.layers.{layer}.{name}.weight");
            let stored = values_of(&format!("blk.{layer}.{part}.weight"), shape);
            let expected = match part {
                "attn_q" => swapped(&stored, HEADS, HIDDEN),
                "attn_k" => swapped(&stored, KV_HEADS, HIDDEN),
                _ => stored,
            };
            assert_eq!(source.shape(&name), Some(shape), "{name}");
            assert_eq!(read(source, &name), expected, "{name}");
        }
    }
    let embedding = read(source, "model.embed_tokens.weight");
    assert_eq!(embedding, values_of("token_embd.weight", &[VOCAB, HIDDEN]));
    assert_eq!(read(source, "model.norm.weight"), values_of("output_norm.weight", &[HIDDEN]));
}

#[test]
fn every_number_format() {
    // Rows here are too short for blocks of 256.
    for ty in TensorType::ALL.into_iter().filter(|ty| ty.block().0 <= 32) {
        let source = open(model(ty).finish()).unwrap();
        check_values(&source);
        assert_eq!(source.dtype_name(), ty.name());
        assert_eq!(source.base_dtype(), ty.into());
        let parameters: usize = expected(&config()).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(source.parameter_count(), parameters);
        assert_eq!(source.tensor_names().count(), 2 + 9 * LAYERS);
    }
}

#[test]
fn configuration() {
    let source = open(model(TensorType::F16).finish()).unwrap();
    assert_eq!(source.config, ModelConfig::from_hf(&config(), "").unwrap());
    // What goes into a merged model's folder says the same.
    let json = &source.assets.config_json;
    assert_eq!(ModelConfig::from_hf(json, "").unwrap(), source.config);
    assert_eq!(json["rms_norm_eps"], 1e-5);
    assert_eq!((&json["pad_token_id"], &json["torch_dtype"]), (&json!(2), &json!("float16")));
    assert_eq!(source.assets.generation_config, Some(json!({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})));
    assert_eq!(source.assets.chat_template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn optional_keys() {
    let mut writer = model(TensorType::F32);
    for key in ["llama.vocab_size", "llama.rope.freq_base", "llama.rope.dimension_count", "tokenizer.chat_template"] {
        writer.remove_key(key);
    }
    for key in ["bos", "eos", "unknown", "padding"] {
        writer.remove_key(&format!("tokenizer.ggml.{key}_token_id"));
    }
    writer.u32("llama.attention.key_length", HEAD_DIM as u32).u32("llama.expert_count", 0);
    writer.string("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 1.0);
    let source = open(writer.finish()).unwrap();
    assert_eq!((source.config.vocab_size, source.config.rope_theta), (VOCAB, 10_000.0));
    assert_eq!((source.config.eos_token_ids.as_slice(), source.config.bos_token_id), (&[][..], None));
    assert_eq!(source.assets.generation_config, Some(json!({})));
    assert_eq!(source.assets.special_tokens_map, Some(json!({})));
    assert_eq!(source.assets.chat_template, None);

    let mut writer = model(TensorType::F32);
    writer.u32("tokenizer.ggml.eot_token_id", 4).u32("tokenizer.ggml.eom_token_id", 2);
    assert_eq!(open(writer.finish()).unwrap().config.eos_token_ids, [2, 4]);
}

#[test]
fn biases_and_an_own_head() {
    let mut writer = model(TensorType::Q8_0);
    let biases = [("attn_q", HEADS), ("attn_k", KV_HEADS), ("attn_v", KV_HEADS)];
    for layer in 0..LAYERS {
        for (part, heads) in biases {
            add(&mut writer, &format!("blk.{layer}.{part}.bias"), &[heads * HEAD_DIM], TensorType::F32);
        }
        add(&mut writer, &format!("blk.{layer}.attn_output.bias"), &[HIDDEN], TensorType::F32);
    }
    add(&mut writer, "output.weight", &[VOCAB, HIDDEN], TensorType::Q4_0);
    let source = open(writer.finish()).unwrap();
    check_values(&source);
    assert!(source.config.qkv_bias && source.config.o_bias && !source.config.tie_word_embeddings);
    assert_eq!(read(&source, "lm_head.weight"), values_of("output.weight", &[VOCAB, HIDDEN]));
    for (part, heads) in biases {
        let stored = values_of(&format!("blk.1.{part}.bias"), &[heads * HEAD_DIM]);
        let expected = if part == "attn_v" { stored } else { swapped(&stored, heads, 1) };
        let name = format!("model.layers.1.self_attn.{}_proj.bias", &part[5..]);
        assert_eq!(read(&source, &name), expected, "{name}");
    }
    let bias = encode(TensorType::Q8_0, &values_of("", &[HIDDEN]));
    *writer.tensor_mut("blk.0.attn_q.bias") =
        GgufWriter::default().tensor("blk.0.attn_q.bias", &[HIDDEN], TensorType::Q8_0, bias).tensors.remove(0);
    assert!(error(open(writer.finish())).contains("is a bias in Q8_0"));
}

#[test]
fn missing_misshapen_and_unsupported_tensors() {
    let with = |change: fn(&mut GgufWriter)| {
        let mut writer = model(TensorType::Q4_1);
        change(&mut writer);
        error(open(writer.finish()))
    };
    assert_eq!(
        with(|w| w.tensor_mut("blk.1.attn_q.weight").name = "x".into()),
        "x.gguf: tensor \"blk.1.attn_q.weight\" is missing, which the file's metadata asks for"
    );
    assert_eq!(
        with(|w| w.tensor_mut("blk.1.ffn_up.weight").dimensions = vec![MLP as u64, HIDDEN as u64]),
        "x.gguf: tensor \"blk.1.ffn_up.weight\" has shape [64, 96], expected [96, 64] from the file's metadata"
    );
    assert!(
        with(|w| w.tensor_mut("blk.1.ffn_up.weight").ty = 20)
            .contains("is stored as IQ4_NL, which is not supported; save the model in one of these: F32")
    );
    assert!(
        with(|w| add(w, "blk.0.ffn_down.bias", &[HIDDEN], TensorType::F32))
            .contains("the bias \"blk.0.ffn_down.bias\" is not supported")
    );
    let what = "\"rope_freqs.weight\" scales the rotary embedding in another way than Llama 3.1";
    assert!(with(|w| add(w, "rope_freqs.weight", &[8], TensorType::F32)).contains(what));
    let what = "\"rope_freqs.weight\" is not a number in F32";
    assert!(with(|w| add(w, "rope_freqs.weight", &[9], TensorType::F32)).contains(what));
}

#[test]
fn configurations_that_are_refused() {
    let with = |change: fn(&mut GgufWriter)| {
        let mut writer = model(TensorType::F32);
        change(&mut writer);
        error(open(writer.finish()))
    };
    fn set<'a>(w: &'a mut GgufWriter, key: &str, value: u32) -> &'a mut GgufWriter {
        w.remove_key(key).u32(key, value)
    }
    assert!(
        with(|w| {
            w.remove_key("llama.block_count");
        })
        .contains("x.gguf: no key \"llama.block_count\"")
    );
    assert!(
        with(|w| {
            set(w, "llama.attention.head_count", 0);
        })
        .contains("x.gguf: ")
    );
    assert!(
        with(|w| {
            set(w, "llama.block_count", u32::MAX);
        })
        .contains("\"num_hidden_layers\" is 4294967295")
    );
    assert!(
        with(|w| {
            set(w, "llama.rope.dimension_count", 8);
        })
        .contains("\"llama.rope.dimension_count\" is 8, but heads are 16 wide")
    );
    assert!(
        with(|w| {
            w.u32("llama.attention.value_length", 8);
        })
        .contains("\"llama.attention.value_length\" is 8")
    );
    assert!(
        with(|w| {
            w.u32("llama.expert_count", 8);
        })
        .contains("a mixture of 8 experts")
    );
    assert!(
        with(|w| {
            w.string("llama.rope.scaling.type", "yarn");
        })
        .contains("rotary embedding of type \"yarn\"")
    );
    assert!(
        with(|w| {
            w.f32("llama.rope.scaling.factor", -2.0);
        })
        .contains("the scaling of the rotary embedding is out of range")
    );
    assert!(
        with(|w| {
            w.u32("llama.attention.sliding_window", 4096);
        })
        .contains("a sliding window of 4096 tokens")
    );
    assert!(
        with(|w| {
            set(w, "llama.vocab_size", 39);
        })
        .contains("40 tokens, but \"llama.vocab_size\" is 39")
    );
    let family = |w: &mut GgufWriter| {
        w.remove_key("general.architecture").string("general.architecture", "gemma3");
    };
    assert!(with(family).contains("model type \"gemma3\" is not supported"));
    let per_layer = |w: &mut GgufWriter| {
        w.remove_key("llama.feed_forward_length").integers("llama.feed_forward_length", &[1, 2]);
    };
    assert!(
        with(per_layer)
            .contains("\"llama.feed_forward_length\" is a list of 32-bit whole numbers, expected a whole number")
    );
}

#[test]
fn scaled_rotary_embeddings() {
    let linear = Some(RopeScaling::Linear { factor: 2.5 });
    let mut writer = model(TensorType::F32);
    writer.string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 2.5);
    assert_eq!(open(writer.finish()).unwrap().config.rope_scaling, linear);
    let divisors = |writer: &mut GgufWriter, scaling: RopeScaling| {
        let frequencies = ModelConfig::from_hf(&config(), "").unwrap().rope_frequencies();
        let divisors: Vec<f32> = frequencies.iter().map(|frequency| scaling.divisor(*frequency) as f32).collect();
        writer.tensor("rope_freqs.weight", &[divisors.len()], TensorType::F32, encode(TensorType::F32, &divisors));
    };
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    divisors(&mut writer, llama3);
    assert!(error(open(writer.finish())).contains("scales the rotary embedding a second time"));

    let mut writer = model(TensorType::F32);
    writer.f32("llama.rope.scale_linear", 2.5);
    assert_eq!(open(writer.finish()).unwrap().config.rope_scaling, linear);

    let mut writer = model(TensorType::F32);
    divisors(&mut writer, llama3);
    let source = open(writer.finish()).unwrap();
    assert_eq!(source.config.rope_scaling, Some(llama3));
    assert_eq!(ModelConfig::from_hf(&source.assets.config_json, "").unwrap(), source.config);
}

#[test]
fn every_cut_is_an_error() {
    let whole = model(TensorType::Q4_0).finish();
    for length in (0..6000).step_by(7).chain((6000..whole.len()).step_by(499)) {
        let error = error(open(whole[..length].to_vec()));
        assert!(error.contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn files_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named.gguf");
    let blob = folder.path().join("sha256-0123"); // as Ollama stores them
    std::fs::write(&blob, model(TensorType::Q4_1).finish()).unwrap();
    std::fs::write(&named, b"something else").unwrap();
    let source = block_on(Source::open(&blob)).unwrap();
    assert_eq!(source.name, blob.display().to_string());
    check_values(&source);
    assert_eq!(error(block_on(Source::open(&named))), format!("{}: not a GGUF file", named.display()));
}
