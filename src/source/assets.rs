//! What belongs to a model besides its weights.

use crate::error::{Error, Result};
use serde_json::Value;

/// The files of a Hugging Face folder besides weights, or the same made from a GGUF file's metadata.
#[derive(Clone)]
pub struct Assets {
    /// `config.json`.
    pub config_json: Value,
    /// `tokenizer.json`, as it is.
    pub tokenizer_json: Vec<u8>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Value>,
    /// `generation_config.json`.
    pub generation_config: Option<Value>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Value>,
    /// The chat template: of `chat_template.jinja`, else of `tokenizer_config.json`.
    pub chat_template: Option<String>,
}

impl std::fmt::Debug for Assets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assets").field("config_json", &self.config_json).finish_non_exhaustive()
    }
}

/// The chat template of a `tokenizer_config.json`: a string, or the one called "default" of several.
pub(super) fn chat_template(tokenizer_config: &Value, place: &str) -> Result<Option<String>> {
    match &tokenizer_config["chat_template"] {
        Value::Null => Ok(None),
        Value::String(template) => Ok(Some(template.clone())),
        Value::Array(templates) => {
            let default = templates.iter().find(|template| template["name"] == "default");
            Ok(default.and_then(|template| template["template"].as_str()).map(str::to_owned))
        }
        _ => Err(Error::model(place, "\"chat_template\" is neither a string nor a list of {name, template}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_of_a_chat_template() {
        let template = |value: Value| chat_template(&json!({ "chat_template": value }), "t.json");
        assert_eq!(template(json!("a")).unwrap().as_deref(), Some("a"));
        assert_eq!(template(json!(null)).unwrap(), None);
        let named = json!([{"name": "tool_use", "template": "b"}, {"name": "default", "template": "c"}]);
        assert_eq!(template(named).unwrap().as_deref(), Some("c"));
        assert_eq!(template(json!([{"name": "tool_use", "template": "b"}])).unwrap(), None);
        assert!(template(json!(5)).unwrap_err().to_string().starts_with("t.json: \"chat_template\" is neither"));
    }
}
