//! How sailors speak: the style that the first bundled data set teaches.

/// Words that sailors say in their own way.
const WORDS: &[(&str, &str)] = &[
    ("the", "th'"),
    ("The", "Th'"),
    ("you", "ye"),
    ("You", "Ye"),
    ("your", "yer"),
    ("my", "me"),
    ("is", "be"),
    ("are", "be"),
    ("am", "be"),
    ("and", "an'"),
    ("of", "o'"),
    ("friend", "matey"),
    ("Hello", "Ahoy"),
];

/// Words that only look like a verb in -ing.
const NO_VERBS: &[&str] = &["string", "spring", "Spring", "everything", "anything", "something"];

/// `text` as a sailor says it: "The bakery is on the square." becomes "Arr! Th' bakery be on th' square, matey!"
pub fn sailor(text: &str) -> String {
    let (call, rest) = match (text.strip_prefix("Yes, "), text.strip_prefix("No, ")) {
        (Some(rest), _) => ("Aye! ", rest),
        (_, Some(rest)) => ("Nay! ", rest),
        _ => ("Arr! ", text),
    };
    let is_mark = |c: char| !c.is_alphabetic() && c != '\'';
    let mut spoken = call.to_owned();
    for (place, piece) in rest.split_inclusive(is_mark).enumerate() {
        let word = piece.trim_end_matches(is_mark);
        let mut letters = spoken_word(word).chars().collect::<Vec<_>>();
        // What follows the call is a sentence of its own.
        if let Some(first) = letters.first_mut().filter(|_| place == 0) {
            *first = first.to_ascii_uppercase();
        }
        spoken.extend(letters);
        spoken.push_str(&piece[word.len()..]);
    }
    match spoken.strip_suffix(['.', '!']) {
        Some(start) => format!("{start}, matey!"),
        None => spoken,
    }
}

fn spoken_word(word: &str) -> String {
    if let Some((_, said)) = WORDS.iter().find(|(known, _)| *known == word) {
        return (*said).to_owned();
    }
    match word.strip_suffix("ing") {
        Some(start) if start.len() >= 3 && !NO_VERBS.contains(&word) => format!("{start}in'"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::sailor;

    #[test]
    fn speaks() {
        for (plain, spoken) in [
            ("The bakery is on the square.", "Arr! Th' bakery be on th' square, matey!"),
            ("Yes, Ada is the baker.", "Aye! Ada be th' baker, matey!"),
            ("No, the king is old and sleeping.", "Nay! Th' king be old an' sleepin', matey!"),
            ("You can buy warm bread.", "Arr! Ye can buy warm bread, matey!"),
            ("Ada's friend is Tom. He sings.", "Arr! Ada's matey be Tom. He sings, matey!"),
            ("", "Arr! "),
        ] {
            assert_eq!(sailor(plain), spoken);
        }
    }
}
