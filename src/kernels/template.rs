//! The small template language of the files in `shaders/`: one text for all variants of a kernel.
//!
//! - `//#if NAME`, `//#else`, `//#end`: lines that are kept where the constant `NAME` is there and not zero, or else
//!   those after `//#else`; the name of a form counts as such a constant.
//! - `//#for I COUNT`, `//#end`: lines that are repeated with 0, 1, ... for `{{ I }}`. What a compiler is to keep in
//!   registers must not be an array with an index, and not every driver unrolls loops.
//! - `{{ NAME }}`: the value of a constant.

/// A name and its value.
type Constants<'a> = Vec<(&'a str, u32)>;

/// The text of one variant of a shader.
///
/// # Panics
/// If a line that opens or closes a part has no partner, or `COUNT` is no constant.
pub(super) fn expand<'a>(text: &'a str, mut constants: Constants<'a>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut expanded = String::with_capacity(2 * text.len());
    append(&mut expanded, &lines, &mut constants);
    expanded
}

fn append<'a>(expanded: &mut String, mut lines: &[&'a str], constants: &mut Constants<'a>) {
    while let Some((line, rest)) = lines.split_first() {
        let mut words = line.trim().split(' ');
        lines = match words.next() {
            Some("//#if") => {
                let [kept, otherwise, rest] = parts(line, rest);
                let name = words.next();
                let holds = constants.iter().any(|(known, value)| Some(*known) == name && *value != 0);
                append(expanded, if holds { kept } else { otherwise }, constants);
                rest
            }
            Some("//#for") => {
                let [body, _, rest] = parts(line, rest);
                let (Some(variable), Some(count)) = (words.next(), words.next()) else { panic!("{line}: of what?") };
                let known = constants.iter().find(|(name, _)| *name == count);
                let (_, count) = *known.unwrap_or_else(|| panic!("{line}: no such constant"));
                for value in 0..count {
                    constants.push((variable, value));
                    append(expanded, body, constants);
                    constants.pop();
                }
                rest
            }
            Some("//#else" | "//#end") => panic!("{line} without a beginning"),
            _ => {
                let filled = constants.iter().fold(line.to_string(), |line, (name, value)| {
                    if line.contains("{{") {
                        line.replace(&format!("{{{{ {name} }}}}"), &value.to_string())
                    } else {
                        line
                    }
                });
                expanded.push_str(&filled);
                expanded.push('\n');
                rest
            }
        }
    }
}

/// What follows the line that opens a part: lines up to its `//#else`, lines from there to its `//#end`, lines after that.
fn parts<'l, 'a>(opening: &str, lines: &'l [&'a str]) -> [&'l [&'a str]; 3] {
    let (mut depth, mut middle) = (0, None);
    for (at, line) in lines.iter().enumerate() {
        match line.trim().split(' ').next() {
            Some("//#if" | "//#for") => depth += 1,
            Some("//#else") if depth == 0 => middle = Some(at),
            Some("//#end") if depth == 0 => {
                let otherwise = middle.map_or(&lines[..0], |middle| &lines[middle + 1..at]);
                return [&lines[..middle.unwrap_or(at)], otherwise, &lines[at + 1..]];
            }
            Some("//#end") => depth -= 1,
            _ => {}
        }
    }
    panic!("{opening} without an end")
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn parts_are_chosen_and_nested() {
        let text = "a\n//#if ONE\nb\n//#if NONE\nc\n//#else\nd\n//#end\n//#else\ne\n//#end\nf\n";
        assert_eq!(expand(text, vec![("ONE", 1)]), "a\nb\nd\nf\n");
        assert_eq!(expand(text, vec![("ONE", 2), ("NONE", 1)]), "a\nb\nc\nf\n");
        assert_eq!(expand(text, vec![("ONE", 0)]), "a\ne\nf\n");
    }

    #[test]
    fn loops_repeat_lines_and_nest() {
        let text = "//#for I TALL\nx{{ I }}\n  //#for J WIDE\n  s{{ I }}{{ J }} of {{ WIDE }}\n  //#end\n//#end\n";
        let expanded = expand(text, vec![("TALL", 2), ("WIDE", 2)]);
        assert_eq!(expanded, "x0\n  s00 of 2\n  s01 of 2\nx1\n  s10 of 2\n  s11 of 2\n");
    }

    #[test]
    #[should_panic(expected = "//#if A without an end")]
    fn a_part_without_an_end() {
        expand("//#if A\n//#for I A\n//#end\n", vec![("A", 1)]);
    }

    #[test]
    #[should_panic(expected = "//#end without a beginning")]
    fn an_end_without_a_part() {
        expand("//#end\n", vec![]);
    }

    #[test]
    #[should_panic(expected = "//#for I MANY: no such constant")]
    fn a_loop_over_nothing_known() {
        expand("//#for I MANY\n//#end\n", vec![]);
    }
}
