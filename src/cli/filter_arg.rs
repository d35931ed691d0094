//! The argument for a filter.

use std::str::FromStr;

use clap::Args;

use crate::model::Filter;
use crate::wire::{attributes, v1};

#[derive(Debug, Args)]
pub(super) struct FilterArg {
    /// Only pins whose attributes meet these conditions, as JSON:
    /// '{"must": [{"attribute": "language", "any_of": ["de", "fr"]}, {"attribute": "price",
    /// "range": {"gte": 5, "lt": 20}}], "must_not": [{"attribute": "safe", "is": false}]}'.
    #[arg(long, value_name = "JSON")]
    filter: Option<SpelledFilter>,
}

/// A filter that was spelled as JSON.
#[derive(Clone, Debug)]
struct SpelledFilter(Filter);

impl FromStr for SpelledFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = serde_json::from_str(text);
        parsed.map(Self).map_err(|error| error.to_string())
    }
}

impl FilterArg {
    /// The filter; none where it was not given.
    pub(super) fn filter(&self) -> Option<Filter> {
        self.filter.clone().map(|SpelledFilter(filter)| filter)
    }

    /// The same as a message.
    pub(super) fn message(&self) -> Option<v1::Filter> {
        self.filter().map(attributes::message_of_filter)
    }
}
