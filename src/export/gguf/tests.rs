//! What is written is read again by the same reader that reads llama.cpp's files.

use super::*;
use crate::adapter::Method;
use crate::export::testing::{adapter, config, source, tokenizer};
use crate::model::Projection;
use crate::source::Assets;
use crate::text::Tokenizer;
use pollster::block_on;
use serde_json::{Value, json};
use std::path::PathBuf;

struct Exported {
    folder: tempfile::TempDir,
    report: GgufReport,
    source: Source,
}

fn exported(source: &Source, adapter: &StoredAdapter, ty: GgufType) -> Exported {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/out.gguf");
    let report = block_on(export_gguf(source, adapter, &path, ty, |_, _| Ok(()))).unwrap();
    let source = block_on(Source::open(&path)).unwrap();
    assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    Exported { folder, report, source }
}

fn read(source: &Source, name: &str) -> Vec<f32> {
    block_on(source.read_f32(name)).unwrap()
}

/// Fails unless `exported` holds the sums of `base` and `adapter`, rounded as `ty` rounds.
fn check(base: &Source, adapter: &StoredAdapter, exported: &Source, ty: GgufType) {
    let merged = Merged::new(base, adapter).unwrap();
    for (name, shape) in merged.tensors() {
        let expected = block_on(merged.read(&name)).unwrap();
        let found = read(exported, &name);
        let ty = ty.for_shape(&shape);
        let TensorType::Q8_0 = TensorType::from_name(ty.name()).unwrap() else {
            let bytes = ty.encode(&expected).unwrap();
            let mut rounded = vec![0.0; expected.len()];
            TensorType::from_name(ty.name()).unwrap().dequantize(&bytes, &mut rounded);
            assert_eq!(found, rounded, "{name}");
            continue;
        };
        for (expected, found) in expected.chunks(32).zip(found.chunks(32)) {
            let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let within = |(a, b): (&f32, &f32)| (a - b).abs() <= largest / 254.0 + a.abs() * 5e-4;
            assert!(expected.iter().zip(found).all(within), "{name}");
        }
    }
}

const TYPES: [GgufType; 4] = [
    GgufType::Float(FloatType::F32),
    GgufType::Float(FloatType::F16),
    GgufType::Float(FloatType::BF16),
    GgufType::Q8_0,
];

#[test]
fn a_folder_becomes_a_file_with_the_same_model() {
    let base = source(&config(), &tokenizer());
    for (ty, method) in TYPES.into_iter().zip([
        Method::Diablo { blocks: 8 },
        Method::Lora { rank: 3, alpha: 6.0 },
        Method::Full,
        Method::Diablo { blocks: 2 },
    ]) {
        let adapter = adapter(method, &[Projection::Q, Projection::K, Projection::Down], &base.config);
        let Exported { source: found, report, .. } = exported(&base, &adapter, ty);
        check(&base, &adapter, &found, ty);
        assert_eq!(found.config, base.config);
        assert_eq!((report.tensors, report.unquantized), (base.tensor_names().count(), 0));
        assert_eq!(found.dtype_name(), ty.name());
        assert_eq!(found.assets.chat_template, base.assets.chat_template);
        same_tokens(&found.assets, &base.assets);
    }
}

/// What families differ in besides their tensors.
#[test]
fn scaled_rotary_embeddings_and_other_families() {
    let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let linear = json!({"rope_type": "linear", "factor": 2.5});
    for (family, scaling) in
        [("llama", llama3), ("llama", linear), ("qwen2", json!(null)), ("qwen3", json!(null)), ("smollm3", json!(null))]
    {
        let mut json = config();
        json["model_type"] = json!(family);
        json["rope_scaling"] = scaling;
        json["attention_bias"] = json!(false);
        let base = source(&json, &tokenizer());
        let adapter = adapter(Method::Diablo { blocks: 8 }, &[Projection::Q, Projection::K], &base.config);
        let ty = GgufType::Float(FloatType::F16);
        let first = exported(&base, &adapter, ty);
        assert_eq!(first.source.config, base.config, "{family}");
        check(&base, &adapter, &first.source, ty);
        // And once more from there.
        let second = exported(&first.source, &adapter, ty);
        assert_eq!(second.source.config, base.config, "{family}");
        assert_eq!(second.report, first.report);
    }
}

