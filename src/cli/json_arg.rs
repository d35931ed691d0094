//! Arguments that are spelled as JSON.

use serde::de::DeserializeOwned;

/// The value that `text` spells.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
