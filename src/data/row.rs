//! One row of data: what its keys mean.

use serde_json::{Map, Value};

use crate::error::{Error, Result, did_you_mean};
use crate::text::Message;

/// Who may speak. Chat templates take most names as they come, so that a mistyped one would train in silence.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

/// One row of training or evaluation data, as read.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// `{"text"}`: plain text.
    Text(String),
    /// `{"prompt", "completion"}` as strings.
    Completion {
        /// What the user says.
        prompt: String,
        /// What the model is to answer.
        completion: String,
    },
    /// `{"instruction", "input"?, "output"}`, the Alpaca format.
    Instruction {
        /// The instruction, and after a blank line its input, if there is one.
        prompt: String,
        /// What the model is to answer.
        output: String,
    },
    /// `{"prompt", "completion"}` as lists of messages.
    Turns {
        /// The conversation so far.
        prompt: Vec<Message>,
        /// How the model is to go on.
        completion: Vec<Message>,
    },
    /// `{"messages"}`: a whole conversation.
    Messages(Vec<Message>),
    /// `{"input_ids", "labels"?}`: text that was tokenised before.
    Tokens {
        /// The token ids.
        input_ids: Vec<u32>,
        /// For each token its own id if it is trained, else −100. Without them all are trained.
        labels: Option<Vec<i32>>,
    },
}

impl Row {
    /// Reads one line of JSON; `place` is its `file:line`, for errors.
    pub fn parse(line: &str, place: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).map_err(|e| not_json(&e, place))?;
        Self::from_value(&value, place)
    }

    /// Reads a row from its keys and values; `place` is its `file:line`, for errors.
    pub fn from_value(value: &Value, place: &str) -> Result<Self> {
        let Value::Object(fields) = value else {
            let what = format!("the row is {}, expected an object such as {{\"text\": \"...\"}}", kind(value));
            return Err(Error::data(place, what));
        };
        Self::from_fields(fields).map_err(|what| Error::data(place, what))
    }

    fn from_fields(fields: &Map<String, Value>) -> Result<Self, String> {
        // A key that is null counts as absent: that is how tables with missing values are exported.
        let get = |key: &str| fields.get(key).filter(|value| !value.is_null());
        let (messages, input_ids) = (get("messages"), get("input_ids"));
        let completion = get("prompt").zip(get("completion"));
        let instruction = get("instruction").zip(get("output"));
        // Alpaca's own file has the instruction once more in "text", under a heading made for another model.
        let repeats = |text: &&Value| instruction.is_some_and(|(_, output)| is_part(output, text));
        let text = get("text").filter(|text| !repeats(text));
        let found: Vec<&str> = [
            text.map(|_| "\"text\""),
            messages.map(|_| "\"messages\""),
            completion.map(|_| "\"prompt\" and \"completion\""),
            instruction.map(|_| "\"instruction\" and \"output\""),
            input_ids.map(|_| "\"input_ids\""),
        ]
        .into_iter()
        .flatten()
        .collect();
        if found.len() > 1 {
            return Err(format!(
                "row has {}: which to train on is unclear, keep one; see README, Data",
                found.join(" and also ")
            ));
        }
        if let Some(text) = text {
            let text = string(text, "\"text\"")?;
            return if text.is_empty() { Err("\"text\" is empty".into()) } else { Ok(Self::Text(text)) };
        }
        if let Some(messages) = messages {
            return Ok(Self::Messages(conversation(messages, "messages")?));
        }
        if let Some((prompt, completion)) = completion {
            return Self::from_completion(prompt, completion);
        }
        if let Some((instruction, output)) = instruction {
            return Self::from_instruction(instruction, output, fields);
        }
        if let Some(input_ids) = input_ids {
            return Self::from_tokens(input_ids, get("labels"));
        }
        Err(nothing_to_train(fields))
    }

    fn from_completion(prompt: &Value, completion: &Value) -> Result<Self, String> {
        match (prompt, completion) {
            (Value::Array(_), Value::Array(_)) => Ok(Self::Turns {
                prompt: conversation(prompt, "prompt")?,
                completion: conversation(completion, "completion")?,
            }),
            (Value::Array(_), Value::String(_)) | (Value::String(_), Value::Array(_)) => Err(format!(
                "\"prompt\" is {} but \"completion\" is {}, expected two strings or two lists of messages",
                kind(prompt),
                kind(completion)
            )),
            _ => {
                let expected = "a string or a list of messages";
                let prompt = prompt.as_str().ok_or_else(|| wrong_type("\"prompt\"", prompt, expected))?;
                let completion =
                    completion.as_str().ok_or_else(|| wrong_type("\"completion\"", completion, expected))?;
                if completion.is_empty() {
                    return Err("\"completion\" is empty".into());
                }
                Ok(Self::Completion { prompt: prompt.into(), completion: completion.into() })
            }
        }
    }

    fn from_instruction(instruction: &Value, output: &Value, fields: &Map<String, Value>) -> Result<Self, String> {
        let mut prompt = string(instruction, "\"instruction\"")?;
        let output = string(output, "\"output\"")?;
        if output.is_empty() {
            return Err("\"output\" is empty".into());
        }
        // Some programs put more of the conversation here. Without it the answer would be to another question.
        if let Some(key) = ["system", "history"].into_iter().find(|key| !is_blank(&fields.get(*key))) {
            return Err(format!("\"{key}\" beside \"instruction\" is not supported; write the row as \"messages\""));
        }
        if let Some(input) = fields.get("input").filter(|input| !is_blank(&Some(input))) {
            prompt = format!("{prompt}\n\n{}", string(input, "\"input\"")?);
        }
        Ok(Self::Instruction { prompt, output })
    }

    fn from_tokens(input_ids: &Value, labels: Option<&Value>) -> Result<Self, String> {
        let input_ids = integers(input_ids, "input_ids", |id| u32::try_from(id).ok(), "a token id")?;
        if input_ids.is_empty() {
            return Err("\"input_ids\" is empty".into());
        }
        let label = |label| i32::try_from(label).ok().filter(|&label| label >= 0 || label == super::IGNORED);
        let labels = labels.map(|labels| integers(labels, "labels", label, "a token id or -100")).transpose()?;
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != input_ids.len()) {
            return Err(format!("{} \"labels\" for {} \"input_ids\"", labels.len(), input_ids.len()));
        }
        Ok(Self::Tokens { input_ids, labels })
    }
}

