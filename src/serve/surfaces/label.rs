//! The alphabet of names of surfaces and arms: they go into headers and metrics as they are.

/// Longest name, in bytes.
const MAX_LEN: usize = 64;
/// What a name must be.
pub(super) const RULE: &str = "1 to 64 of a-z A-Z 0-9 _ - .";

/// Whether `text` is a name.
pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_of_its_alphabet() {
        let longest = "x".repeat(64);
        for name in ["a", "Home_feed-2.0", "-", ".", &longest] {
            assert!(is_name(name), "{name}");
        }
        let too_long = "x".repeat(65);
        for text in ["", "a b", "a\n", "ä", "a/b", "a\"", &too_long] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
