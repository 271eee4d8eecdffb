use super::*;
use crate::text::fixture::{self, END};

const MASKED: RowOptions = RowOptions { mask_prompt: true, max_seq_length: 1000, eos_id: Some(END) };
const ALL: RowOptions = RowOptions { mask_prompt: false, ..MASKED };

fn message(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

fn encode(row: &Row, template: Option<&ChatTemplate>, options: RowOptions) -> Result<(Example, bool)> {
    RowEncoder::new(&fixture::tokenizer(), template, options)?.encode(row, "d.jsonl:7")
}

fn error(row: &Row, template: Option<&ChatTemplate>, options: RowOptions) -> String {
    encode(row, template, options).unwrap_err().to_string()
}

/// The text of `row`, and of it what is trained.
fn shown(row: &Row, template: Option<&ChatTemplate>, options: RowOptions) -> (String, String) {
    let (example, truncated) = encode(row, template, options).unwrap();
    assert!(!truncated);
    let tokenizer = fixture::tokenizer();
    assert!(example.input_ids.iter().zip(&example.labels).all(|(&id, &label)| label == IGNORED || label == id as i32));
    let trained: Vec<u32> =
        example.labels.iter().filter(|&&label| label != IGNORED).map(|&label| label as u32).collect();
    (tokenizer.decode(&example.input_ids, false).unwrap(), tokenizer.decode(&trained, false).unwrap())
}

fn completion(prompt: &str, completion: &str) -> Row {
    Row::Completion { prompt: prompt.into(), completion: completion.into() }
}

#[test]
fn text_ends_with_one_end_of_text() {
    for options in [ALL, MASKED] {
        for text in ["hello", "hello<|end|>"] {
            let all = "hello<|end|>".to_owned();
            assert_eq!(shown(&Row::Text(text.into()), None, options), (all.clone(), all));
        }
    }
    let open = RowOptions { eos_id: None, ..ALL };
    assert_eq!(shown(&Row::Text("hello world".into()), None, open).0, "hello world");
}

#[test]
fn a_completion_without_a_template_is_joined() {
    let row = completion("hello", " world");
    assert_eq!(shown(&row, None, ALL), ("hello world<|end|>".into(), "hello world<|end|>".into()));
    assert_eq!(shown(&row, None, MASKED), ("hello world<|end|>".into(), " world<|end|>".into()));
    // No prompt, nothing to mask.
    assert_eq!(shown(&completion("", "hello"), None, MASKED).1, "hello<|end|>");
}

#[test]
fn a_token_on_both_sides_of_the_border_is_trained() {
    // " world" is " wor" and "ld": the space of the prompt and the word of the answer share a token.
    assert_eq!(shown(&completion("hello ", "world"), None, MASKED).1, " world<|end|>");
    // A character of two tokens after the border, and one before it.
    assert_eq!(shown(&completion("é", "é"), None, MASKED).1, "é<|end|>");
}

#[test]
fn an_instruction_is_a_turn_or_a_paragraph() {
    let row = Row::Instruction { prompt: "hello\n\nworld".into(), output: "ld".into() };
    let prompted = completion("hello\n\nworld", "ld");
    let template = fixture::template();
    for options in [ALL, MASKED] {
        assert_eq!(
            encode(&row, Some(&template), options).unwrap(),
            encode(&prompted, Some(&template), options).unwrap()
        );
        let joined = completion("hello\n\nworld\n\n", "ld");
        assert_eq!(encode(&row, None, options).unwrap(), encode(&joined, None, options).unwrap());
    }
}

#[test]
fn a_completion_with_a_template_is_two_turns() {
    let template = fixture::template();
    let row = completion("hello", "world");
    let text = "<|turn|>user\nhello<|end|>\n<|turn|>assistant\nworld<|end|>\n";
    assert_eq!(shown(&row, Some(&template), ALL), (text.into(), text.into()));
    assert_eq!(shown(&row, Some(&template), MASKED), (text.into(), "world<|end|>\n".into()));
    let turns = Row::Turns { prompt: vec![message("user", "hello")], completion: vec![message("assistant", "world")] };
    assert_eq!(shown(&turns, Some(&template), MASKED), (text.into(), "world<|end|>\n".into()));
}

#[test]
fn of_a_conversation_the_last_answer_is_trained() {
    let template = fixture::template();
    let messages = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
        .map(|(r, c)| message(r, c));
    let row = Row::Messages(messages.to_vec());
    let (text, trained) = shown(&row, Some(&template), MASKED);
    assert_eq!(trained, "d<|end|>\n");
    assert_eq!(shown(&row, Some(&template), ALL), (text.clone(), text));
    // A completion of several turns is trained whole.
    let turns = Row::Turns { prompt: messages[..2].to_vec(), completion: messages[2..].to_vec() };
    let expected = "b<|end|>\n<|turn|>user\nc<|end|>\n<|turn|>assistant\nd<|end|>\n";
    assert_eq!(shown(&turns, Some(&template), MASKED).1, expected);
    let alone = Row::Messages(vec![message("assistant", "alone")]);
    assert_eq!(shown(&alone, Some(&template), MASKED).1, "alone<|end|>\n");
}

#[test]
fn the_prompt_counts_as_many_tokens_as_alone() {
    let (tokenizer, template) = (fixture::tokenizer(), fixture::template());
    for answer in ["world", " world", "\nhello", "é🙂", "<|turn|>"] {
        let before = [message("user", "hello wor"), message("assistant", "é"), message("user", "ld ")];
        let all = [&before[..], &[message("assistant", answer)]].concat();
        let (example, _) = encode(&Row::Messages(all), Some(&template), MASKED).unwrap();
        let prompt = tokenizer.encode(&template.render(&before, true).unwrap()).unwrap();
        assert_eq!(example.input_ids[..prompt.len()], prompt);
        assert!(example.labels[..prompt.len()].iter().all(|&label| label == IGNORED));
        assert!(example.labels[prompt.len()..].iter().all(|&label| label != IGNORED));
    }
}

#[test]
fn a_generation_prompt_that_is_not_rendered_again_is_looked_behind() {
    let thinking = fixture::TEMPLATE.replace("assistant\n' }}{% endif %}", "assistant\n<think>' }}{% endif %}");
    let template = ChatTemplate::new(&thinking, "", "").unwrap();
    let row = Row::Messages(vec![message("user", "hello"), message("assistant", "world")]);
    assert_eq!(shown(&row, Some(&template), MASKED).1, "world<|end|>\n");
    // What the answer does not show as it is cannot be found; then its whole turn is trained.
    let upper = thinking.replace("message.content", "message.content | upper");
    let template = ChatTemplate::new(&upper, "", "").unwrap();
    assert_eq!(shown(&row, Some(&template), MASKED).1, "<|turn|>assistant\nWORLD<|end|>\n");
}

#[test]
fn a_template_that_cannot_render_no_message_at_all() {
    let source = format!("{{{{ messages[0].role }}}}{}", fixture::TEMPLATE);
    let template = ChatTemplate::new(&source, "", "").unwrap();
    assert!(template.render(&[], true).is_err());
    let alone = Row::Messages(vec![message("assistant", "alone")]);
    assert_eq!(shown(&alone, Some(&template), MASKED).1, "alone<|end|>\n");
}

#[test]
fn a_template_that_renders_the_prompt_differently() {
    let template = ChatTemplate::new("{{ messages | length }}{{ messages[-1].content }}", "", "").unwrap();
    let row = completion("hello", "world");
    assert_eq!(shown(&row, Some(&template), ALL).0, "2world");
    assert_eq!(
        error(&row, Some(&template), MASKED),
        "d.jsonl:7: the chat template renders the messages before the answer differently once the answer follows, so \
         that --mask-prompt cannot tell them apart; leave it out, or use \"input_ids\" and \"labels\""
    );
}

#[test]
fn tokens_are_taken_as_they_are() {
    let tokens = |ids: &[u32], labels: Option<&[i32]>| Row::Tokens {
        input_ids: ids.to_vec(),
        labels: labels.map(<[i32]>::to_vec),
    };
    for options in [ALL, MASKED] {
        let (example, _) = encode(&tokens(&[5, 6], None), None, options).unwrap();
        assert_eq!(example, Example { input_ids: vec![5, 6], labels: vec![5, 6] });
        let (example, _) = encode(&tokens(&[5, 6], Some(&[-100, 7])), None, options).unwrap();
        assert_eq!(example, Example { input_ids: vec![5, 6], labels: vec![-100, 7] });
    }
    let too_large = "but the tokenizer's ids end at 265";
    assert_eq!(error(&tokens(&[5, 266], None), None, ALL), format!("d.jsonl:7: \"input_ids\" has 266, {too_large}"));
    assert_eq!(
        error(&tokens(&[5, 6], Some(&[5, 900])), None, ALL),
        format!("d.jsonl:7: \"labels\" has 900, {too_large}")
    );
}

#[test]
fn long_rows_lose_their_end() {
    let options = RowOptions { max_seq_length: 4, ..ALL };
    let (example, truncated) = encode(&Row::Text("0123456789".into()), None, options).unwrap();
    assert!(truncated);
    assert_eq!(fixture::tokenizer().decode(&example.input_ids, false).unwrap(), "0123");
    assert_eq!(example.labels.len(), 4);
    let (_, truncated) = encode(&Row::Text("012".into()), None, options).unwrap();
    assert!(!truncated);
}

#[test]
fn rows_with_nothing_to_learn() {
    let masked = |labels: &[i32]| Row::Tokens { input_ids: vec![5; labels.len()], labels: Some(labels.to_vec()) };
    let all_masked = "d.jsonl:7: every token of the row is masked: ";
    assert_eq!(error(&masked(&[-100, -100]), None, ALL), format!("{all_masked}nothing is left to learn from it"));
    // The first token is never predicted.
    assert_eq!(error(&masked(&[5, -100]), None, ALL), format!("{all_masked}nothing is left to learn from it"));
    assert_eq!(
        error(&masked(&[5]), None, ALL),
        format!("{all_masked}it has only one, and the first of a row is never predicted")
    );
    let options = RowOptions { max_seq_length: 3, ..MASKED };
    assert_eq!(
        error(&completion("012", "3"), None, options),
        format!(
            "{all_masked}what is to be trained begins after token 3, where the row is cut; raise --max-seq-length (the \
             whole row has 5 tokens) or shorten the row"
        )
    );
    assert!(encode(&completion("012", "3"), None, RowOptions { max_seq_length: 4, ..options }).is_ok());
}

#[test]
fn rows_that_do_not_fit_the_model_or_the_mask() {
    let messages = Row::Messages(vec![message("user", "a")]);
    let no_template = "d.jsonl:7: the model has no chat template, which rows of messages need; use \"text\", or \"prompt\" \
        and \"completion\" as strings";
    assert_eq!(error(&messages, None, ALL), no_template);
    let template = fixture::template();
    assert_eq!(
        error(&messages, Some(&template), MASKED),
        "d.jsonl:7: the last message is from \"user\", but with --mask-prompt only the last answer of \"assistant\" is \
         trained; end the row with one, or leave --mask-prompt out"
    );
    assert!(encode(&messages, Some(&template), ALL).is_ok());
    let strict = ChatTemplate::new("{{ raise_exception('roles must alternate') }}", "", "").unwrap();
    assert_eq!(
        error(&messages, Some(&strict), ALL),
        "d.jsonl:7: chat template: it refuses this conversation: roles must alternate"
    );
}

#[test]
fn a_preview_shows_what_the_model_sees() {
    let (example, _) = encode(&completion("hello", " world"), None, MASKED).unwrap();
    let preview = Preview::new(&example, &fixture::tokenizer()).unwrap();
    assert_eq!(
        serde_json::to_string(&preview).unwrap(),
        r#"{"text":"hello world<|end|>","input_ids":[261,264,265,0],"labels":[-100,264,265,0]}"#
    );
}