fn same_tokens(a: &Assets, b: &Assets) {
    let read = |assets: &Assets| Tokenizer::from_bytes(&assets.tokenizer_json, "tokenizer.json").unwrap();
    let (a, b) = (read(a), read(b));
    for text in
        ["", "hello world", "hell 12 <|im_end|>\n<tool> é 日本", "he  llo\twww", "<|im_start|>user\nhi<|im_end|>"]
    {
        let ids = a.encode(text).unwrap();
        assert_eq!(ids, b.encode(text).unwrap(), "{text}");
        assert_eq!(a.decode(&ids, true).unwrap(), b.decode(&ids, true).unwrap(), "{text}");
    }
}

/// Also metadata that this program has no use for, and tensors that are no weights.
#[test]
fn a_file_keeps_its_metadata() {
    let folder_source = source(&config(), &tokenizer());
    let none = adapter(Method::Lora { rank: 1, alpha: 1e-30 }, &[Projection::Q], &folder_source.config);
    let first = exported(&folder_source, &none, GgufType::Q8_0);
    let path = first.folder.path().join("new/out.gguf");
    let (file, gguf) = header(&path);

    // The same file with more in it.
    let mut more = HeaderWriter::default();
    for (_, range) in gguf.metadata.entries() {
        more.entry(&file[range.start as usize..range.end as usize]);
    }
    more.u32("some.key", 5);
    more.u32("general.alignment", 32);
    more.u32("quantize.imatrix.entries_count", 5);
    let mut tensors: Vec<_> = gguf.tensors.iter().collect();
    tensors.sort_by_key(|(_, info)| info.range.start);
    for (name, info) in &tensors {
        more.tensor(name, &info.shape, info.ty.as_ref().unwrap().name()).unwrap();
    }
    assert_eq!(more.tensor("more", &[2, 256], "IQ2_S"), Some(164));
    let mut bytes = more.finish();
    bytes.extend(&file[tensors[0].1.range.start as usize..]);
    bytes.extend([3; 164]);
    let path = first.folder.path().join("more.gguf");
    std::fs::write(&path, bytes).unwrap();

    let base = block_on(Source::open(&path)).unwrap();
    let adapter = adapter(Method::Diablo { blocks: 4 }, &[Projection::Q, Projection::Up], &base.config);
    for ty in TYPES {
        let second = exported(&base, &adapter, ty);
        check(&base, &adapter, &second.source, ty);
        assert_eq!(second.source.config, base.config);
        same_tokens(&second.source.assets, &base.assets);
        let (bytes, gguf) = header(&second.folder.path().join("new/out.gguf"));
        let size = |key| gguf.metadata.size(key).unwrap();
        assert_eq!((size("some.key"), size("general.file_type")), (Some(5), Some(ty.file_type() as usize)));
        assert_eq!((size("general.alignment"), size("quantize.imatrix.entries_count")), (None, None));
        let other = &gguf.tensors["more"];
        assert_eq!((&other.ty, &other.shape[..]), (&Err("IQ2_S".into()), &[2, 256][..]));
        assert_eq!(bytes[other.range.start as usize..other.range.end as usize], [3; 164]);
    }
}

fn header(path: &PathBuf) -> (Vec<u8>, Gguf) {
    let bytes = std::fs::read(path).unwrap();
    let gguf = block_on(Gguf::read(&Storage::from_bytes("x.gguf", bytes.clone()))).unwrap();
    (bytes, gguf)
}

#[test]
fn rows_that_are_no_whole_blocks_are_f16() {
    let mut odd = config();
    odd["intermediate_size"] = json!(72);
    odd["tie_word_embeddings"] = json!(true);
    odd["attention_bias"] = json!(false);
    let base = source(&odd, &tokenizer());
    let adapter = adapter(Method::Diablo { blocks: 8 }, &[Projection::Down], &base.config);
    let Exported { source, report, .. } = exported(&base, &adapter, GgufType::Q8_0);
    assert_eq!(report.unquantized, 3); // down_proj of every layer
    check(&base, &adapter, &source, GgufType::Q8_0);
}

