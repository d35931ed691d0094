//! The argument for reranking rules.

use clap::Args;

use super::json_arg;
use crate::model::RerankRules;
use crate::wire::reranking::RerankFields;

#[derive(Debug, Args)]
pub(super) struct RerankArg {
    /// What counts beside nearness, as JSON: '{"min_score": 0.3, "popularity_weight": 0.1,
    /// "boosts": [{"weight": 0.1, "condition": {"attribute": "safe", "is": true}}, {"weight":
    /// 0.2, "decay": {"attribute": "created_at", "half_life": "7d"}}], "spacing":
    /// [{"attribute": "brand", "max": 2, "places": 10}], "diversity": {"strength": 0.3}}'.
    #[arg(long, value_name = "JSON", value_parser = json_arg::parse::<RerankRules>)]
    rerank: Option<RerankRules>,
}

impl RerankArg {
    /// The rules as fields of a request; without rules they ask for nothing.
    pub(super) fn fields(self) -> RerankFields {
        self.rerank.map(RerankFields::from).unwrap_or_default()
    }
}
