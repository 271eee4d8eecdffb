//! Text of others in HTML.

use minijinja::HtmlEscape;

/// `text` for an element or an attribute.
pub fn escape(text: &str) -> String {
    HtmlEscape(&printable(text)).to_string()
}

/// `text` with pictures of its control characters, most of which HTML forbids.
pub fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        _ => c,
    }
}
