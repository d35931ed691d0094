//! The context pin of a request: near to it the medoids are sampled.

use super::ids;
use crate::model::PinId;
use crate::recommend::SeedMode;
use crate::serve::request_limits::{MAX_MEDOIDS, number_or_default};
use crate::serve::status::CallError;
use crate::wire::v1;

/// Number of medoids to sample among where a request does not say.
const DEFAULT_NEAREST: usize = 3;
/// What nearness is worth where a request does not say: an interest that is nearer by 0.2
/// counts e times as much.
const DEFAULT_STRENGTH: f64 = 5.0;
/// With more, rounding would decide.
const MAX_STRENGTH: f64 = 50.0;

/// A context pin, and how medoids are sampled near it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ContextPin {
    pub(crate) pin: PinId,
    /// Number of medoids to sample among.
    pub(crate) medoids: usize,
    pub(crate) strength: f64,
}

impl ContextPin {
    /// The context pin of `request`, whose seeds have this mode; none where it has none.
    pub(crate) fn of_request(
        request: &v1::RecommendRequest,
        mode: SeedMode,
    ) -> Result<Option<Self>, CallError> {
        let key = request.context_pin_key.as_deref();
        let key_path = || "context_pin_key".to_owned();
        let pin = ids::optional_pin(request.context_pin_id, key, key_path)?;
        let Some(pin) = pin else {
            return refuse_lone_fields(request).map(|()| None);
        };
        if mode == SeedMode::Replace {
            let field = key.map_or("context_pin_id", |_| "context_pin_key");
            let reason = "is of no use where seeds replace the medoids";
            return Err(CallError::field(field, reason));
        }
        let medoids = number_or_default(
            "context_medoids",
            request.context_medoids,
            MAX_MEDOIDS,
            DEFAULT_NEAREST,
        )?;
        let strength = request.context_strength.unwrap_or(DEFAULT_STRENGTH);
        if !(0.0..=MAX_STRENGTH).contains(&strength) {
            let reason = format!("is {strength}, from 0 to {MAX_STRENGTH} may be");
            return Err(CallError::field("context_strength", reason));
        }
        Ok(Some(Self {
            pin,
            medoids,
            strength,
        }))
    }
}

/// Refuses fields that say how to sample near a pin, where there is none.
fn refuse_lone_fields(request: &v1::RecommendRequest) -> Result<(), CallError> {
    let lone = if request.context_medoids != 0 {
        "context_medoids"
    } else if request.context_strength.is_some() {
        "context_strength"
    } else {
        return Ok(());
    };
    Err(CallError::field(lone, "needs a context pin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(
        change: impl FnOnce(&mut v1::RecommendRequest),
    ) -> Result<Option<ContextPin>, CallError> {
        let mut request = v1::RecommendRequest {
            context_pin_id: Some(7),
            ..Default::default()
        };
        change(&mut request);
        ContextPin::of_request(&request, SeedMode::Join)
    }

    fn refused_field(change: impl FnOnce(&mut v1::RecommendRequest)) -> String {
        match context(change) {
            Err(CallError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_and_greatest_values_are_accepted() {
        let of = |medoids, strength| {
            let pin = PinId(7);
            Ok(Some(ContextPin {
                pin,
                medoids,
                strength,
            }))
        };
        assert_eq!(context(|_| {}), of(3, 5.0));
        let greatest = context(|r| {
            r.context_medoids = 20;
            r.context_strength = Some(50.0);
        });
        assert_eq!(greatest, of(20, 50.0));
        assert_eq!(context(|r| r.context_strength = Some(0.0)), of(3, 0.0));
        assert_eq!(context(|r| r.context_pin_id = None), Ok(None));
    }

    #[test]
    fn a_field_that_breaks_its_limit_is_named() {
        assert_eq!(refused_field(|r| r.context_medoids = 21), "context_medoids");
        for strength in [f64::NAN, f64::INFINITY, -0.1, 50.1] {
            let field = refused_field(|r| r.context_strength = Some(strength));
            assert_eq!(field, "context_strength");
        }
        let key = |key: &str| Some(key.to_owned());
        assert_eq!(
            refused_field(|r| r.context_pin_key = key("tea")),
            "context_pin_key"
        );
        assert_eq!(
            refused_field(|r| r.context_pin_key = key("")),
            "context_pin_key"
        );
        let lone = refused_field(|r| {
            r.context_pin_id = None;
            r.context_medoids = 2;
        });
        assert_eq!(lone, "context_medoids");
        let lone = refused_field(|r| {
            r.context_pin_id = None;
            r.context_strength = Some(2.0);
        });
        assert_eq!(lone, "context_strength");
        let request = v1::RecommendRequest {
            context_pin_id: Some(7),
            ..Default::default()
        };
        let replaced = ContextPin::of_request(&request, SeedMode::Replace);
        assert!(
            matches!(replaced, Err(CallError::Field { field, .. }) if field == "context_pin_id")
        );
    }
}
