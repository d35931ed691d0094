//! What an answer says of the pages before and after it.

use super::response::Answered;
use crate::recommend::Shortage;

impl Answered<'_> {
    /// The token of the next page; empty where there is none.
    pub(super) fn next_page_token(&self) -> Vec<u8> {
        if self.is_last_page() {
            return Vec::new();
        }
        let page = &self.params.page;
        page.next_token(self.recommendation, self.seed, &self.serving.loaded)
    }

    /// Whether no page after this one has candidates.
    fn is_last_page(&self) -> bool {
        let recommendation = self.recommendation;
        let is_empty = recommendation.candidates.is_empty();
        match recommendation.shortage {
            None => false,
            Some(Shortage::Eligible) => true,
            // Nothing stands before the first candidate of a page.
            Some(Shortage::Spacing) => is_empty,
            // Medoids that have not had their turn may have pins near enough; seeds have had it.
            Some(Shortage::MinScore) => {
                let all_had_it = recommendation.new_round.is_some();
                recommendation.sampled.is_empty() || (is_empty && all_had_it)
            }
        }
    }

    /// Whether the page before was answered from other versions.
    pub(super) fn versions_changed(&self) -> bool {
        self.params.page.has_other_versions(&self.serving.loaded)
    }
}
