//! Arguments that are spelled as JSON and may have a name.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::json_arg;

/// The name of what is given without one.
pub(super) const UNNAMED: &str = "on";

/// A value with a name: `NAME={...}`, or `{...}` alone, whose name is [`UNNAMED`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) value: T,
}

impl<T: DeserializeOwned> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, json) = match text.split_once('{') {
            Some((head, _)) if !head.trim().is_empty() => {
                text.split_once('=').unwrap_or((UNNAMED, text))
            }
            _ => (UNNAMED, text),
        };
        Ok(Self {
            name: name.trim().to_owned(),
            value: json_arg::parse(json)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Filter;

    #[test]
    fn a_name_stands_before_the_json() {
        let json = r#"{"must":[{"attribute":"a=b","any_of":["c=d"]}]}"#;
        let named = |text: &str| text.parse::<Named<Filter>>();
        let value: Filter = json_arg::parse(json).expect("a filter");
        for (text, name) in [
            (json.to_owned(), "on"),
            (format!(" {json}"), "on"),
            (format!("cheap={json}"), "cheap"),
            (format!("cheap = {json}"), "cheap"),
        ] {
            let value = value.clone();
            let name = name.to_owned();
            assert_eq!(named(&text), Ok(Named { name, value }), "{text}");
        }
        for bad in ["", "cheap", "cheap=", "cheap={", r#"cheap{"must":[]}"#] {
            named(bad).expect_err(bad);
        }
    }
}