#[test]
fn special_tokens() {
    let mut with_bos = tokenizer();
    with_bos["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }]});
    // As newer files have them.
    with_bos["model"]["merges"] = json!([["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "w"]]);
    for (tokenizer, adds) in [(tokenizer(), false), (with_bos, true)] {
        let base = source(&config(), &tokenizer);
        let adapter = adapter(Method::Full, &[Projection::V], &base.config);
        let file = exported(&base, &adapter, GgufType::Q8_0);
        let (_, gguf) = header(&file.folder.path().join("new/out.gguf"));
        let id = |name: &str| gguf.metadata.size(&format!("tokenizer.ggml.{name}_token_id")).unwrap();
        assert_eq!(["bos", "eos", "eot", "padding", "unknown"].map(id), [Some(1), Some(2), Some(0), Some(0), None]);
        assert_eq!(gguf.metadata.flag("tokenizer.ggml.add_bos_token").unwrap(), Some(adds));
        let tokens = gguf.metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
        assert_eq!((tokens.len(), tokens[299].as_str()), (300, "[PAD299]"));
        let types = gguf.metadata.integers("tokenizer.ggml.token_type").unwrap().unwrap();
        assert_eq!([0, 2, 3, 4, 263, 264, 299].map(|id| types[id]), [3, 3, 4, 1, 1, 5, 5]);
        assert_eq!(gguf.metadata.strings("tokenizer.ggml.merges").unwrap().unwrap(), ["h e", "l l", "he ll", "Ġ w"]);
    }
}

#[test]
fn what_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out.gguf");
    let error = |change: fn(&mut Value), ty| {
        let mut tokenizer = tokenizer();
        change(&mut tokenizer);
        let base = source(&config(), &tokenizer);
        let mut adapter = adapter(Method::Full, &[Projection::V], &base.config);
        adapter.values[1][7] = 1e30;
        let result = block_on(export_gguf(&base, &adapter, &target, ty, |_, _| Ok(())));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        result.unwrap_err().to_string()
    };
    let f32 = GgufType::Float(FloatType::F32);
    let says = |error: String, expected: &str| assert!(error.contains(expected), "{error}");
    says(error(|_| (), GgufType::Q8_0), "model.layers.1.self_attn.v_proj.weight: holds 1");
    says(error(|_| (), GgufType::Float(FloatType::F16)), "too large for F16; use another --dtype");
    says(error(|t| t["model"]["type"] = json!("Unigram"), f32), "of another kind (\"Unigram\")");
    says(error(|t| t["pre_tokenizer"] = json!({"type": "Whitespace"}), f32), "knows no GGUF name for");
    says(error(|t| t["normalizer"] = json!({"type": "Lowercase"}), f32), "knows no GGUF name for");
    says(
        error(|t| t["model"]["vocab"]["zzz"] = json!(300), f32),
        "token \"zzz\" has the id 300, but the model knows only 300",
    );
    says(error(|t| t["model"]["vocab"]["zzz"] = json!(5), f32), "have the same id 5");
    says(error(|t| t["model"]["vocab"]["zzz"] = json!(-5), f32), "has the id -5");
    says(error(|t| t["model"]["merges"] = json!([["a"]]), f32), "broken \"merges\"");
}

#[test]
fn the_target_must_be_free() {
    let base = source(&config(), &tokenizer());
    let adapter = adapter(Method::Full, &[Projection::V], &base.config);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("there"), "x").unwrap();
    for target in ["there", "", "there/below.gguf"] {
        let target = folder.path().join(target);
        assert!(block_on(export_gguf(&base, &adapter, &target, GgufType::Q8_0, |_, _| Ok(()))).is_err());
    }
    let target = folder.path().join("stopped.gguf");
    let stop = |done, _| if done == 3 { Err(Error::Interrupted) } else { Ok(()) };
    assert!(matches!(block_on(export_gguf(&base, &adapter, &target, GgufType::Q8_0, stop)), Err(Error::Interrupted)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
