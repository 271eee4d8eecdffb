//! Small changes to a template's source before it is compiled.

use super::limits::{GUARD, GUARD_INNER, MAX_ELIFS, MAX_WORDS};
use crate::error::{Error, Result};

/// Adapts the template `source` to minijinja, without changing what it renders:
/// - line ends become `\n`, as Jinja does on reading;
/// - `{% generation %}`, a tag of transformers that marks what is to be trained and prints its body as it is,
///   becomes `{% with %}`;
/// - values that are kept (`set`, macro arguments, variables of recursive loops) pass the filter [`GUARD`].
///
/// Source that cannot be made out is left alone, as compiling it will say what is wrong. A tag of more than
/// [`MAX_WORDS`] and a template of more than [`MAX_ELIFS`] are errors.
pub(super) fn prepare(source: &str) -> Result<String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len() + 256);
    let mut rest = source.as_str();
    let mut elifs = 0;
    while let Some((before, piece)) = next_piece(rest) {
        let tag = Tag::parse(piece);
        elifs += usize::from(tag.as_ref().is_some_and(|tag| tag.keyword == "elif"));
        let too_long = !piece.starts_with("{#") && words(piece) > MAX_WORDS;
        if too_long || elifs > MAX_ELIFS {
            let line = 1 + source[..source.len() - rest.len() + before.len()].matches('\n').count();
            let what = if too_long { format!("{MAX_WORDS} words in one tag") } else { format!("{MAX_ELIFS} elif") };
            return Err(Error::Template(format!("line {line}: more than {what}")));
        }
        prepared.push_str(before);
        match tag.and_then(|tag| tag.changed()) {
            Some(changed) => prepared.push_str(&changed),
            None => prepared.push_str(piece),
        }
        rest = &rest[before.len() + piece.len()..];
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// The number of words, signs and strings in `piece`.
fn words(piece: &str) -> usize {
    let mut within_word = false;
    let starts_word = |&(_, c): &(usize, char)| {
        let (before, is_word) = (within_word, c.is_alphanumeric() || c == '_');
        within_word = is_word;
        !(c.is_whitespace() || before && is_word)
    };
    code(piece).filter(starts_word).count()
}

/// The text before the first comment, expression, tag or raw block of `source`, and that piece itself. One that is
/// never closed ends with the source.
fn next_piece(source: &str) -> Option<(&str, &str)> {
    let start =
        source.match_indices('{').map(|(at, _)| at).find(|&at| source[at + 1..].starts_with(['#', '{', '%']))?;
    let (before, piece) = source.split_at(start);
    let len = match piece.as_bytes()[1] {
        b'#' => piece.find("#}").map(|at| at + 2),
        b'{' => closing(piece, "}}"),
        _ => closing(piece, "%}"),
    };
    let closed = &piece[..len.unwrap_or(piece.len())];
    if Tag::parse(closed).is_some_and(|tag| tag.keyword == "raw") {
        return Some((before, &piece[..closed.len() + raw_len(&piece[closed.len()..])]));
    }
    Some((before, closed))
}

/// The length of the piece that `source` begins with and `end` closes. Brackets and strings in it may hold `end`.
fn closing(source: &str, end: &str) -> Option<usize> {
    let body = &source[2..];
    let at = outside(body).find(|&(at, _)| body[at..].starts_with(end))?.0;
    Some(2 + at + end.len())
}

/// The length of a raw block's body and its closing tag.
fn raw_len(body: &str) -> usize {
    let is_end = |tag: &str| tag[2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    let end = body.match_indices("{%").map(|(at, _)| at).find(|&at| is_end(&body[at..]));
    end.and_then(|at| Some(at + body[at..].find("%}")? + 2)).unwrap_or(body.len())
}

/// The characters of an expression but for what is in its strings, with their places. Opening quotes are among them.
fn code(expression: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    expression.char_indices().filter(move |&(_, c)| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(open) => {
            escaped = c == '\\';
            quote = quote.filter(|_| c != open);
            false
        }
        None => {
            quote = Some(c).filter(|c| matches!(c, '\'' | '"'));
            true
        }
    })
}

/// The characters of an expression but for what is in its strings and brackets, with their places.
fn outside(expression: &str) -> impl Iterator<Item = (usize, char)> {
    let mut depth = 0_usize;
    code(expression).filter(move |&(_, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            // A closing brace with none open is the end of the piece.
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            _ => return depth == 0,
        }
        false
    })
}

