//! An importance as a bar, for people.

/// Width of a full bar, in characters.
const WIDTH: usize = 20;
/// Blocks of 0 to 7 eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// `importance` as a bar, which is full at `max`. Padded to the width of a full bar, and
/// never empty.
pub(super) fn importance_bar(importance: f64, max: f64) -> String {
    let eighths = (importance / max * (WIDTH * 8) as f64).round() as usize;
    let eighths = eighths.clamp(1, WIDTH * 8);
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(EIGHTHS[eighths % 8]);
    format!("{bar:<WIDTH$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_importance_and_never_empty() {
        assert_eq!(importance_bar(2.0, 2.0), "█".repeat(20));
        assert_eq!(importance_bar(1.0, 2.0).trim_end(), "█".repeat(10));
        assert_eq!(importance_bar(0.0, 2.0).trim_end(), "▏");
        let shortest = importance_bar(f64::MIN_POSITIVE, 1e9);
        assert_eq!(shortest.chars().count(), WIDTH);
    }
}
