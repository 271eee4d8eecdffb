use serde_json::json;

use super::*;

fn parse(row: Value) -> Row {
    Row::parse(&row.to_string(), "d.jsonl:7").unwrap()
}

fn error(line: impl ToString) -> String {
    Row::parse(&line.to_string(), "d.jsonl:7").unwrap_err().to_string()
}

#[test]
fn reads_every_shape() {
    assert_eq!(parse(json!({"text": "a", "id": 3})), Row::Text("a".into()));
    assert_eq!(
        parse(json!({"prompt": "", "completion": "b"})),
        Row::Completion { prompt: "".into(), completion: "b".into() }
    );
    let (user, assistant) = (json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"}));
    let messages = vec![Message::new("user", "a"), Message::new("assistant", "b")];
    assert_eq!(parse(json!({"messages": [user, assistant]})), Row::Messages(messages.clone()));
    assert_eq!(
        parse(json!({"prompt": [user], "completion": [assistant]})),
        Row::Turns { prompt: messages[..1].to_vec(), completion: messages[1..].to_vec() }
    );
    assert_eq!(
        parse(json!({"input_ids": [1, 2], "labels": [-100, 2]})),
        Row::Tokens { input_ids: vec![1, 2], labels: Some(vec![-100, 2]) }
    );
    assert_eq!(parse(json!({"input_ids": [1], "labels": null})), Row::Tokens { input_ids: vec![1], labels: None });
}

#[test]
fn an_instruction_may_have_an_input() {
    let instruction = |prompt: &str| Row::Instruction { prompt: prompt.into(), output: "c".into() };
    assert_eq!(parse(json!({"instruction": "a", "input": "b", "output": "c"})), instruction("a\n\nb"));
    for input in [json!(null), json!(""), json!(" \n")] {
        assert_eq!(parse(json!({"instruction": "a", "input": input, "output": "c"})), instruction("a"));
    }
    assert_eq!(parse(json!({"instruction": "a", "output": "c", "history": [], "system": ""})), instruction("a"));
}

#[test]
fn the_text_of_alpaca_repeats_the_instruction() {
    let row = |text: &str| json!({"instruction": "a", "input": "", "output": "c d\n", "text": text});
    let expected = Row::Instruction { prompt: "a".into(), output: "c d\n".into() };
    assert_eq!(parse(row("Below is an instruction.\n\n### Instruction:\na\n\n### Response:\nc d")), expected);
    assert_eq!(
        error(row("something else")),
        "d.jsonl:7: row has \"text\" and also \"instruction\" and \"output\": which to train on is unclear, keep one; \
         see README, Data"
    );
}

#[test]
fn other_keys_do_not_matter() {
    assert_eq!(parse(json!({"text": "a", "prompt": "b", "labels": 1})), Row::Text("a".into()));
    assert_eq!(parse(json!({"text": "a", "messages": null})), Row::Text("a".into()));
}

#[test]
fn a_message_keeps_its_other_keys_and_may_be_made_of_parts() {
    let parts = json!([{"type": "text", "text": "a"}]);
    let call = json!([{"function": {"name": "f", "arguments": {}}}]);
    let row = parse(json!({"messages": [
        {"role": "user", "content": parts, "name": "ann"}, {"role": "assistant", "tool_calls": call},
    ]}));
    let Row::Messages(messages) = row else { panic!("{row:?}") };
    assert_eq!((&messages[0].content, &messages[0].extra["name"]), (&parts, &json!("ann")));
    assert_eq!((&messages[1].content, &messages[1].extra["tool_calls"]), (&Value::Null, &call));
    assert_eq!(messages[1].extra.len(), 1);
}

#[test]
fn unknown_or_mixed_keys() {
    assert_eq!(
        error(json!({"question": "a", "answer": "b"})),
        "d.jsonl:7: row has neither \"text\" nor \"messages\" nor \"prompt\" and \"completion\" nor \"instruction\" and \
         \"output\" nor \"input_ids\" (it has \"question\", \"answer\"); see README, Data"
    );
    assert!(error("{}").ends_with("nor \"input_ids\"; see README, Data"));
    let many = json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1});
    assert!(error(many).contains("(it has \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", 2 more)"));
    assert_eq!(
        error(json!({"text": "a", "messages": []})),
        "d.jsonl:7: row has \"text\" and also \"messages\": which to train on is unclear, keep one; see README, Data"
    );
    assert_eq!(error(json!({"prompt": "a"})), "d.jsonl:7: row has \"prompt\" but no \"completion\"; see README, Data");
    assert_eq!(
        error(json!({"completion": "a"})),
        "d.jsonl:7: row has \"completion\" but no \"prompt\"; see README, Data"
    );
    for (key, other) in [("instruction", "output"), ("output", "instruction")] {
        let expected = format!("d.jsonl:7: row has \"{key}\" but no \"{other}\"; see README, Data");
        assert_eq!(error(json!({key: "a"})), expected);
        assert_eq!(error(json!({key: "a", other: null})), format!("d.jsonl:7: \"{other}\" is empty"));
    }
    assert_eq!(error(json!({"messages": null})), "d.jsonl:7: \"messages\" is empty");
    assert_eq!(error(json!({"labels": [1]})), "d.jsonl:7: row has \"labels\" but no \"input_ids\"; see README, Data");
}

