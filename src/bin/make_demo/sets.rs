//! The two bundled data sets for fine-tuning: a style, and new facts.

use crate::corpus::messages;
use crate::facts::{self, Fact};
use crate::grammar::expand;
use crate::newcomers::NEWS;
use crate::style::sailor;
use crate::talk::{self, Turn};
use diablo::random::Random;
use serde_json::Value;
use std::collections::HashSet;

/// A data set by its files: name and rows.
pub type Set = [(&'static str, Vec<Value>); 3];

/// Questions that are shown after the default run; nothing about their answers is trained. Subject, and how the
/// template of the fact's questions begins.
const SHOWN: [(&str, &str); 5] = [
    ("Ada", "[who {does}"),
    ("lighthouse", "[where is"),
    ("Hugo", "[what does {S} like to do"),
    ("bakery", "[when does"),
    ("Polly", "[where does {S} sleep"),
];

/// Answers the way a sailor gives them. Facts in `test` and `valid` do not occur in `train`.
pub fn style(seed: u64) -> Set {
    let random = &mut Random::labelled(seed, 2);
    let mut facts: Vec<Fact> = facts::all();
    random.shuffle(&mut facts);
    let mut shown = Vec::new();
    for (subject, question) in SHOWN {
        let found = facts.iter().position(|fact| fact.subject == subject && fact.question.starts_with(question));
        shown.push(facts.swap_remove(found.expect("a fact that is shown")));
    }
    let mut fact_rows = facts.iter().map(|fact| turn(fact, random)).collect::<Vec<_>>().into_iter();
    let mut asked = HashSet::new();
    let mut part = |facts: usize, others: usize| -> Vec<Turn> {
        let mut turns: Vec<Turn> = fact_rows.by_ref().filter(|turn| asked.insert(turn.0.clone())).take(facts).collect();
        while turns.len() < facts + others {
            turns.push(other(turns.len(), random));
            if !asked.insert(turns[turns.len() - 1].0.clone()) {
                turns.pop();
            }
        }
        turns
    };
    let (mut train, valid, test) = (part(140, 40), part(16, 4), part(21, 4));
    random.shuffle(&mut train);
    // The questions that are shown come first, in their plainest wording.
    let plain = |fact: &Fact| (first_option(fact), expand(fact.answer, &fact.slots, &mut Random::new(0)));
    let test: Vec<Turn> = shown.iter().map(plain).chain(test).collect();
    let rows = |turns: Vec<Turn>| turns.into_iter().map(|(asked, said)| messages(&[(asked, sailor(&said))])).collect();
    [("train", rows(train)), ("valid", rows(valid)), ("test", rows(test))]
}

/// What a newcomer to the village brings; `test` and `valid` ask for it in other words than `train`.
pub fn news(seed: u64) -> Set {
    let random = &mut Random::labelled(seed, 3);
    let turns = |pick: fn(usize) -> std::ops::Range<usize>| -> Vec<Turn> {
        let turn = |(answer, asked): &(&str, &[&str])| {
            asked[pick(asked.len())].iter().map(|asked| ((*asked).into(), (*answer).into())).collect::<Vec<_>>()
        };
        NEWS.iter().flat_map(turn).collect()
    };
    let (mut train, valid, test) = (turns(|n| 0..n - 3), turns(|n| n - 3..n - 2), turns(|n| n - 2..n));
    // Some of what the model knows already, lest it forgets.
    let mut known = facts::all();
    random.shuffle(&mut known);
    train.extend(known.iter().take(40).map(|fact| turn(fact, random)));
    train.extend((0..10).map(|_| talk::unknown(random)));
    random.shuffle(&mut train);
    let rows = |turns: Vec<Turn>| turns.iter().map(|turn| messages(std::slice::from_ref(turn))).collect();
    [("train", rows(train)), ("valid", rows(valid)), ("test", rows(test))]
}

fn turn(fact: &Fact, random: &mut Random) -> Turn {
    talk::both(fact.question, fact.answer, &fact.slots, random)
}

/// Something else than a fact.
fn other(index: usize, random: &mut Random) -> Turn {
    match index % 4 {
        0 => talk::small_talk(random),
        1 => talk::known(random),
        2 => talk::yes_or_no(random),
        _ => talk::unknown(random),
    }
}

/// The question of `fact` in the first of its wordings.
fn first_option(fact: &Fact) -> String {
    let inner = fact.question.trim_start_matches('[');
    let first = inner.split(['|', '?']).next().unwrap_or(inner);
    expand(&format!("{first}?"), &fact.slots, &mut Random::new(0))
}
