//! The text on which the model is pretrained: conversations and little stories.

use crate::facts::{self, Fact};
use crate::grammar::{Slots, ask, chance, expand, pick};
use crate::stories::{dialogue, story};
use crate::talk::{self, Turn};
use diablo::random::{Random, splitmix64};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One of this many wordings of a question is kept for validation and never trained.
const HELD_OUT: u64 = 50;

/// Rows for training and for validation.
pub struct Corpus {
    /// Rows to train on.
    pub train: Vec<Value>,
    /// Rows whose questions do not occur in `train`; stories are new ones of the same plots.
    pub valid: Vec<Value>,
}

/// Writes rows for a seed.
pub struct Writer {
    facts: Vec<Fact>,
    /// Indices of the facts of each subject.
    subjects: Vec<Vec<usize>>,
    random: Random,
    /// Whether questions come from those that are held out.
    held_out: bool,
}

/// The corpus of `seed`: `train` and `valid` rows.
pub fn corpus(seed: u64, train: usize, valid: usize) -> Corpus {
    let rows = |label, count, held_out| {
        let mut writer = Writer::new(Random::labelled(seed, label), held_out);
        (0..count).map(|_| writer.row()).collect()
    };
    Corpus { train: rows(0, train, false), valid: rows(1, valid, true) }
}

impl Writer {
    fn new(random: Random, held_out: bool) -> Self {
        let facts = facts::all();
        let mut subjects: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, fact) in facts.iter().enumerate() {
            subjects.entry(&fact.subject).or_default().push(index);
        }
        Self { subjects: subjects.into_values().collect(), facts, random, held_out }
    }

    fn row(&mut self) -> Value {
        match self.random.below(100) {
            0..62 => messages(&self.conversation()),
            62..66 => messages(&[self.asked_story()]),
            66..86 => json!({"text": story(&mut self.random).1}),
            86..94 => json!({"text": self.portrait(7).1}),
            _ => {
                let turn = self.fact_turn(None).1;
                json!({"text": dialogue(&turn, &mut self.random)})
            }
        }
    }

    /// Turns about one subject or several.
    fn conversation(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        if chance(8, &mut self.random) {
            turns.push(talk::small_talk(&mut self.random));
        }
        let mut before = None;
        for _ in 0..pick(&[1, 1, 2, 2, 3, 4, 5], &mut self.random) {
            let kind = self.random.below(100);
            if kind < 58 {
                let (fact, turn) = self.fact_turn(before);
                before = Some(fact);
                turns.push(turn);
                continue;
            }
            before = None;
            turns.push(match kind {
                58..66 => talk::yes_or_no(&mut self.random),
                66..77 => talk::known(&mut self.random),
                77..86 => talk::unknown(&mut self.random),
                86..93 => talk::echo(&mut self.random),
                93..96 => self.description(),
                _ => talk::small_talk(&mut self.random),
            });
        }
        turns.into_iter().map(|turn| self.as_typed(turn)).collect()
    }

    /// A question of a fact; after one of the same subject, often with a pronoun. Also which fact it is.
    fn fact_turn(&mut self, before: Option<usize>) -> (usize, Turn) {
        // Wordings are tried until one is on the right side of the split.
        loop {
            let index = self.next_fact(before);
            let fact = &self.facts[index];
            let follows = before.is_some_and(|before| self.facts[before].subject == fact.subject);
            let random = &mut self.random;
            let asked = match fact.pronoun.filter(|_| follows && chance(70, random)) {
                Some(words) => ask(&format!("[and |]{}", fact.question), &with_pronoun(fact, words), random),
                None => ask(fact.question, &fact.slots, random),
            };
            if self.held_out != is_held_out(&asked) {
                continue;
            }
            let percent = if follows { 60 } else { 20 };
            let answer = match fact.pronoun.filter(|_| chance(percent, random)) {
                Some(words) => expand(fact.answer, &with_pronoun(fact, words), random),
                None => expand(fact.answer, &fact.slots, random),
            };
            return (index, (asked, answer));
        }
    }

    fn next_fact(&mut self, before: Option<usize>) -> usize {
        let random = &mut self.random;
        match before {
            Some(before) if chance(70, random) => {
                let subject = self.subjects.iter().find(|facts| facts.contains(&before)).expect("a known fact");
                pick(subject, random)
            }
            _ => random.below(self.facts.len() as u64) as usize,
        }
    }

    /// Several sentences, at most `most`, about one subject; also the subject as a sentence names it.
    fn portrait(&mut self, most: u64) -> (String, String) {
        let random = &mut self.random;
        let mut facts = self.subjects[random.below(self.subjects.len() as u64) as usize].clone();
        let first = &self.facts[facts[0]];
        let is_thing = facts.iter().any(|index| self.facts[*index].pronoun.is_some_and(|words| words[0] == "it"));
        let subject = if is_thing { format!("the {}", first.subject) } else { first.subject.clone() };
        // The first says who or what it is.
        random.shuffle(&mut facts[1..]);
        let count = 2 + random.below(most - 1) as usize;
        let mut sentences = Vec::new();
        for fact in facts.into_iter().map(|index| &self.facts[index]) {
            // Several facts say the same.
            let is_told = sentences.iter().any(|told: &String| told.contains(&fact.key));
            if is_told && !fact.key.is_empty() {
                continue;
            }
            let slots = match fact.pronoun.filter(|_| !sentences.is_empty() && chance(75, random)) {
                Some(words) => with_pronoun(fact, words),
                None => fact.slots.clone(),
            };
            sentences.push(expand(fact.answer, &slots, random));
            if sentences.len() == count {
                break;
            }
        }
        (subject, sentences.join(" "))
    }

    /// "Tell me about Ada."
    fn description(&mut self) -> Turn {
        let (subject, answer) = self.portrait(3);
        let question = "[tell me about|describe|what do you know about|tell me something about] {name}.";
        let slots = Slots::new(&[("name", &subject)]);
        (expand(question, &slots, &mut self.random), answer)
    }

    /// "Tell me a story about Tom."
    fn asked_story(&mut self) -> Turn {
        let (hero, told) = story(&mut self.random);
        let slots = Slots::new(&[("hero", &hero)]);
        let question = "[tell me a story about {hero}|tell me a story with {hero}|I want to hear a story about {hero}|a story about {hero}, please|tell me a story|can you tell me a story|please tell a short story].";
        (expand(question, &slots, &mut self.random), told)
    }

    /// Some people type without capital letters and question marks.
    fn as_typed(&mut self, (question, answer): Turn) -> Turn {
        if chance(8, &mut self.random) {
            (question.trim_end_matches(['?', '.', '!']).to_lowercase(), answer)
        } else {
            (question, answer)
        }
    }
}

