//! Settings of answers that no request carries.

/// What shapes an answer beside the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerParams {
    /// How long a pin that was shown is not recommended again, in days.
    pub seen_days: f64,
    /// Number of most recent actions that are clustered with the profile.
    pub clustered: usize,
    /// Number of negative actions that silence an interest; 0 for never.
    pub silenced_by: usize,
    /// Draw medoids by engagement as well as by importance, where the average over
    /// all users counts as so many times shown; none for importance alone.
    pub feedback_prior: Option<f64>,
}
