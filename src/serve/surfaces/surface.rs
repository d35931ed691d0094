//! One surface of a server: its settings and its rate.

use std::num::NonZeroU32;
use std::sync::Arc;

use metrics::counter;

use super::params::SurfaceParams;
use super::request::{self, LabeledRequest};
use crate::metrics as names;
use crate::model::{AttributeDefinition, RerankRules};
use crate::serve::middleware::Rate;
use crate::serve::status::{CallError, Shed};

/// A surface.
#[derive(Debug)]
pub(crate) struct Surface {
    name: Arc<str>,
    params: SurfaceParams,
    rules: RerankRules,
    /// None lets all calls through.
    rate: Option<Arc<Rate>>,
}

impl Surface {
    /// Creates the surface `name`. It goes on with the rate of `before`, which has the same
    /// name, if that is the same: settings that are read again are no new start.
    pub(super) fn new(
        name: &str,
        params: SurfaceParams,
        burst: NonZeroU32,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.params.rate == params.rate);
        let rate = match before {
            Some(before) => before.rate.clone(),
            None => NonZeroU32::new(params.rate).map(|rate| Arc::new(Rate::new(rate, burst))),
        };
        Self {
            name: name.into(),
            rules: params.rules(),
            params,
            rate,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn params(&self) -> &SurfaceParams {
        &self.params
    }

    /// Counts a call against the rate, and makes of `request` what the surface asks for.
    pub(super) fn admit(&self, request: &mut impl LabeledRequest) -> Result<(), CallError> {
        if let Some(rate) = &self.rate {
            rate.check(Shed::SurfaceRate).inspect_err(|_| {
                counter!(names::SURFACE_SHED, "surface" => self.name.clone()).increment(1);
            })?;
        }
        request::apply(request, &self.name, &self.params)
    }

    /// Refuses the surface where it does not fit the attributes of a catalog.
    pub(super) fn check_attributes(
        &self,
        definitions: &[AttributeDefinition],
    ) -> Result<(), CallError> {
        let misfit = |part: &str, reason: &str| {
            CallError::SurfaceMisfit(format!("surface {}: {part}: {reason}", self.name))
        };
        let checked = self.params.filter.check(definitions);
        checked.map_err(|one| misfit(&format!("filter.{}", one.field), &one.reason))?;
        let checked = self.rules.check(definitions);
        checked.map_err(|one| misfit(&one.field, &one.reason))
    }
}
