//! Inline SVG as plain text. Colors come from the style sheet of the page, by class, so that
//! they follow its light or dark scheme.

use std::fmt::Write as _;

/// Width of every plot.
pub(super) const WIDTH: f64 = 960.0;
/// Width of a character of the labels, which are in a monospaced font.
pub(super) const CHARACTER_WIDTH: f64 = 7.3;
/// Maximum number of characters of a label. The whole name is in the tooltip.
pub(super) const MAX_LABEL: usize = 46;

/// A point of the plot, from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub(super) x: f64,
    pub(super) y: f64,
}

pub(super) const fn position(x: f64, y: f64) -> Position {
    Position { x, y }
}

/// A plot that is being drawn.
#[derive(Debug)]
pub(super) struct Svg(String);

// Writing to a string cannot fail, so that results of `writeln!` are dropped.
impl Svg {
    /// An empty plot. Screen readers read its `title`.
    pub(super) fn new(title: &str, height: f64) -> Self {
        Self(format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(title)
        ))
    }

    /// The whole text of the plot.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    pub(super) fn line(&mut self, class: &str, from: Position, to: Position) {
        let _ = writeln!(
            self.0,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.x, from.y, to.x, to.y
        );
    }

    /// A dot in the color of `group`.
    pub(super) fn dot(&mut self, group: usize, center: Position, tooltip: &str) {
        let Position { x, y } = center;
        let _ = writeln!(
            self.0,
            "<circle class=\"dot g{group}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            escape(tooltip)
        );
    }

    /// Text whose baseline is at `baseline`.
    pub(super) fn text(&mut self, class: &str, baseline: Position, text: &str) {
        let Position { x, y } = baseline;
        let _ = writeln!(
            self.0,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(text)
        );
    }

    /// Text along the left edge that reads upward, centered at the height `y`.
    pub(super) fn text_upward(&mut self, class: &str, y: f64, text: &str) {
        let _ = writeln!(
            self.0,
            "<text class=\"{class}\" transform=\"translate(14 {y:.1}) rotate(-90)\">{}</text>",
            escape(text)
        );
    }
}

/// Escapes `text` for a text or a quoted attribute of HTML or SVG.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML cannot express most control characters.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `text` as a label, shortened where it is too long.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() > MAX_LABEL {
        text.chars().take(MAX_LABEL - 1).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let escaped = escape("<a href='x'>&\"\u{7}</a>");
        assert_eq!(
            escaped,
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}&lt;/a&gt;"
        );
    }

    #[test]
    fn a_long_label_is_cut_to_the_maximum() {
        let long = "x".repeat(MAX_LABEL + 1);
        assert_eq!(shortened(&long).chars().count(), MAX_LABEL);
        assert!(shortened(&long).ends_with('…'));
        assert_eq!(shortened(&long[1..]), long[1..]);
    }
}
