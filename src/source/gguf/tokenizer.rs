//! Hugging Face's tokenizer files, made from a GGUF file's metadata.

use crate::error::{Error, Result};
use crate::weights::gguf::Metadata;
use crate::weights::quoted;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How text is cut before tokens are formed, by the name in `tokenizer.ggml.pre`. Only names are here of which it is
/// certain what the original tokenizer did. "default" is not: it stands for "nobody knew" when the file was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreTokenizer {
    /// Single digits first, which takes the space off a number: "is 5" is `is`, `Ġ`, `5`.
    Smollm,
    Gpt2,
    Llama3,
    Qwen2,
}

/// The Llama 3 tokenizer of models that put no beginning-of-text token in front, SmolLM3 among them.
const LLAMA3_WITHOUT_BOS: &str = "smaug-bpe";

const PRE_TOKENIZERS: [(&str, PreTokenizer); 7] = [
    ("smollm", PreTokenizer::Smollm),
    ("gpt-2", PreTokenizer::Gpt2),
    ("llama-bpe", PreTokenizer::Llama3),
    ("llama3", PreTokenizer::Llama3),
    ("llama-v3", PreTokenizer::Llama3),
    (LLAMA3_WITHOUT_BOS, PreTokenizer::Llama3),
    ("qwen2", PreTokenizer::Qwen2),
];

const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The numbers in `tokenizer.ggml.token_type` of tokens that are found in a text before it is cut.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer as the metadata describe it.
pub(super) struct Tokenizer<'a> {
    pub tokens: &'a [String],
    types: &'a [i64],
    merges: &'a [String],
    pre_tokenizer: PreTokenizer,
    add_bos: bool,
    pub bos: Option<u32>,
    /// Tokens that end a text, a turn or a message; that of a text first.
    pub eos: Vec<u32>,
    unknown: Option<u32>,
    pub pad: Option<u32>,
    pub chat_template: Option<&'a str>,
}

