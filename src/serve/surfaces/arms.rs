//! The arms that metrics tell apart: callers name them, so their number is limited.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Greatest number of arms with a label of their own.
const MAX_ARMS: usize = 100;
/// Label of all others.
const OTHER: &str = "other";

/// The arms that were seen first, up to [`MAX_ARMS`].
#[derive(Debug, Default)]
pub(super) struct Arms(RwLock<BTreeSet<Arc<str>>>);

impl Arms {
    /// The label of `arm` in metrics. No arm, which is empty, has the empty label.
    pub(super) fn label(&self, arm: &str) -> Arc<str> {
        if arm.is_empty() {
            return arm.into();
        }
        // Whatever panicked did not leave half a set.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(arm) {
            return label.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ARMS && !known.contains(arm) {
            return OTHER.into();
        }
        let label: Arc<str> = arm.into();
        known.insert(label.clone());
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_arms_have_labels_and_the_rest_share_one() {
        let arms = Arms::default();
        assert_eq!(&*arms.label(""), "");
        for round in 0..2 {
            for number in 0..100 {
                let arm = format!("arm-{number}");
                assert_eq!(&*arms.label(&arm), arm, "{round}");
            }
            assert_eq!(&*arms.label("one-more"), "other");
        }
        assert_eq!(&*arms.label(""), "");
    }
}
