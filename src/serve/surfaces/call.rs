//! The surface and the arm of one request: they go into its answer, the metadata, the span of
//! the call, and metrics.

use std::sync::Arc;

use metrics::counter;
use tonic::Response;
use tonic::metadata::{Ascii, MetadataValue};

use super::arms::Arms;
use super::surface::Surface;
use crate::metrics as names;
use crate::model::AttributeDefinition;
use crate::serve::middleware::record_labels;
use crate::serve::status::CallError;
use crate::wire::v1;

/// What a request names; nothing for most.
#[derive(Debug)]
pub(crate) struct CallLabels {
    pub(super) surface: Option<Arc<Surface>>,
    /// Empty for none.
    pub(super) arm: String,
    pub(super) arms: Arc<Arms>,
}

/// An answer to a request that may name a surface and an arm.
pub(crate) trait LabeledResponse {
    /// Says what the request named.
    fn set_labels(&mut self, surface: &str, arm: &str);

    /// Number of its candidates.
    fn candidates(&self) -> usize;

    /// Whether it does not rest on the user's own profile.
    fn is_fallback(&self) -> bool;

    /// Whether it is less than what was asked for.
    fn is_degraded(&self) -> bool;
}

impl CallLabels {
    fn surface(&self) -> &str {
        self.surface
            .as_ref()
            .map_or("", |surface| &**surface.name())
    }

    /// Refuses the call where its surface does not fit the attributes of the catalog.
    pub(crate) fn check_attributes(
        &self,
        definitions: &[AttributeDefinition],
    ) -> Result<(), CallError> {
        let mut surface = self.surface.iter();
        surface.try_for_each(|surface| surface.check_attributes(definitions))
    }

    /// Records them in the span of the current call.
    pub(crate) fn trace(&self) {
        record_labels(self.surface(), &self.arm);
    }

    /// Says them in the answer, and counts it.
    pub(crate) fn mark(&self, answer: &mut impl LabeledResponse) {
        let surface = self.surface();
        if surface.is_empty() && self.arm.is_empty() {
            return;
        }
        answer.set_labels(surface, &self.arm);
        let labels = [
            ("surface", Arc::from(surface)),
            ("arm", self.arms.label(&self.arm)),
        ];
        let counts = [
            (names::SURFACE_ANSWERS, 1),
            (names::SURFACE_CANDIDATES, answer.candidates() as u64),
            (names::SURFACE_FALLBACKS, u64::from(answer.is_fallback())),
            (names::SURFACE_DEGRADED, u64::from(answer.is_degraded())),
        ];
        // Those that count nothing are there all the same, so that their share is 0.
        for (name, count) in counts {
            counter!(name, &labels).increment(count);
        }
    }

    /// The same, and says them in the metadata.
    pub(crate) fn respond<T: LabeledResponse>(&self, mut response: Response<T>) -> Response<T> {
        self.mark(response.get_mut());
        let named = [
            ("x-pinnersage-surface", self.surface()),
            ("x-pinnersage-arm", &self.arm),
        ];
        for (header, name) in named.into_iter().filter(|(_, name)| !name.is_empty()) {
            response.metadata_mut().insert(header, value(name));
        }
        response
    }
}

/// A name as metadata. The alphabet of names fits.
fn value(name: &str) -> MetadataValue<Ascii> {
    let value = MetadataValue::try_from(name);
    value.unwrap_or_else(|_| MetadataValue::from_static("unprintable"))
}

impl LabeledResponse for v1::RecommendResponse {
    fn set_labels(&mut self, surface: &str, arm: &str) {
        surface.clone_into(&mut self.surface);
        arm.clone_into(&mut self.arm);
    }

    fn candidates(&self) -> usize {
        let columns = self.columns.as_ref();
        self.candidates.len() + columns.map_or(0, |columns| columns.pin_ids.len())
    }

    fn is_fallback(&self) -> bool {
        self.fallback_reason() != v1::FallbackReason::Unspecified
    }

    fn is_degraded(&self) -> bool {
        self.degraded
    }
}

impl LabeledResponse for v1::SimilarPinsResponse {
    fn set_labels(&mut self, surface: &str, arm: &str) {
        surface.clone_into(&mut self.surface);
        arm.clone_into(&mut self.arm);
    }

    fn candidates(&self) -> usize {
        self.candidates.len()
    }

    fn is_fallback(&self) -> bool {
        // No profile stands behind it.
        false
    }

    fn is_degraded(&self) -> bool {
        self.degraded
    }
}