fn with_pronoun(fact: &Fact, [they, their]: [&str; 2]) -> Slots {
    fact.slots.clone().with(&[("S", they), ("P", their)])
}

/// Whether a wording is kept for validation, however it is typed.
fn is_held_out(question: &str) -> bool {
    let letters = question.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
    letters.fold(0, |hash, c| splitmix64(hash ^ u64::from(c))).is_multiple_of(HELD_OUT)
}

/// A row of a conversation.
pub fn messages(turns: &[Turn]) -> Value {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let both = |(question, answer): &Turn| [message("user", question), message("assistant", answer)];
    json!({"messages": turns.iter().flat_map(both).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn questions(rows: &[Value]) -> HashSet<String> {
        let messages = rows.iter().filter_map(|row| row["messages"].as_array()).flatten();
        let asked = messages.filter(|message| message["role"] == "user");
        asked.filter_map(|message| message["content"].as_str()).map(str::to_lowercase).collect()
    }

    #[test]
    fn the_seed_decides() {
        let rows = |seed| corpus(seed, 300, 0).train;
        assert_eq!(rows(1), rows(1));
        assert_ne!(rows(1), rows(2));
        // More rows begin as fewer do.
        assert_eq!(corpus(1, 100, 0).train, rows(1)[..100]);
    }

    #[test]
    fn every_template_can_be_drawn_and_every_answer_holds_its_key() {
        let mut random = Random::new(3);
        for fact in facts::all() {
            for _ in 0..20 {
                let answer = expand(fact.answer, &fact.slots, &mut random);
                let both = format!("{} {answer}", ask(fact.question, &fact.slots, &mut random));
                assert!(!both.contains(['[', ']', '{', '}', '|']) && both.ends_with('.'), "{both}");
                // What a person does may be said in two ways.
                let holds = answer.to_lowercase().contains(&fact.key.to_lowercase());
                assert!(holds || fact.answer.starts_with('['), "{both}: {}", fact.key);
            }
        }
        for row in corpus(4, 3000, 300).train {
            assert!(!row.to_string().contains([']', '|']) || row["messages"].is_array(), "{row}");
        }
    }

    #[test]
    fn what_is_held_out_is_not_trained() {
        let rows = corpus(5, 3000, 300);
        let (train, valid) = (questions(&rows.train), questions(&rows.valid));
        let facts = |questions: &HashSet<String>| questions.iter().filter(|asked| is_held_out(asked)).count();
        // Small talk and the like is not held apart.
        assert!(facts(&valid) > valid.len() / 5, "{} of {}", facts(&valid), valid.len());
        assert!(facts(&train) < train.len() / 20, "{} of {}", facts(&train), train.len());
    }
}
