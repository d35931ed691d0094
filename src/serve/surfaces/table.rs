//! The surfaces of a server, which are replaced while calls are answered.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::arms::Arms;
use super::call::CallLabels;
use super::label::{self, is_name};
use super::params::SurfaceSet;
use super::request::LabeledRequest;
use super::surface::Surface;
use crate::model::AttributeDefinition;
use crate::serve::status::CallError;

/// Most surfaces that a refusal lists: it goes into headers, which clients limit.
const MAX_LISTED: usize = 20;

/// The surfaces of a server, and the arms that it has seen.
#[derive(Debug)]
pub(crate) struct Surfaces {
    table: ArcSwap<SurfaceTable>,
    /// Calls of one surface at once after a silence.
    burst: NonZeroU32,
    arms: Arc<Arms>,
}

type SurfaceTable = BTreeMap<String, Arc<Surface>>;

impl Surfaces {
    /// Creates the surfaces of `set`; those with a rate let `burst` calls through at once
    /// after a silence, at least 1.
    pub(crate) fn new(set: &SurfaceSet, burst: u32) -> Self {
        let surfaces = Self {
            table: ArcSwap::default(),
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
            arms: Arc::default(),
        };
        surfaces.replace(set);
        surfaces
    }

    /// Serves the surfaces of `set` in the place of those that are there. Returns whether
    /// they differ.
    pub(crate) fn replace(&self, set: &SurfaceSet) -> bool {
        let before = self.table.load();
        let is_same = before.len() == set.0.len()
            && set.0.iter().all(|(name, params)| {
                let before = before.get(name);
                before.is_some_and(|before| before.params() == params)
            });
        if is_same {
            return false;
        }
        let surfaces = set.0.iter().map(|(name, params)| {
            let before = before.get(name).map(Arc::as_ref);
            let surface = Surface::new(name, params.clone(), self.burst, before);
            (name.clone(), Arc::new(surface))
        });
        self.table.store(Arc::new(surfaces.collect()));
        true
    }

    /// Names of the surfaces, ascending and separated by commas, not all where there are many.
    pub(crate) fn list(&self) -> String {
        let table = self.table.load();
        let names = table.keys().take(MAX_LISTED).map(String::as_str);
        let listed = names.collect::<Vec<_>>().join(", ");
        match table.len() {
            0 => "none".to_owned(),
            found if found > MAX_LISTED => format!("{listed} and {} others", found - MAX_LISTED),
            _ => listed,
        }
    }

    /// Reads what `request` names, and makes of it what its surface asks for. A request that
    /// names nothing stays as it is.
    pub(crate) fn admit(&self, request: &mut impl LabeledRequest) -> Result<CallLabels, CallError> {
        let arm = request.arm();
        if !arm.is_empty() && !is_name(arm) {
            return Err(CallError::field("arm", format!("must be {}", label::RULE)));
        }
        let arm = arm.to_owned();
        let surface = match request.surface() {
            "" => None,
            name => Some(self.get(name)?),
        };
        if let Some(surface) = &surface {
            surface.admit(request)?;
        }
        Ok(CallLabels {
            surface,
            arm,
            arms: self.arms.clone(),
        })
    }

    /// The surfaces that do not fit a catalog with these attributes, and why.
    pub(crate) fn misfits(&self, definitions: &[AttributeDefinition]) -> Vec<CallError> {
        let table = self.table.load();
        let checked = table.values().map(|one| one.check_attributes(definitions));
        checked.filter_map(Result::err).collect()
    }