/// What a row lacks of which none of the shapes is complete.
fn nothing_to_train(fields: &Map<String, Value>) -> String {
    const PAIRS: [[&str; 2]; 5] = [
        ["prompt", "completion"],
        ["completion", "prompt"],
        ["instruction", "output"],
        ["output", "instruction"],
        ["labels", "input_ids"],
    ];
    let is_null = |key: &str| fields.get(key).is_some_and(Value::is_null);
    for [key, other] in PAIRS {
        if fields.get(key).is_some_and(|value| !value.is_null()) {
            return if is_null(other) {
                format!("\"{other}\" is empty")
            } else {
                format!("row has \"{key}\" but no \"{other}\"; see README, Data")
            };
        }
    }
    if let Some(key) = ["text", "messages", "input_ids"].into_iter().find(|key| is_null(key)) {
        return format!("\"{key}\" is empty");
    }
    format!(
        "row has neither \"text\" nor \"messages\" nor \"prompt\" and \"completion\" nor \"instruction\" and \
         \"output\" nor \"input_ids\"{}; see README, Data",
        names(fields)
    )
}

/// Whether both are strings and `whole` holds `part`.
fn is_part(part: &Value, whole: &Value) -> bool {
    part.as_str().zip(whole.as_str()).is_some_and(|(part, whole)| whole.contains(part.trim()))
}

/// Whether there is no value, or nothing in it.
fn is_blank(value: &Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// Reads a list of messages, the value of `key`.
fn conversation(value: &Value, key: &str) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or_else(|| wrong_type(&format!("\"{key}\""), value, "a list of messages"))?;
    if list.is_empty() {
        return Err(format!("\"{key}\" is empty"));
    }
    list.iter().zip(1..).map(|(value, number)| message(value, &format!("message {number} of \"{key}\""))).collect()
}

fn message(value: &Value, which: &str) -> Result<Message, String> {
    let fields =
        value.as_object().ok_or_else(|| wrong_type(which, value, "an object with \"role\" and \"content\""))?;
    let role = fields.get("role").ok_or_else(|| format!("{which} has no \"role\"{}", names(fields)))?;
    let role = string(role, &format!("\"role\" of {which}"))?;
    if !ROLES.contains(&role.as_str()) {
        let hint = did_you_mean(&role, ROLES);
        return Err(format!("{which} has the unknown role {role:?}{hint}, expected one of {}", ROLES.join(", ")));
    }
    let content = fields.get("content").unwrap_or(&Value::Null);
    match content {
        Value::String(_) => {}
        Value::Null if fields.contains_key("tool_calls") => {}
        Value::Null => return Err(format!("{which} has no \"content\"{}", names(fields))),
        Value::Array(parts) if !parts.is_empty() => {
            let is_text = |part: &Value| part["type"] == "text" && part["text"].is_string();
            if let Some(place) = parts.iter().position(|part| !is_text(part)) {
                let part = format!("part {} of \"content\" of {which}", place + 1);
                return Err(format!(
                    "{part} is not {{\"type\": \"text\", \"text\": \"...\"}}; only text can be trained"
                ));
            }
        }
        other => return Err(wrong_type(&format!("\"content\" of {which}"), other, "a string or a list of parts")),
    }
    let mut extra = fields.clone();
    for key in ["role", "content"] {
        extra.shift_remove(key);
    }
    Ok(Message { role, content: content.clone(), extra })
}

/// Reads a list of integers, the value of `key`, each as `read` takes it.
fn integers<T>(value: &Value, key: &str, read: impl Fn(i64) -> Option<T>, expected: &str) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or_else(|| wrong_type(&format!("\"{key}\""), value, "a list of integers"))?;
    let item = |(index, value): (usize, &Value)| {
        let number = value.as_i64().and_then(&read);
        number.ok_or_else(|| format!("\"{key}\"[{index}] is {}, expected {expected}", shown(value)))
    };
    list.iter().enumerate().map(item).collect()
}

fn string(value: &Value, which: &str) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong_type(which, value, "a string"))
}

fn wrong_type(which: &str, value: &Value, expected: &str) -> String {
    format!("{which} is {}, expected {expected}", kind(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A number itself, of anything else the kind.
fn shown(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { kind(value).into() }
}

/// ` (it has "a", "b")`, the first keys of an object, cut to a length that can be read.
fn names(fields: &Map<String, Value>) -> String {
    const MOST: usize = 6;
    let mut names: Vec<String> =
        fields.keys().take(MOST).map(|key| format!("{:?}", key.chars().take(30).collect::<String>())).collect();
    if fields.len() > MOST {
        names.push(format!("{} more", fields.len() - MOST));
    }
    if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) }
}

fn not_json(error: &serde_json::Error, place: &str) -> Error {
    let text = error.to_string();
    let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
    let what = format!("not JSON: {why}; a .jsonl file holds one JSON object a line");
    Error::data(format!("{place}:{}", error.column()), what)
}

#[cfg(test)]
mod tests;
