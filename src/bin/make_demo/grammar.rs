//! Templates: text with `[one|or another]` and `{slots}`, from which a seed draws sentences.

use diablo::random::Random;

/// The words that stand for `{name}` in a template.
#[derive(Debug, Clone, Default)]
pub struct Slots(Vec<(String, String)>);

impl Slots {
    /// Slots from names and words.
    pub fn new(slots: &[(&str, &str)]) -> Self {
        Self::default().with(slots)
    }

    /// These slots and others; of two of one name the later counts.
    pub fn with(mut self, slots: &[(&str, &str)]) -> Self {
        self.0.extend(slots.iter().map(|(name, words)| ((*name).to_owned(), (*words).to_owned())));
        self
    }

    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        found.map(|(_, words)| words.as_str()).unwrap_or_else(|| panic!("a template asks for {{{name}}}"))
    }
}

/// One of `items`.
pub fn pick<T: Copy>(items: &[T], random: &mut Random) -> T {
    items[random.below(items.len() as u64) as usize]
}

/// True in `percent` of a hundred cases.
pub fn chance(percent: u64, random: &mut Random) -> bool {
    random.below(100) < percent
}

/// A question: as [`expand`], but what is no question ends with a full stop.
pub fn ask(template: &str, slots: &Slots, random: &mut Random) -> String {
    let text = expand(template, slots, random);
    match text.strip_suffix('?') {
        Some(start) if start.to_lowercase().contains("tell me") => format!("{start}."),
        _ => text,
    }
}

/// Draws a text from `template`, and writes sentences with a capital letter.
pub fn expand(template: &str, slots: &Slots, random: &mut Random) -> String {
    let mut text = String::new();
    draw(template, slots, random, &mut text);
    capitalised(&text)
}

fn draw(template: &str, slots: &Slots, random: &mut Random, text: &mut String) {
    let mut rest = template;
    while let Some(place) = rest.find(['[', '{']) {
        text.push_str(&rest[..place]);
        let opened = &rest[place..];
        if opened.starts_with('{') {
            let end = opened.find('}').expect("a slot that ends");
            // The words of a slot may be a template themselves.
            draw(slots.get(&opened[1..end]), slots, random, text);
            rest = &opened[end + 1..];
        } else {
            let (options, after) = alternatives(opened);
            draw(pick(&options, random), slots, random, text);
            rest = after;
        }
    }
    text.push_str(rest);
}

/// The options of the bracket that `text` begins with, and what follows it.
fn alternatives(text: &str) -> (Vec<&str>, &str) {
    let (mut options, mut depth, mut start) = (Vec::new(), 0, 1);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b'|' if depth == 1 => {
                options.push(&text[start..place]);
                start = place + 1;
            }
            b']' if depth == 1 => {
                options.push(&text[start..place]);
                return (options, &text[place + 1..]);
            }
            b']' => depth -= 1,
            _ => {}
        }
    }
    panic!("a bracket without end: {text}")
}

/// `text` with a capital letter at the start of each sentence, quoted ones too.
fn capitalised(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    // Whether a sentence begins here, and whether one has just ended.
    let (mut begins, mut ended) = (true, false);
    for (place, c) in text.char_indices() {
        match c {
            '.' | '!' | '?' => (begins, ended) = (false, true),
            ' ' | '\n' => begins |= ended,
            // A quote after a colon is a sentence of its own.
            '"' if text[..place].ends_with(": ") => begins = true,
            // One after the end of a sentence closes it, and the sentence around it may go on.
            '"' => ended &= begins,
            _ => ended = false,
        }
        if begins && c.is_alphanumeric() {
            result.extend(c.to_uppercase());
            begins = false;
        } else {
            result.push(c);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn draws_every_option_and_fills_slots() {
        let slots = Slots::new(&[("name", "Tom"), ("name", "Ada"), ("who", "[{name}|she]")]);
        let mut random = Random::new(1);
        let template = "[where|do you know where] [does {name} [live|sleep]|is {who}]?";
        let drawn: BTreeSet<String> = (0..200).map(|_| expand(template, &slots, &mut random)).collect();
        assert_eq!(drawn.len(), 8, "{drawn:?}");
        assert!(drawn.contains("Do you know where is she?") && drawn.contains("Where does Ada sleep?"));
    }

    #[test]
    fn sentences_begin_with_a_capital_letter() {
        let expanded = |text| expand(text, &Slots::default(), &mut Random::new(0));
        assert_eq!(
            expanded("it was late. tom ran! \"where is it?\" he asked. \"here!"),
            "It was late. Tom ran! \"Where is it?\" he asked. \"Here!"
        );
        assert_eq!(expanded("he said: \"come.\" say: red"), "He said: \"Come.\" say: red");
        assert_eq!(
            expanded("\"hello,\" said Ada. \"come in.\" she smiled."),
            "\"Hello,\" said Ada. \"Come in.\" she smiled."
        );
    }

    #[test]
    fn the_seed_decides() {
        let drawn = |seed| -> Vec<String> {
            let mut random = Random::new(seed);
            (0..20).map(|_| expand("[a|b|c] [d|e]", &Slots::default(), &mut random)).collect()
        };
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
    }
}