    fn get(&self, name: &str) -> Result<Arc<Surface>, CallError> {
        if !is_name(name) {
            let reason = format!("must be {}", label::RULE);
            return Err(CallError::field("surface", reason));
        }
        let surface = self.table.load().get(name).cloned();
        surface.ok_or_else(|| {
            let known = self.list();
            let reason = format!("{name:?} is no surface of this server, which has {known}");
            CallError::field("surface", reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1;

    fn set(json: &str) -> SurfaceSet {
        serde_json::from_str(json).expect(json)
    }

    fn request(surface: &str, arm: &str) -> v1::RecommendRequest {
        v1::RecommendRequest {
            surface: surface.to_owned(),
            arm: arm.to_owned(),
            ..Default::default()
        }
    }

    fn refusal(surfaces: &Surfaces, mut request: v1::RecommendRequest) -> String {
        match surfaces.admit(&mut request) {
            Err(CallError::Field { field, reason }) => format!("{field} {reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unknown_surfaces_and_bad_arms_are_refused_and_a_few_names_are_listed() {
        let none = Surfaces::new(&SurfaceSet::default(), 1);
        assert_eq!(
            refusal(&none, request("home", "")),
            "surface \"home\" is no surface of this server, which has none"
        );
        let surfaces = Surfaces::new(&set(r#"{"related": {}, "home": {"limit": 9}}"#), 1);
        assert_eq!(
            refusal(&surfaces, request("feed", "")),
            "surface \"feed\" is no surface of this server, which has home, related"
        );
        let rule = "must be 1 to 64 of a-z A-Z 0-9 _ - .";
        let bad = refusal(&surfaces, request("home\r\n", ""));
        assert_eq!(bad, format!("surface {rule}"));
        let bad = refusal(&surfaces, request("home", "a b"));
        assert_eq!(bad, format!("arm {rule}"));
        let bad = refusal(&surfaces, request("", &"x".repeat(65)));
        assert_eq!(bad, format!("arm {rule}"));
        let mut known = request("home", "arm-1");
        surfaces.admit(&mut known).expect("a known surface");
        assert_eq!(known.limit, 9);
        let many: Vec<String> = (10..35).map(|n| format!("\"s{n}\": {{}}")).collect();
        let many = Surfaces::new(&set(&format!("{{{}}}", many.join(","))), 1);
        assert!(
            many.list().ends_with("s28, s29 and 5 others"),
            "{}",
            many.list()
        );
    }

    #[test]
    fn a_rate_is_that_of_a_surface_and_goes_on_over_a_change_of_others() {
        let surfaces = Surfaces::new(&set(r#"{"home": {"rate": 1}, "related": {}}"#), 2);
        let admit = |name: &str| surfaces.admit(&mut request(name, "")).map(|_| ());
        assert_eq!((admit("home"), admit("home")), (Ok(()), Ok(())));
        let is_shed = |refused: Result<(), CallError>| {
            matches!(
                refused,
                Err(CallError::Shed(crate::serve::status::Shed::SurfaceRate, _))
            )
        };
        assert!(is_shed(admit("home")));
        for _ in 0..10 {
            assert_eq!(admit("related"), Ok(()));
        }
        // Another setting of it is no new start, another rate is.
        assert!(surfaces.replace(&set(r#"{"home": {"rate": 1, "limit": 5}, "related": {}}"#)));
        assert!(is_shed(admit("home")));
        assert!(!surfaces.replace(&set(r#"{"home": {"rate": 1, "limit": 5}, "related": {}}"#)));
        assert!(surfaces.replace(&set(r#"{"home": {"rate": 2}}"#)));
        assert_eq!(admit("home"), Ok(()));
        assert!(admit("related").is_err());
        assert!(surfaces.replace(&SurfaceSet::default()));
        assert!(admit("home").is_err());
    }

    #[test]
    fn a_surface_that_does_not_fit_the_catalog_is_named_with_its_part() {
        let with_filter = r#"{"home": {"filter": {"must": [
            {"attribute": "language", "any_of": ["de"]}]}}, "related": {}, "spaced": {
            "spacing": [{"attribute": "language", "max": 1, "places": 2}]}}"#;
        let surfaces = Surfaces::new(&set(with_filter), 1);
        let language = ["language:keyword".parse().expect("a definition")];
        assert_eq!(surfaces.misfits(&language), []);
        let labels = surfaces.admit(&mut request("home", "")).expect("a surface");
        assert_eq!(labels.check_attributes(&language), Ok(()));
        let misfit = labels.check_attributes(&[]).expect_err("no such attribute");
        let spaced = "surface spaced: spacing[0].attribute: \"language\" is no attribute of the \
                      catalog, which has none";
        let expected = [misfit.clone(), CallError::SurfaceMisfit(spaced.to_owned())];
        assert_eq!(surfaces.misfits(&[]), expected);
        let status = tonic::Status::from(misfit);
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(
            status.message(),
            "surface home: filter.must[0].attribute: \"language\" is no attribute of the \
             catalog, which has none"
        );
    }
}
