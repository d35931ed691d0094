//! The argument for a filter.

use clap::Args;

use super::json_arg;
use crate::model::Filter;
use crate::wire::{attributes, v1};

#[derive(Debug, Args)]
pub(super) struct FilterArg {
    /// Only pins whose attributes meet these conditions, as JSON:
    /// '{"must": [{"attribute": "language", "any_of": ["de", "fr"]}, {"attribute": "price",
    /// "range": {"gte": 5, "lt": 20}}], "must_not": [{"attribute": "safe", "is": false}]}'.
    #[arg(long, value_name = "JSON", value_parser = json_arg::parse::<Filter>)]
    filter: Option<Filter>,
}

impl FilterArg {
    /// The filter; none where it was not given.
    pub(super) fn filter(&self) -> Option<Filter> {
        self.filter.clone()
    }

    /// The same as a message.
    pub(super) fn message(&self) -> Option<v1::Filter> {
        self.filter().map(attributes::message_of_filter)
    }
}
