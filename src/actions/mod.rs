//! Actions of users since the last batch: kept durably, and in memory by user.
//!
//! [`Actions::submit`] takes actions; one thread writes them, all that wait with
//! one sync, and only then are they acknowledged. [`Actions::state`] is the state
//! of one user. The state is a function of the set of actions that were accepted,
//! whatever their order and however often each came.

mod action_store;
mod checkpoint_writer;
mod clock_guard;
mod engagement;
mod erasing;
mod freshness_token;
mod held_action;
mod judged_clock;
mod lag;
mod outcomes;
mod own_frame;
mod params;
#[cfg(feature = "planted-faults")]
mod planted_fault;
mod replica;
mod shared_state;
mod tail_sink;
mod user_state;
mod writer;

pub use action_store::{Actions, ReplaySummary};
pub use engagement::Engagement;
pub use erasing::{ErasedActions, UserErasure};
pub use freshness_token::FreshnessToken;
pub use held_action::HeldAction;
pub use lag::Lag;
pub use outcomes::{ActionOutcome, RecordError, RecordedActions};
pub use params::{ActionLimits, ActionParams, FeedbackParams};
pub use replica::SharedParts;
pub use user_state::UserState;
