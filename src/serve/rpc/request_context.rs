//! The state that one call is answered from.

use std::sync::Arc;

use crate::actions::{Actions, FreshnessToken};
use crate::model::{Timestamp, UserId};
use crate::serve::state::{AnswerParams, Probe, RecordedActions, Serving, UserContext};
use crate::serve::status::CallError;

/// The state that one call is answered from: one catalog, one set of profiles, the
/// actions recorded so far, one moment.
pub(super) struct RequestContext {
    pub(super) probe: Arc<Probe>,
    pub(super) serving: Arc<Serving>,
    pub(super) actions: Option<Arc<Actions>>,
    pub(super) answers: AnswerParams,
    pub(super) now: Timestamp,
}

impl RequestContext {
    /// State of `user`, with recent actions folded in.
    pub(super) fn resolve(&self, user: UserId) -> UserContext<'_> {
        let actions = self.actions.as_ref();
        let state = actions.and_then(|actions| actions.state(user));
        let average = actions.map(|actions| actions.engagement());
        let recorded = RecordedActions {
            state,
            average: average.unwrap_or_default(),
            erasure: actions.and_then(|actions| actions.erasure(user)),
        };
        self.serving
            .user_context(user, recorded, self.answers, self.now)
    }

    /// State of `user`; without one, of nobody, who has no interests and blocks no pins.
    pub(super) fn resolve_or_nobody(&self, user: Option<UserId>) -> UserContext<'_> {
        let nobody = || UserContext::new(self.serving.loaded.profiles(), None, self.now);
        user.map_or_else(nobody, |user| self.resolve(user))
    }

    /// Refuses a freshness token that an answer from this state would not honor.
    pub(super) fn check_token(&self, token: &[u8]) -> Result<(), CallError> {
        if token.is_empty() {
            return Ok(());
        }
        let actions = self.actions.as_ref().ok_or(CallError::TakesNoActions)?;
        match FreshnessToken::from_bytes(token) {
            Some(token) if actions.reflects(&token) => Ok(()),
            _ => Err(CallError::NotReflected),
        }
    }
}
