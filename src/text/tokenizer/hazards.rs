//! What the `tokenizers` crate (0.23) reads without a word and panics on, or fills memory with, when it is used.

use serde::Deserialize;
use serde_json::Value;

/// How many times longer all the replacements of a part together may make a text. Real files: 3 to 9, by "▁".
const LARGEST_GROWTH: usize = 64;

/// The parts of a `tokenizer.json` in which there are hazards; the rest is passed over.
#[derive(Deserialize)]
struct File {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    continuing_subword_prefix: Option<String>,
    merges: Option<Value>,
}

/// Says what in the file is not safe to use; also refuses broken JSON in those parts.
pub(super) fn check(tokenizer_json: &[u8]) -> Result<(), String> {
    let file: File = serde_json::from_slice(tokenizer_json).map_err(|e| e.to_string())?;
    let parts = [("normalizer", &file.normalizer), ("pre_tokenizer", &file.pre_tokenizer), ("decoder", &file.decoder)];
    for (place, part) in parts {
        if let Some(part) = part {
            check_part(part, &mut 1).map_err(|why| format!("{place}: {why}"))?;
        }
    }
    file.model.map_or(Ok(()), |model| check_merges(&model))
}

/// `part` and all that is in it: sequences hold further normalizers and decoders. `growth` is that of those before it.
fn check_part(part: &Value, growth: &mut usize) -> Result<(), String> {
    match part {
        Value::Array(parts) => parts.iter().try_for_each(|part| check_part(part, growth)),
        Value::Object(fields) => {
            // Strip counts back from the end of each token without looking how long it is.
            if fields.get("stop").and_then(Value::as_f64).is_some_and(|stop| stop > 0.0) {
                return Err("a Strip with \"stop\" above 0 is not supported".into());
            }
            let replacement = fields.get("content").or(fields.get("prepend")).and_then(Value::as_str);
            *growth = growth.saturating_mul(replacement.map_or(1, |text| text.len().max(1)));
            if *growth > LARGEST_GROWTH {
                return Err(format!("replacements that make a text over {LARGEST_GROWTH} times longer"));
            }
            if fields.contains_key("content") && fields.get("pattern").is_some_and(|pattern| !takes_something(pattern))
            {
                return Err("a Replace whose pattern may match nothing, or looks around, is not supported".into());
            }
            fields.values().try_for_each(|part| check_part(part, growth))
        }
        _ => Ok(()),
    }
}

/// Whether every match of a Replace's pattern has at least one character: else the crate's offsets go past the text.
/// (Not asked of a Split: to cut where nothing is taken away is its use.)
fn takes_something(pattern: &Value) -> bool {
    match (pattern.get("String"), pattern.get("Regex")) {
        (Some(Value::String(text)), None) => !text.is_empty(),
        (None, Some(Value::String(regex))) => {
            // What only the backtracking engine understands, such as looking around, is an error here.
            let parsed = regex_syntax::parse(regex);
            parsed.is_ok_and(|hir| hir.properties().minimum_len().is_none_or(|length| length > 0))
        }
        // What is no pattern at all, the crate refuses.
        _ => true,
    }
}

/// The second half of each merge must begin with the prefix of continued words: BPE cuts that many bytes off.
fn check_merges(model: &Model) -> Result<(), String> {
    let Some(prefix) = model.continuing_subword_prefix.as_deref().filter(|prefix| !prefix.is_empty()) else {
        return Ok(());
    };
    let merges = model.merges.as_ref().and_then(Value::as_array).into_iter().flatten();
    for (n, merge) in merges.enumerate() {
        let second = match merge {
            Value::Array(pair) => pair.get(1).and_then(Value::as_str),
            merge => merge.as_str().and_then(|pair| pair.split_once(' ')).map(|(_, second)| second),
        };
        // What is no pair at all, the crate refuses.
        if second.is_some_and(|second| !second.starts_with(prefix)) {
            return Err(format!("merge {n} does not continue with the continuing_subword_prefix"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::fixture;

    fn said(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut json = fixture::tokenizer_json();
        change(&mut json);
        check(json.to_string().as_bytes())
    }

    #[test]
    fn real_files_pass() {
        assert_eq!(said(|_| {}), Ok(()));
        // As of Llama 2.
        let steps = json!([
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]);
        assert_eq!(said(|json| json["decoder"] = json!({"type": "Sequence", "decoders": steps})), Ok(()));
        let merges = |json: &mut Value| {
            json["model"]["continuing_subword_prefix"] = json!("##");
            json["model"]["merges"] = json!([["a", "##b"], "a ##c"]);
        };
        assert_eq!(said(merges), Ok(()));
    }

    #[test]
    fn strip_from_the_end_is_refused_at_any_depth() {
        for stop in [json!(1), json!(u64::MAX), json!(2.5)] {
            let strip = json!({"type": "Strip", "content": "h", "start": 0, "stop": stop});
            let deep = json!({"type": "Sequence", "decoders": [{"type": "Sequence", "decoders": [strip]}]});
            let why = said(|json| json["decoder"] = deep).unwrap_err();
            assert!(why.starts_with("decoder: a Strip"), "{why}");
        }
    }

    #[test]
    fn replacements_that_grow_without_bound_are_refused() {
        let replace =
            |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let space = json!({"String": " "});
        let sequence = |steps: Vec<Value>| said(|json| json["normalizer"] = json!({"normalizers": steps}));
        for steps in [
            vec![replace(space.clone(), &"x".repeat(65))],
            vec![replace(space.clone(), &"x".repeat(9)); 2],
            vec![json!({"type": "Prepend", "prepend": "x".repeat(65)})],
        ] {
            assert!(sequence(steps).unwrap_err().starts_with("normalizer: replacements"));
        }
        assert_eq!(sequence(vec![replace(space, "▁"); 3]), Ok(()));
    }

    #[test]
    fn replacing_nothing_is_refused() {
        for (pattern, passes) in [
            (json!({"String": ""}), false),
            (json!({"String": "a"}), true),
            (json!({"Regex": ""}), false),
            (json!({"Regex": "a*|b"}), false),
            (json!({"Regex": "(?=a)"}), false),
            (json!({"Regex": "^"}), false),
            (json!({"Regex": "^ "}), true),
            (json!({"Regex": " {2,}|[\\n\\r\\t]|\\p{Cc}"}), true),
        ] {
            let replace = json!({"type": "Replace", "pattern": pattern, "content": " "});
            assert_eq!(said(|json| json["normalizer"] = replace).is_ok(), passes, "{pattern}");
            let split = json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
            assert_eq!(said(|json| json["pre_tokenizer"] = split), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn merges_without_the_prefix_are_refused() {
        for merges in [json!([["a", "##b"], ["a", "#"]]), json!(["a ##b", "a b"]), json!([["a", ""], ["a", ""]])] {
            let why = said(|json| {
                json["model"]["continuing_subword_prefix"] = json!("##");
                json["model"]["merges"] = merges;
            });
            assert!(why.unwrap_err().starts_with("merge "));
        }
    }
}
