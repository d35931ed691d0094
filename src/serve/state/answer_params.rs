//! Settings of answers that no request carries.

use crate::actions::{ActionLimits, FeedbackParams};

/// What shapes an answer beside the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerParams {
    /// Which recorded actions count, and how.
    pub limits: ActionLimits,
    /// Whether medoids are drawn by engagement as well as by importance.
    pub feedback: FeedbackParams,
}
