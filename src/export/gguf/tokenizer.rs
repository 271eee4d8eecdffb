//! A Hugging Face tokenizer in GGUF's words.

use crate::error::{Error, Result};
use crate::source::{Source, pre_tokenizer_name};
use crate::weights::gguf::HeaderWriter;
use crate::weights::quoted;
use serde_json::Value;

/// The numbers in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Writes vocabulary, merges, special tokens and chat template.
///
/// # Errors
/// If the tokenizer is no byte-level BPE, or cuts text in a way that has no name in GGUF: another program would then
/// give the model other tokens than it was trained on.
pub fn write(source: &Source, header: &mut HeaderWriter) -> Result<()> {
    let place = format!("{}: tokenizer.json", source.name);
    let wrong = |what: String| Error::model(&place, what);
    let json: Value =
        serde_json::from_slice(&source.assets.tokenizer_json).map_err(|e| wrong(format!("broken JSON: {e}")))?;
    let model = &json["model"];
    let kind = model["type"].as_str().unwrap_or("BPE"); // older files do not say
    if kind != "BPE" || model["byte_fallback"] == true || !model["merges"].is_array() {
        let what = "only byte-level BPE can be written to a GGUF file; export a folder and convert it with llama.cpp";
        return Err(wrong(format!("the tokenizer is of another kind ({}); {what}", quoted(kind))));
    }
    let pre = pre_tokenizer_name(&json).ok_or_else(|| {
        wrong("cuts text in a way that this program knows no GGUF name for; export a folder and convert it with llama.cpp".into())
    })?;
    let vocabulary = Vocabulary::read(&json, source.config.vocab_size).map_err(wrong)?;

    header.string("tokenizer.ggml.model", "gpt2");
    header.string("tokenizer.ggml.pre", pre);
    header.strings("tokenizer.ggml.tokens", &vocabulary.tokens);
    header.integers("tokenizer.ggml.token_type", &vocabulary.types);
    header
        .strings("tokenizer.ggml.merges", &merges(&model["merges"]).ok_or_else(|| wrong("broken \"merges\"".into()))?);
    let special = Special::find(source, &vocabulary);
    for (key, id) in &special.ids {
        header.u32(&format!("tokenizer.ggml.{key}_token_id"), *id);
    }
    header.flag(
        "tokenizer.ggml.add_bos_token",
        special.bos.is_some_and(|bos| adds(&json["post_processor"], vocabulary.token(bos))),
    );
    header.flag("tokenizer.ggml.add_space_prefix", false);
    if let Some(template) = &source.assets.chat_template {
        header.string("tokenizer.chat_template", template);
    }
    Ok(())
}

/// Tokens by id.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
}

impl Vocabulary {
    /// As many tokens as the model's embedding has rows; those that no text gives are unused ones.
    fn read(json: &Value, size: usize) -> Result<Self, String> {
        let vocab = json["model"]["vocab"].as_object().ok_or("no \"vocab\"")?;
        let mut found: Vec<Option<(String, i32)>> = vec![None; size];
        let mut put = |token: &str, id: &Value, ty: i32| {
            let at = id.as_u64().and_then(|id| usize::try_from(id).ok());
            let at = at.ok_or_else(|| format!("token {} has the id {id}, expected a whole number", quoted(token)))?;
            match found.get_mut(at) {
                None => Err(format!("token {} has the id {at}, but the model knows only {size}", quoted(token))),
                Some(Some((other, _))) if other != token => {
                    Err(format!("tokens {} and {} have the same id {at}", quoted(other), quoted(token)))
                }
                Some(entry) => {
                    *entry = Some((token.to_owned(), ty));
                    Ok(())
                }
            }
        };
        for (token, id) in vocab {
            put(token, id, NORMAL)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let token = added["content"].as_str().ok_or("an added token without \"content\"")?;
            put(token, &added["id"], if added["special"] == true { CONTROL } else { USER_DEFINED })?;
        }
        let unused = |id: usize| (format!("[PAD{id}]"), UNUSED);
        let (tokens, types) =
            found.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| unused(id))).unzip();
        Ok(Self { tokens, types })
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.tokens.iter().position(|known| known == token).and_then(|id| u32::try_from(id).ok())
    }

    fn token(&self, id: u32) -> &str {
        self.tokens.get(id as usize).map_or("", String::as_str)
    }
}

/// `["a b"]`, or as newer files have it `[["a", "b"]]`.
fn merges(merges: &Value) -> Option<Vec<String>> {
    let merge = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.clone()),
        pair => Some(format!("{} {}", pair[0].as_str()?, pair[1].as_str()?)),
    };
    merges.as_array()?.iter().map(merge).collect()
}

/// Tokens with a meaning of their own.
struct Special {
    bos: Option<u32>,
    /// By GGUF's names for them.
    ids: Vec<(&'static str, u32)>,
}

impl Special {
    /// The tokenizer's settings name them by text, the model's by id; either may be missing.
    fn find(source: &Source, vocabulary: &Vocabulary) -> Self {
        let (config, assets) = (&source.config, &source.assets);
        let named = |key: &str| {
            let settings = [&assets.tokenizer_config, &assets.special_tokens_map].into_iter().flatten();
            let text = |token: &Value| token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned);
            settings.map(|settings| &settings[key]).find_map(text).and_then(|token| vocabulary.id(&token))
        };
        let known = |id: &u32| (*id as usize) < vocabulary.tokens.len();
        let bos = named("bos_token").or(config.bos_token_id.filter(known));
        let mut ends: Vec<u32> = named("eos_token").into_iter().collect();
        for id in config.eos_token_ids.iter().filter(|id| known(id)) {
            if !ends.contains(id) {
                ends.push(*id);
            }
        }
        // The end of a text, of a turn, of a message: GGUF has no list, but these three.
        let ends = ["eos", "eot", "eom"].into_iter().zip(ends);
        let pad = named("pad_token").or_else(|| u32::try_from(assets.config_json["pad_token_id"].as_u64()?).ok());
        let others = [("bos", bos), ("unknown", named("unk_token")), ("padding", pad.filter(known))];
        let ids = others.into_iter().filter_map(|(key, id)| Some((key, id?))).chain(ends).collect();
        Self { bos, ids }
    }
}

/// Whether the post-processor puts the token `bos` before a text.
fn adds(post_processor: &Value, bos: &str) -> bool {
    let first = &post_processor["single"][0]["SpecialToken"]["id"];
    let parts = post_processor["processors"].as_array();
    first.as_str() == Some(bos) || parts.is_some_and(|parts| parts.iter().any(|part| adds(part, bos)))
}
