//! A number as a bar, for people.

const WIDTH: usize = 20;

/// `value` as a bar next to `greatest`, which is a full one; always as wide.
pub(super) fn bar(value: f64, greatest: f64) -> String {
    let eighths = (value / greatest * (WIDTH * 8) as f64).round() as usize;
    let eighths = eighths.clamp(1, WIDTH * 8);
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
    format!("{bar:<WIDTH$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_value_and_never_empty() {
        assert_eq!(bar(2.0, 2.0), "█".repeat(20));
        assert_eq!(bar(1.0, 2.0).trim_end(), "█".repeat(10));
        assert_eq!(bar(0.0, 2.0).trim_end(), "▏");
        assert_eq!(bar(f64::MIN_POSITIVE, 1e9).chars().count(), WIDTH);
    }
}