/// A `{% ... %}` in parts that make up the whole: `open`, `space`, `keyword`, `body`, `close`.
struct Tag<'a> {
    /// `{%`, `{%-` or `{%+`.
    open: &'a str,
    space: &'a str,
    keyword: &'a str,
    body: &'a str,
    /// `%}`, `-%}` or `+%}`.
    close: &'a str,
}

impl<'a> Tag<'a> {
    fn parse(piece: &'a str) -> Option<Self> {
        let inner = piece.strip_prefix("{%")?.strip_suffix("%}")?;
        let content = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        let open = &piece[..piece.len() - content.len() - 2];
        let content = content.strip_suffix(['-', '+']).unwrap_or(content);
        let close = &piece[open.len() + content.len()..];
        let trimmed = content.trim_start();
        let space = &content[..content.len() - trimmed.len()];
        let keyword = &trimmed[..identifier_len(trimmed)];
        Some(Self { open, space, keyword, body: &trimmed[keyword.len()..], close })
    }

    /// The tag as it has to become, or nothing if it can stay.
    fn changed(&self) -> Option<String> {
        match self.keyword {
            "generation" => Some(self.with("with", self.body)),
            "endgeneration" => Some(self.with("endwith", self.body)),
            "set" => {
                let (target, value) = self.body.split_at(assigned(self.body)?);
                // Without a value it is an error, which minijinja explains better than we would.
                let guard = if target.contains('.') { GUARD_INNER } else { GUARD };
                (!value.trim().is_empty()).then(|| self.with("set", &format!("{target} ({value})|{guard} ")))
            }
            "macro" => self.guarding(&parameters(self.body)),
            "for" if self.body.trim_end().ends_with("recursive") => self.guarding(&targets(self.body)),
            _ => None,
        }
    }

    /// The whole tag with another keyword and body.
    fn with(&self, keyword: &str, body: &str) -> String {
        [self.open, self.space, keyword, body, self.close].concat()
    }

    /// This tag, and after it one that guards the variables `names`. A sign that trims what follows moves to
    /// the second.
    fn guarding(&self, names: &[&str]) -> Option<String> {
        let tag = [self.open, self.space, self.keyword, self.body].concat();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("{tag} %}}{{% set {GUARD} = [{names}]|{GUARD} {}", self.close))
    }
}

/// Where the value begins in the body of `set`, if it has one; a block set has none.
fn assigned(body: &str) -> Option<usize> {
    let (at, _) = outside(body).find(|&(_, c)| c == '=' || c == '|')?;
    body[at..].starts_with('=').then_some(at + 1)
}

/// The parameters of `name(a, b=1)`.
fn parameters(body: &str) -> Vec<&str> {
    let Some((_, list)) = body.trim_end().split_once('(') else { return Vec::new() };
    let list = list.strip_suffix(')').unwrap_or(list);
    split_outside(list).map(identifier).filter(|name| !name.is_empty()).collect()
}

/// The variables of `a, b in items`.
fn targets(body: &str) -> Vec<&str> {
    let names = body.split_once(" in ").map_or("", |(names, _)| names);
    names
        .split(',')
        .map(|name| identifier(name.trim_start_matches(['(', ' '])))
        .filter(|name| !name.is_empty())
        .collect()
}

/// The parts of `list` between its commas.
fn split_outside(list: &str) -> impl Iterator<Item = &str> {
    let mut commas: Vec<usize> = outside(list).filter(|&(_, c)| c == ',').map(|(at, _)| at).collect();
    commas.push(list.len());
    let mut start = 0;
    commas.into_iter().map(move |comma| {
        let part = &list[start..comma];
        start = (comma + 1).min(list.len());
        part
    })
}

/// The name that `text` begins with, or nothing.
fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    &text[..identifier_len(text)]
}

fn identifier_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}
