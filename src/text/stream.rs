//! Decoding while tokens are still coming.

use crate::error::Result;
use crate::text::Tokenizer;

/// An unfinished character is one U+FFFD, or one for each of its bytes so far; a character has four bytes at most.
const LONGEST_UNFINISHED: usize = 3;

/// Turns tokens into text one by one and gives out whole characters only. All pieces together, with that of
/// [`finish`](Self::finish), are the decoding of all tokens together.
///
/// (One exception: a tokenizer with byte fallback, as Llama 2's, decodes a run of byte tokens all or nothing. If such
/// a run turns out not to be UTF-8, characters of it that were given out already stay.)
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// The last tokens. The first of them are there for context only: many tokenizers drop the space before
    /// the first token they decode, and nowhere else.
    window: Vec<u32>,
    /// Where in `window` the context ends.
    context: usize,
    /// The part of the window's text that was given out.
    given: String,
}

impl StreamDecoder {
    pub(super) fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, window: Vec::new(), context: 0, given: String::new() }
    }

    /// Takes the next token and returns the text that it completes, which may be none.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        let unfinished = unfinished_len(&text);
        // With byte fallback an unfinished character spoils, for now, the whole ones just before it.
        if unfinished > 0 && !text.starts_with(&self.given) {
            return Ok(String::new());
        }
        let complete = &text[..text.len() - unfinished];
        let piece = self.unseen(complete).to_owned();
        if unfinished > 0 {
            self.given.push_str(&piece);
        } else if !piece.is_empty() {
            // Nothing is pending, so a new window can begin. It keeps the tokens of this piece as its context.
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.given = self.tokenizer.decode(&self.window, self.skip_special)?;
        }
        Ok(piece)
    }

    /// Returns what was held back because its character never ended, as U+FFFD, and starts anew.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        let rest = self.unseen(&text).to_owned();
        *self = Self::new(self.tokenizer.clone(), self.skip_special);
        Ok(rest)
    }

    /// The part of the window's `text` that was not given out.
    fn unseen<'a>(&self, text: &'a str) -> &'a str {
        // Where text that was given out has changed since, its length still tells roughly where to go on.
        &text[text.floor_char_boundary(self.given.len())..]
    }
}

/// The length of the characters at the end of `text` that the next token may still change.
fn unfinished_len(text: &str) -> usize {
    let unfinished = text.chars().rev().take(LONGEST_UNFINISHED).take_while(|&c| c == char::REPLACEMENT_CHARACTER);
    unfinished.count() * char::REPLACEMENT_CHARACTER.len_utf8()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::random::Random;
    use crate::text::fixture;

    /// Pushes all `ids`, checks that their pieces make up the decoding of the whole, and returns the pieces.
    fn pieces(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
        let mut stream = tokenizer.stream(skip_special);
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), tokenizer.decode(ids, skip_special).unwrap(), "{ids:?}");
        assert_eq!(stream.finish().unwrap(), "");
        pieces
    }

    #[test]
    fn gives_whole_characters_as_soon_as_they_are_there() {
        let tokenizer = fixture::tokenizer();
        let ids = tokenizer.encode("hello world é日🙂<|end|>!").unwrap();
        let expected = ["hello", " wor", "ld", " ", "", "é", "", "", "日", "", "", "", "🙂", "<|end|>", "!", ""];
        assert_eq!(pieces(&tokenizer, &ids, false), expected);
        let skipped = expected.map(|piece| if piece == "<|end|>" { "" } else { piece });
        assert_eq!(pieces(&tokenizer, &ids, true), skipped);
    }

    #[test]
    fn an_unfinished_character_comes_at_the_end() {
        let tokenizer = fixture::tokenizer();
        let mut ids = tokenizer.encode("a🙂").unwrap();
        ids.truncate(4);
        assert_eq!(pieces(&tokenizer, &ids, false), ["a", "", "", "", "\u{fffd}"]);
        // A byte that cannot follow proves that the character will never end.
        ids.push(tokenizer.encode("b").unwrap()[0]);
        assert_eq!(pieces(&tokenizer, &ids, false), ["a", "", "", "", "\u{fffd}b", ""]);
    }

    #[test]
    fn any_tokens_at_all_add_up() {
        let tokenizer = fixture::tokenizer();
        let mut random = Random::new(5);
        for round in 0..300 {
            // From all bytes, and from those of a few multi-byte characters, which are more often almost right.
            let alphabet: Vec<u32> =
                if round % 2 == 0 { (0..266).collect() } else { tokenizer.encode("é日本🙂a<|end|>").unwrap() };
            let length = random.below(40);
            let ids: Vec<u32> = (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
            pieces(&tokenizer, &ids, round % 3 == 0);
        }
    }

    /// A tokenizer in the manner of Llama 2: words with a mark for the space before, bytes for all else.
    fn sentencepiece() -> Tokenizer {
        let mut json = fixture::tokenizer_json();
        let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), json!(5 + u32::from(byte))));
        let words = [("<|end|>", 0), ("<|turn|>", 1), ("▁This", 2), ("▁is", 3), ("▁", 4)];
        let words = words.map(|(word, id)| (word.to_owned(), json!(id)));
        json["model"]["vocab"] = bytes.chain(words).collect::<serde_json::Map<_, _>>().into();
        json["model"]["merges"] = json!([]);
        json["model"]["byte_fallback"] = json!(true);
        json["pre_tokenizer"] = json!(null);
        json["decoder"] = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        fixture::read(&json)
    }

    #[test]
    fn the_space_dropped_at_the_start_is_dropped_there_only() {
        let tokenizer = sentencepiece();
        assert_eq!(pieces(&tokenizer, &[2, 3, 2], false), ["This", " is", " This", ""]);
        assert_eq!(pieces(&tokenizer, &[0, 2, 0, 3, 0, 0, 3], true), ["", "This", "", " is", "", "", " is", ""]);
        let smile = "🙂".bytes().map(|byte| 5 + u32::from(byte));
        let ids: Vec<u32> = [2].into_iter().chain(smile.clone()).chain(smile).chain([3]).collect();
        assert_eq!(pieces(&tokenizer, &ids, false), ["This", "", "", "", "🙂", "", "", "", "🙂", " is", ""]);
    }

    #[test]
    fn bytes_that_are_no_text_neither_fail_nor_repeat() {
        let tokenizer = sentencepiece();
        let mut stream = tokenizer.stream(false);
        // "é", then a byte that makes the whole run invalid: the decoding of the whole is three U+FFFD and " is".
        let ids = [5 + 0xC3, 5 + 0xA9, 5 + 0xFF, 3];
        let all: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        assert!(all.starts_with('é') && all.ends_with(" is"), "{all:?}");
    }
}
