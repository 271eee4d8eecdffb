//! Examples as questions, to be answered by the model before and after training.

use crate::data::Example;
use crate::error::Result;
use crate::text::{ChatTemplate, Message, Tokenizer};

/// What the model is asked, and the answer that the data has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The conversation up to where the model is to answer.
    pub ids: Vec<u32>,
    /// The last turn of the user, for people.
    pub text: String,
    /// The answer in the data.
    pub expected: String,
}

/// Finds the last answer in the tokens of a conversation, by what the chat template puts around turns.
#[derive(Debug, Clone)]
pub struct QuestionFinder<'a> {
    tokenizer: &'a Tokenizer,
    /// What stands before every answer.
    answer_header: Vec<u32>,
    /// What stands before and after a turn of the user.
    user_header: String,
    user_footer: String,
}

impl<'a> QuestionFinder<'a> {
    /// For a model with this tokenizer and template; `None` where the template does not tell where answers begin.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn new(tokenizer: &'a Tokenizer, template: &ChatTemplate) -> Result<Option<Self>> {
        let turns = [Message::new("user", "AAAA"), Message::new("assistant", "BBBB"), Message::new("user", "CCCC")];
        let rendered = |messages: &[Message], answer| template.render(messages, answer).ok();
        let (Some(one), Some(asked), Some(three)) =
            (rendered(&turns[..1], false), rendered(&turns[..1], true), rendered(&turns, false))
        else {
            return Ok(None);
        };
        let Some(answer_header) = asked.strip_prefix(&one).filter(|header| !header.is_empty()) else { return Ok(None) };
        let (Some((before, after)), Some(between)) = (one.split_once("AAAA"), between(&three, "BBBB", "CCCC")) else {
            return Ok(None);
        };
        let common = before.chars().rev().zip(between.chars().rev()).take_while(|(a, b)| a == b).count();
        let user_header: String = before.chars().skip(before.chars().count() - common).collect();
        Ok(Some(Self {
            tokenizer,
            answer_header: tokenizer.encode(answer_header)?,
            user_header,
            user_footer: after.to_owned(),
        }))
    }

    /// The question of `example`, if it is a conversation that ends with an answer.
    ///
    /// # Errors
    /// If its tokens are none of the tokenizer's.
    pub fn find(&self, example: &Example) -> Result<Option<Question>> {
        let (ids, header) = (&example.input_ids, &self.answer_header);
        let Some(at) = ids.windows(header.len()).rposition(|window| window == header) else { return Ok(None) };
        let (asked, answer) = ids.split_at(at + header.len());
        if answer.is_empty() {
            return Ok(None);
        }
        let shown = self.tokenizer.decode(&ids[..at], false)?;
        let last = if self.user_header.is_empty() { None } else { shown.rsplit_once(&self.user_header) };
        let text = last.map_or(shown.as_str(), |(_, text)| text);
        let text = text.strip_suffix(&self.user_footer).unwrap_or(text);
        let expected = self.tokenizer.decode(answer, true)?;
        Ok(Some(Question { ids: asked.to_vec(), text: text.trim().to_owned(), expected: expected.trim().to_owned() }))
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::fixture;

    const TEMPLATE: &str = "{% if messages[0].role != 'system' %}<s>system\nBe kind.<e>\n{% endif %}\
        {% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endfor %}\
        {% if add_generation_prompt %}<s>assistant\n{% endif %}";

    #[test]
    fn takes_the_last_answer_and_the_turn_before() {
        let (tokenizer, template) = (fixture::tokenizer(), ChatTemplate::new(TEMPLATE, "", "").unwrap());
        let finder = QuestionFinder::new(&tokenizer, &template).unwrap().unwrap();
        let conversation = [
            Message::new("user", "first"),
            Message::new("assistant", "one"),
            Message::new("user", " second "),
            Message::new("assistant", "two"),
        ];
        for (turns, text, expected) in [(2, "first", "one"), (4, "second", "two")] {
            let whole = tokenizer.encode(&template.render(&conversation[..turns], false).unwrap()).unwrap();
            let found = finder.find(&Example { labels: vec![], input_ids: whole }).unwrap().unwrap();
            assert_eq!((found.text.as_str(), found.expected.replace("<e>", "").trim()), (text, expected));
            let asked = template.render(&conversation[..turns - 1], true).unwrap();
            assert_eq!(found.ids, tokenizer.encode(&asked).unwrap());
        }
        let prose = tokenizer.encode("no conversation at all").unwrap();
        assert_eq!(finder.find(&Example { labels: vec![], input_ids: prose }).unwrap(), None);
    }

    #[test]
    fn a_template_that_does_not_tell_where_answers_begin_has_no_questions() {
        let template = ChatTemplate::new("{% for m in messages %}{{ m.content }}{% endfor %}", "", "").unwrap();
        assert!(QuestionFinder::new(&fixture::tokenizer(), &template).unwrap().is_none());
    }
}
