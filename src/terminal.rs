//! Text for a terminal: what comes from data must not steer it.

use std::borrow::Cow;

/// `text` with its control and direction characters escaped, line ends and tabs too.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_steering)
}

/// The same for a text of several lines, which stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, is_steering_in_lines)
}

/// The same for JSON, which stays equal JSON.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_steering_in_lines) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_steering_in_lines(c) {
            // All of them are below U+10000, and JSON has them in strings only.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_steering_in_lines(c: char) -> bool {
    is_steering(c) && c != '\n'
}

/// Whether a character moves the cursor, rings, colors, or turns the direction of what
/// follows.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert!(matches!(printable("Tee für zwei, 茶"), Cow::Borrowed(_)));
        let text = "a\u{1b}[31m\r\nb\t\u{7f}\u{9b}2J\u{202e}c\u{2066}";
        let shown = r"a\u{1b}[31m\r\nb\t\u{7f}\u{9b}2J\u{202e}c\u{2066}";
        assert_eq!(printable(text), shown);
        assert_eq!(printable_lines("a\nb\r"), "a\nb\\r");
        let json = "{\n  \"t\": \"a\u{9b}\u{202e}\"\n}";
        assert_eq!(printable_json(json), "{\n  \"t\": \"a\\u009b\\u202e\"\n}");
    }
}
