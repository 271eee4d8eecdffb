//! One turn of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One turn of a conversation, as a chat template sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: "system", "user", "assistant", "tool".
    pub role: String,
    /// A string; or a list of parts, `{"type": "text", "text": "..."}` each; or null, beside tool calls.
    #[serde(default)]
    pub content: Value,
    /// All other keys, such as `tool_calls` or `reasoning_content`, handed to the template as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A turn of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Value::String(content.into()), extra: Map::new() }
    }

    /// The text of the turn, where it is plain.
    pub fn text(&self) -> Option<&str> {
        self.content.as_str()
    }
}
