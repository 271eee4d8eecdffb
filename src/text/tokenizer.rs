//! A model's tokenizer, read from `tokenizer.json`.

mod hazards;

use std::sync::Arc;

use tokenizers::{Encoding, ModelWrapper};

use crate::error::{Error, Result};
use crate::text::StreamDecoder;
use crate::weights::plain;

/// Cuts text into tokens and puts it together again. Clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    vocab_size: usize,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`; `place` names the file in errors.
    pub fn from_bytes(tokenizer_json: &[u8], place: &str) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| {
            let why = plain(&e.to_string());
            Error::model(place, format!("{why}; expected the tokenizer.json of a Hugging Face model"))
        };
        hazards::check(tokenizer_json).map_err(|e| wrong(&e))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(tokenizer_json).map_err(|e| wrong(&e))?;
        // Some files carry the truncation and padding of the program that saved them. Lengths are ours to decide.
        inner.with_truncation(None).map_err(|e| Error::model(place, e.to_string()))?;
        inner.with_padding(None);
        // Nor may the same text give different tokens every time.
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size == 0 {
            return Err(Error::model(place, "the vocabulary is empty"));
        }
        Ok(Self { inner: Arc::new(inner), vocab_size })
    }

    /// The token ids of `text`. Adds no special token; those written out in the text are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| self.cannot_encode(text, &e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token ids of `text` as of [`encode`](Self::encode), and for each the byte of `text` where it ends.
    /// Tokens that are parts of one character all end where it ends.
    pub(crate) fn encode_with_ends(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let encoding: Encoding = self.inner.encode(text, false).map_err(|e| self.cannot_encode(text, &e))?;
        let ends = encoding.get_offsets().iter().map(|&(_, end)| end).collect();
        Ok((encoding.get_ids().to_vec(), ends))
    }

    /// The text of `ids`. With `skip_special` the special tokens are left out. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| Error::data("tokenizer", format!("decoding failed: {e}")))
    }

    /// A decoder for tokens that come one by one.
    pub fn stream(&self, skip_special: bool) -> StreamDecoder {
        StreamDecoder::new(self.clone(), skip_special)
    }

    /// Token `id` as the vocabulary spells it, such as `Ġthe`, or nothing if there is none.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of the token that the vocabulary spells `token`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the largest token id. The model's embedding may have more rows than that.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn cannot_encode(&self, text: &str, why: &dyn std::fmt::Display) -> Error {
        let start: String = text.chars().take(40).collect();
        Error::data("tokenizer", format!("encoding {start:?}... failed: {why}"))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::fixture::{self, END};

    #[test]
    fn merges_and_recognises_special_tokens() {
        let tokenizer = fixture::tokenizer();
        assert_eq!(tokenizer.encode("hello world").unwrap(), [261, 264, 265]);
        assert_eq!(tokenizer.encode("<|end|>hello<|turn|>").unwrap(), [0, 261, 1]);
        assert_eq!(tokenizer.encode("<|end").unwrap().len(), 5);
        assert_eq!(tokenizer.encode("").unwrap(), [0_u32; 0]);
        assert_eq!(tokenizer.vocab_size(), 266);
        assert_eq!((tokenizer.token(263), tokenizer.token(266)), (Some("or".into()), None));
        assert_eq!((tokenizer.token_id("<|end|>"), tokenizer.token_id("nothing")), (Some(END), None));
    }

    #[test]
    fn decodes_what_it_encoded() {
        let tokenizer = fixture::tokenizer();
        let text = " hello\n\tworld 日本 🙂<|end|> é";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.replace("<|end|>", ""));
    }

    #[test]
    fn tells_where_tokens_end() {
        let (ids, ends) = fixture::tokenizer().encode_with_ends("é<|end|> world").unwrap();
        assert_eq!(ids.len(), 5);
        // Two bytes of one character, the special token, " wor", "ld".
        assert_eq!(ends, [2, 2, 9, 13, 15]);
    }

    #[test]
    fn lengths_and_chance_in_the_file_are_ignored() {
        let mut json = fixture::tokenizer_json();
        json["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<|end|>"});
        json["model"]["dropout"] = json!(0.9);
        let (tokenizer, plain) = (fixture::read(&json), fixture::tokenizer());
        let text = "hello world hello world";
        for _ in 0..20 {
            assert_eq!(tokenizer.encode(text).unwrap(), plain.encode(text).unwrap());
            assert_eq!(tokenizer.encode_with_ends(text).unwrap(), plain.encode_with_ends(text).unwrap());
        }
    }

    #[test]
    fn says_which_file_is_broken() {
        for broken in ["", "{", "[]", "{}", "\u{feff}{}", r#"{"model": {"type": "BPE", "vocab": {}, "merges": []}}"#] {
            let error = Tokenizer::from_bytes(broken.as_bytes(), "dir/tokenizer.json").unwrap_err();
            assert!(error.to_string().starts_with("dir/tokenizer.json: "), "{broken}: {error}");
        }
    }
}