#[test]
fn not_json_says_where_and_why() {
    assert_eq!(
        error(r#"{"text": "a" "b"}"#),
        "d.jsonl:7:14: not JSON: expected `,` or `}`; a .jsonl file holds one JSON object a line"
    );
    assert!(error("[").starts_with("d.jsonl:7:1: not JSON: EOF while parsing a list; "));
    assert!(error("{\"text\": \"\u{1}\"}").starts_with("d.jsonl:7:11: not JSON: control character"));
    assert!(error("[".repeat(100_000)).contains("not JSON: recursion limit exceeded"));
    assert_eq!(error("[1]"), "d.jsonl:7: the row is a list, expected an object such as {\"text\": \"...\"}");
    assert_eq!(error("null"), "d.jsonl:7: the row is null, expected an object such as {\"text\": \"...\"}");
}

#[test]
fn wrong_types_and_empty_values() {
    for (row, what) in [
        (json!({"text": 3}), r#""text" is a number, expected a string"#),
        (json!({"text": ""}), r#""text" is empty"#),
        (json!({"prompt": "a", "completion": ""}), r#""completion" is empty"#),
        (
            json!({"prompt": true, "completion": "a"}),
            r#""prompt" is a boolean, expected a string or a list of messages"#,
        ),
        (
            json!({"prompt": "a", "completion": {}}),
            r#""completion" is an object, expected a string or a list of messages"#,
        ),
        (
            json!({"prompt": [], "completion": "a"}),
            r#""prompt" is a list but "completion" is a string, expected two strings or two lists of messages"#,
        ),
        (json!({"prompt": [], "completion": []}), r#""prompt" is empty"#),
        (json!({"messages": []}), r#""messages" is empty"#),
        (json!({"messages": "a"}), r#""messages" is a string, expected a list of messages"#),
        (
            json!({"messages": ["a"]}),
            r#"message 1 of "messages" is a string, expected an object with "role" and "content""#,
        ),
        (
            json!({"messages": [{"from": "human", "value": "a"}]}),
            r#"message 1 of "messages" has no "role" (it has "from", "value")"#,
        ),
        (
            json!({"messages": [{"role": 1, "content": "a"}]}),
            r#""role" of message 1 of "messages" is a number, expected a string"#,
        ),
        (
            json!({"messages": [{"role": "asistant", "content": "a"}]}),
            r#"message 1 of "messages" has the unknown role "asistant" (did you mean "assistant"?), expected one of system, developer, user, assistant, tool, function, ipython"#,
        ),
        (json!({"messages": [{"role": "user"}]}), r#"message 1 of "messages" has no "content" (it has "role")"#),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            r#""content" of message 1 of "messages" is a number, expected a string or a list of parts"#,
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            r#"part 1 of "content" of message 1 of "messages" is not {"type": "text", "text": "..."}; only text can be trained"#,
        ),
        (json!({"instruction": "a", "output": ""}), r#""output" is empty"#),
        (json!({"instruction": ["a"], "output": "b"}), r#""instruction" is a list, expected a string"#),
        (json!({"instruction": "a", "output": 1}), r#""output" is a number, expected a string"#),
        (json!({"instruction": "a", "input": 1, "output": "b"}), r#""input" is a number, expected a string"#),
        (
            json!({"instruction": "a", "output": "b", "history": [["c", "d"]]}),
            r#""history" beside "instruction" is not supported; write the row as "messages""#,
        ),
        (
            json!({"instruction": "a", "output": "b", "system": "c"}),
            r#""system" beside "instruction" is not supported; write the row as "messages""#,
        ),
        (json!({"input_ids": 1}), r#""input_ids" is a number, expected a list of integers"#),
        (json!({"input_ids": []}), r#""input_ids" is empty"#),
        (json!({"input_ids": [1, -2]}), r#""input_ids"[1] is -2, expected a token id"#),
        (json!({"input_ids": [1.5]}), r#""input_ids"[0] is 1.5, expected a token id"#),
        (json!({"input_ids": [1_u64 << 40]}), r#""input_ids"[0] is 1099511627776, expected a token id"#),
        (json!({"input_ids": ["a"]}), r#""input_ids"[0] is a string, expected a token id"#),
        (json!({"input_ids": [1], "labels": [-1]}), r#""labels"[0] is -1, expected a token id or -100"#),
        (json!({"input_ids": [1], "labels": [1, 2]}), r#"2 "labels" for 1 "input_ids""#),
    ] {
        assert_eq!(error(&row), format!("d.jsonl:7: {what}"));
    }
}