impl<'a> Tokenizer<'a> {
    pub fn read(metadata: &'a Metadata, place: &str) -> Result<Self> {
        let wrong = |what: String| Error::model(place, what);
        let instead = "use the Hugging Face folder of this model instead";
        let model = metadata.required("tokenizer.ggml.model", Metadata::string)?;
        if model != "gpt2" {
            let model = quoted(model);
            return Err(wrong(format!(
                "tokenizer {model} is not supported in a GGUF file; supported: \"gpt2\"; {instead}"
            )));
        }
        let pre = metadata.string("tokenizer.ggml.pre")?.unwrap_or("default");
        let pre_tokenizer = PRE_TOKENIZERS.iter().find(|(name, _)| *name == pre).map(|(_, known)| *known);
        let pre_tokenizer = pre_tokenizer.ok_or_else(|| {
            let known = PRE_TOKENIZERS.map(|(name, _)| name).join(", ");
            wrong(format!(
                "pre-tokenizer {} (\"tokenizer.ggml.pre\") is not supported; supported: {known}; {instead}",
                quoted(pre)
            ))
        })?;

        let tokens = metadata.required("tokenizer.ggml.tokens", Metadata::strings)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = tokens.iter().find(|token| !seen.insert(*token)) {
            return Err(wrong(format!("token {} is in the vocabulary twice", quoted(twice))));
        }
        let types = metadata.required("tokenizer.ggml.token_type", Metadata::integers)?;
        if types.len() != tokens.len() {
            return Err(wrong(format!("{} tokens, but {} token types", tokens.len(), types.len())));
        }
        let id = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match metadata.size(&key)? {
                Some(id) if id >= tokens.len() => {
                    Err(wrong(format!("\"{key}\" is {id}, but there are {} tokens", tokens.len())))
                }
                id => Ok(id.and_then(|id| u32::try_from(id).ok())),
            }
        };
        let mut eos = Vec::new();
        for end in [id("eos")?, id("eot")?, id("eom")?].into_iter().flatten() {
            if !eos.contains(&end) {
                eos.push(end);
            }
        }
        let add_bos = metadata.flag("tokenizer.ggml.add_bos_token")?;
        Ok(Self {
            tokens,
            types,
            merges: metadata.required("tokenizer.ggml.merges", Metadata::strings)?,
            pre_tokenizer,
            add_bos: add_bos.unwrap_or(pre_tokenizer == PreTokenizer::Llama3 && pre != LLAMA3_WITHOUT_BOS),
            bos: id("bos")?,
            eos,
            unknown: id("unknown")?,
            pad: id("padding")?,
            chat_template: metadata.string("tokenizer.chat_template")?,
        })
    }

    /// `tokenizer.json`.
    pub fn tokenizer_json(&self) -> Value {
        let vocab: Map<String, Value> =
            self.tokens.iter().zip(0..).map(|(token, id)| (token.clone(), json!(id))).collect();
        let (normalizer, pre_tokenizer) = Self::cutting(self.pre_tokenizer);
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens().collect::<Vec<_>>(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": self.pre_tokenizer == PreTokenizer::Llama3,
                "vocab": vocab,
                "merges": self.merges,
            },
        })
    }

    /// `tokenizer_config.json`.
    pub fn tokenizer_config(&self, max_length: usize) -> Value {
        let mut config = self.special_tokens();
        let added: Map<String, Value> = self
            .added_tokens()
            .map(|mut token| {
                let id = token.as_object_mut().and_then(|token| token.shift_remove("id")).unwrap_or_default();
                (id.to_string(), token)
            })
            .collect();
        config.insert("add_prefix_space".into(), json!(false));
        config.insert("added_tokens_decoder".into(), added.into());
        config.insert("chat_template".into(), json!(self.chat_template));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        config.insert("model_max_length".into(), json!(max_length));
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.into()
    }

    /// `special_tokens_map.json`.
    pub fn special_tokens_map(&self) -> Value {
        self.special_tokens().into()
    }

    /// `generation_config.json`.
    pub fn generation_config(&self) -> Value {
        let eos = match self.eos.as_slice() {
            [] => None,
            [one] => Some(json!(one)),
            many => Some(json!(many)),
        };
        let ids = [
            ("bos_token_id", self.bos.map(|id| json!(id))),
            ("eos_token_id", eos),
            ("pad_token_id", self.pad.map(|id| json!(id))),
        ];
        ids.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?))).collect::<Map<_, _>>().into()
    }

    fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize] // every id was checked when it was read
    }

    fn special_tokens(&self) -> Map<String, Value> {
        let eos = self.eos.first().copied();
        [("bos_token", self.bos), ("eos_token", eos), ("unk_token", self.unknown), ("pad_token", self.pad)]
            .into_iter()
            .filter_map(|(key, id)| Some((key.to_owned(), json!(self.token(id?)))))
            .collect()
    }

    fn added_tokens(&self) -> impl Iterator<Item = Value> {
        let typed = self.tokens.iter().zip(self.types).enumerate();
        typed.filter(|(_, (_, ty))| [CONTROL, USER_DEFINED].contains(ty)).map(|(id, (token, ty))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": *ty == CONTROL,
            })
        })
    }

    /// The normalizer and the pre-tokenizer.
    fn cutting(pre_tokenizer: PreTokenizer) -> (Value, Value) {
        let byte_level = |trim_offsets: bool, use_regex: bool| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": false,
                "trim_offsets": trim_offsets,
                "use_regex": use_regex,
            })
        };
        let split = |pattern: &str| {
            json!({
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": false,
            })
        };
        let sequence = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
        match pre_tokenizer {
            PreTokenizer::Smollm => {
                (Value::Null, sequence(json!({"type": "Digits", "individual_digits": true}), byte_level(true, true)))
            }
            PreTokenizer::Gpt2 => (Value::Null, byte_level(true, true)),
            PreTokenizer::Llama3 => (Value::Null, sequence(split(LLAMA3_PATTERN), byte_level(true, false))),
            PreTokenizer::Qwen2 => (json!({"type": "NFC"}), sequence(split(QWEN2_PATTERN), byte_level(false, false))),
        }
    }

    /// Puts the beginning-of-text token in front, for programs that ask the tokenizer to add special tokens.
    fn post_processor(&self) -> Value {
        let Some(id) = self.bos.filter(|_| self.add_bos) else { return Value::Null };
        let bos = self.token(id);
        let special = |type_id: u32| json!({"SpecialToken": {"id": bos, "type_id": type_id}});
        let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
        json!({
            "type": "TemplateProcessing",
            "single": [special(0), text("A", 0)],
            "pair": [special(0), text("A", 0), special(1), text("B", 1)],
            "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
        })
    }
}

/// The name in `tokenizer.ggml.pre` for the way in which a `tokenizer.json` cuts text, if it is one of those that
/// [`Tokenizer`] knows.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn pre_tokenizer_name(tokenizer_json: &Value) -> Option<&'static str> {
    let cutting = |normalizer: &Value, pre_tokenizer: &Value| {
        let mut cutting = json!([normalizer, pre_tokenizer]);
        remove_offsets(&mut cutting);
        cutting
    };
    let wanted = cutting(&tokenizer_json["normalizer"], &tokenizer_json["pre_tokenizer"]);
    let found = PRE_TOKENIZERS.iter().find(|(_, known)| {
        let (normalizer, pre_tokenizer) = Tokenizer::cutting(*known);
        cutting(&normalizer, &pre_tokenizer) == wanted
    });
    found.map(|(name, _)| *name)
}

/// Removes what has to do with offsets of tokens, but not with which tokens there are.
#[cfg(not(target_family = "wasm"))]
fn remove_offsets(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.shift_remove("trim_offsets");
            object.values_mut().for_each(remove_offsets);
        }
        Value::Array(list) => list.iter_mut().for_each(remove_offsets),
        _ => (),
    }
}
