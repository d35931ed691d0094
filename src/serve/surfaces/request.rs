//! What a surface makes of a request, before that is checked: it refuses fields that it keeps
//! for itself, and stands in for those that are unset. All after it is as if the request had
//! asked for this itself.

use super::params::{RequestField, SurfaceParams};
use crate::model::Filter;
use crate::recommend::MergeStrategy;
use crate::serve::request_limits::{CONDITIONS, DEFAULT_LIMIT, DEFAULT_MEDOIDS};
use crate::serve::status::CallError;
use crate::wire::{attributes, reranking, v1};

/// A request that may name a surface and an arm.
pub(crate) trait LabeledRequest {
    /// Name of its surface; empty for none.
    fn surface(&self) -> &str;

    /// Its arm; empty for none.
    fn arm(&self) -> &str;

    /// What a surface may set of every request.
    fn fields(&mut self) -> Fields<'_>;

    /// What a surface may set of a request that samples.
    fn sampling(&mut self) -> Option<SamplingFields<'_>>;
}

/// Fields of all requests.
pub(crate) struct Fields<'a> {
    limit: &'a mut u32,
    filter: &'a mut Option<v1::Filter>,
    popularity_weight: &'a mut Option<f32>,
    boosts: &'a mut Vec<v1::Boost>,
    min_score: &'a mut Option<f32>,
    spacing: &'a mut Vec<v1::SpacingRule>,
    diversity: &'a mut Option<v1::Diversity>,
}

/// Fields of requests that sample medoids. 0 is unset.
pub(crate) struct SamplingFields<'a> {
    medoids: &'a mut u32,
    top_medoids: &'a mut u32,
    merge_strategy: &'a mut i32,
}

/// Makes of `request` what the surface with this name and these settings asks for.
pub(super) fn apply(
    request: &mut impl LabeledRequest,
    name: &str,
    surface: &SurfaceParams,
) -> Result<(), CallError> {
    let kept = RequestField::ALL
        .into_iter()
        .find(|&field| !surface.lets_set(field) && sets(request, field));
    if let Some(field) = kept {
        let reason = format!("is set, and surface {name} does not let a request set it");
        return Err(CallError::field(field.name(), reason));
    }
    if let Some(sampling) = request.sampling() {
        sampling.set_defaults(surface);
    }
    let fields = request.fields();
    apply_limit(fields.limit, name, surface)?;
    join_filter(fields.filter, name, &surface.filter)?;
    fields.set_reranking(surface);
    Ok(())
}

/// Whether `request` sets this field itself.
fn sets(request: &mut impl LabeledRequest, field: RequestField) -> bool {
    let mut sampling = |is_set: fn(&SamplingFields<'_>) -> bool| {
        request.sampling().is_some_and(|fields| is_set(&fields))
    };
    match field {
        RequestField::Medoids => sampling(|fields| *fields.medoids != 0),
        RequestField::TopMedoids => sampling(|fields| *fields.top_medoids != 0),
        RequestField::MergeStrategy => sampling(|fields| *fields.merge_strategy != 0),
        RequestField::Limit => *request.fields().limit != 0,
        RequestField::Filter => has_conditions(request.fields().filter.as_ref()),
        RequestField::PopularityWeight => request.fields().popularity_weight.is_some(),
        RequestField::Boosts => !request.fields().boosts.is_empty(),
        RequestField::MinScore => request.fields().min_score.is_some(),
        RequestField::Spacing => !request.fields().spacing.is_empty(),
        RequestField::Diversity => request.fields().diversity.is_some(),
    }
}

impl SamplingFields<'_> {
    fn set_defaults(self, surface: &SurfaceParams) {
        if *self.medoids == 0 {
            *self.medoids = surface.medoids.unwrap_or_default();
        }
        if *self.top_medoids == 0 {
            let medoids = match *self.medoids {
                0 => DEFAULT_MEDOIDS as u32,
                medoids => medoids,
            };
            // A request that samples fewer than the surface still has a sensible default.
            *self.top_medoids = surface.top_medoids.unwrap_or_default().min(medoids);
        }
        if let (0, Some(merge)) = (*self.merge_strategy, surface.merge) {
            let merge = match merge {
                MergeStrategy::Interleave => v1::MergeStrategy::Interleave,
                MergeStrategy::GlobalTop => v1::MergeStrategy::GlobalTop,
            };
            *self.merge_strategy = merge.into();
        }
    }
}

impl Fields<'_> {
    /// Sets what is unset of reranking; lists as a whole.
    fn set_reranking(self, surface: &SurfaceParams) {
        *self.popularity_weight = self.popularity_weight.or(surface.popularity);
        *self.min_score = self.min_score.or(surface.min_score);
        if self.boosts.is_empty() {
            let boosts = surface.boosts.iter().cloned();
            *self.boosts = boosts.map(reranking::message_of_boost).collect();
        }
        if self.spacing.is_empty() {
            let spacing = surface.spacing.iter().cloned();
            *self.spacing = spacing.map(reranking::message_of_spacing).collect();
        }
        if self.diversity.is_none() {
            *self.diversity = surface.diversity.map(reranking::message_of_diversity);
        }
    }
}

fn apply_limit(limit: &mut u32, name: &str, surface: &SurfaceParams) -> Result<(), CallError> {
    match (*limit, surface.limit, surface.max_limit) {
        (0, Some(default), _) => *limit = default,
        (0, None, Some(most)) => *limit = most.min(DEFAULT_LIMIT as u32),
        (asked, _, Some(most)) if asked > most => {
            let reason = format!("is {asked}, at most {most} may be of surface {name}");
            return Err(CallError::field(RequestField::Limit.name(), reason));
        }
        _ => {}
    }
    Ok(())
}

/// Adds the conditions of the surface behind those of the request, which keep their places.
fn join_filter(
    filter: &mut Option<v1::Filter>,
    name: &str,
    surface: &Filter,
) -> Result<(), CallError> {
    if surface.is_empty() {
        return Ok(());
    }
    let joined = filter.get_or_insert_default();
    let own = joined.must.len() + joined.must_not.len();
    let of_surface = surface.must.len() + surface.must_not.len();
    if own + of_surface > CONDITIONS.max {
        let reason = format!(
            "has {own} conditions beside the {of_surface} of surface {name}, at most {} may be",
            CONDITIONS.max
        );
        return Err(CallError::field(RequestField::Filter.name(), reason));
    }
    let v1::Filter { must, must_not } = attributes::message_of_filter(surface.clone());
    joined.must.extend(must);
    joined.must_not.extend(must_not);
    Ok(())
}

/// Whether a filter has conditions: one without changes nothing.
fn has_conditions(filter: Option<&v1::Filter>) -> bool {
    filter.is_some_and(|filter| !filter.must.is_empty() || !filter.must_not.is_empty())
}

impl LabeledRequest for v1::RecommendRequest {
    fn surface(&self) -> &str {
        &self.surface
    }

    fn arm(&self) -> &str {
        &self.arm
    }

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            limit: &mut self.limit,
            filter: &mut self.filter,
            popularity_weight: &mut self.popularity_weight,
            boosts: &mut self.boosts,
            min_score: &mut self.min_score,
            spacing: &mut self.spacing,
            diversity: &mut self.diversity,
        }
    }

    fn sampling(&mut self) -> Option<SamplingFields<'_>> {
        Some(SamplingFields {
            medoids: &mut self.medoids,
            top_medoids: &mut self.top_medoids,
            merge_strategy: &mut self.merge_strategy,
        })
    }
}

impl LabeledRequest for v1::SimilarPinsRequest {
    fn surface(&self) -> &str {
        &self.surface
    }

    fn arm(&self) -> &str {
        &self.arm
    }

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            limit: &mut self.limit,
            filter: &mut self.filter,
            popularity_weight: &mut self.popularity_weight,
            boosts: &mut self.boosts,
            min_score: &mut self.min_score,
            spacing: &mut self.spacing,
            diversity: &mut self.diversity,
        }
    }

    fn sampling(&mut self) -> Option<SamplingFields<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn surface(json: &str) -> SurfaceParams {
        serde_json::from_str(json).expect(json)
    }

    fn filter(json: &str) -> v1::Filter {
        attributes::message_of_filter(serde_json::from_str(json).expect(json))
    }

    /// What the surface makes of a request; the field that it refuses.
    fn applied(
        change: impl FnOnce(&mut v1::RecommendRequest),
        surface: &SurfaceParams,
    ) -> Result<v1::RecommendRequest, String> {
        let mut request = v1::RecommendRequest::default();
        change(&mut request);
        match apply(&mut request, "home", surface) {
            Ok(()) => Ok(request),
            Err(CallError::Field { field, reason }) => Err(format!("{field} {reason}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    const FULL: &str = r#"{"limit": 200, "medoids": 5, "top_medoids": 2, "merge": "global_top",
        "filter": {"must": [{"attribute": "language", "any_of": ["de"]}]}}"#;

    #[test]
    fn defaults_stand_for_what_is_unset_and_give_way_to_what_is_set() {
        let unset = applied(|_| {}, &surface(FULL)).expect("a request");
        let expected = v1::RecommendRequest {
            limit: 200,
            medoids: 5,
            top_medoids: 2,
            merge_strategy: 2,
            filter: Some(filter(
                r#"{"must": [{"attribute": "language", "any_of": ["de"]}]}"#,
            )),
            ..Default::default()
        };
        assert_eq!(unset, expected);
        let own = |request: &mut v1::RecommendRequest| {
            request.limit = 7;
            request.medoids = 1;
            request.merge_strategy = 1;
        };
        let set = applied(own, &surface(FULL)).expect("a request");
        assert_eq!((set.limit, set.medoids, set.merge_strategy), (7, 1, 1));
        // No more of the top medoids than are sampled.
        assert_eq!(set.top_medoids, 1);
        let top = applied(|request| request.top_medoids = 4, &surface(FULL));
        assert_eq!(top.expect("a request").top_medoids, 4);
    }

    #[test]
    fn reranking_stands_for_what_is_unset_field_by_field() {
        use v1::boost::By;
        let rules = surface(
            r#"{"popularity": 0.5, "min_score": 0.25, "diversity": {"strength": 0.5, "among": 9},
            "boosts": [{"weight": 1, "decay": {"attribute": "created_at", "half_life": "1day 500ms"}},
                {"weight": -1, "condition": {"attribute": "safe", "is": false}}],
            "spacing": [{"attribute": "brand", "max": 1, "places": 3}]}"#,
        );
        let unset = applied(|_| {}, &rules).expect("a request");
        let by = unset
            .boosts
            .iter()
            .map(|boost| (boost.weight, boost.by.clone()));
        let decay = By::Decay(v1::Decay {
            attribute: "created_at".to_owned(),
            half_life: Some(prost_types::Duration {
                seconds: 86_400,
                nanos: 500_000_000,
            }),
        });
        let condition = By::Condition(v1::Condition {
            attribute: "safe".to_owned(),
            test: Some(v1::condition::Test::Is(false)),
        });
        let expected = [(1.0, Some(decay)), (-1.0, Some(condition))];
        assert!(by.eq(expected));
        let spacing = v1::SpacingRule {
            attribute: "brand".to_owned(),
            max: 1,
            places: 3,
        };
        let diversity = v1::Diversity {
            strength: 0.5,
            among: 9,
        };
        assert_eq!(unset.spacing, [spacing]);
        assert_eq!(unset.diversity, Some(diversity));
        assert_eq!(
            (unset.popularity_weight, unset.min_score),
            (Some(0.5), Some(0.25))
        );
        let own = |request: &mut v1::RecommendRequest| {
            request.popularity_weight = Some(0.0);
            request.boosts = vec![v1::Boost::default()];
        };
        let set = applied(own, &rules).expect("a request");
        assert_eq!(set.popularity_weight, Some(0.0));
        assert_eq!(set.boosts, [v1::Boost::default()]);
        assert_eq!(
            (set.spacing, set.min_score),
            (unset.spacing, unset.min_score)
        );
    }

    #[test]
    fn a_surface_without_settings_changes_nothing() {
        let own = |request: &mut v1::RecommendRequest| {
            request.limit = 5_000;
            request.merge_strategy = -1;
            request.filter = Some(v1::Filter::default());
        };
        let mut expected = v1::RecommendRequest::default();
        own(&mut expected);
        assert_eq!(applied(own, &surface("{}")), Ok(expected));
        assert_eq!(
            applied(|_| {}, &surface("{}")),
            Ok(v1::RecommendRequest::default())
        );
    }

    #[test]
    fn a_field_that_the_surface_keeps_is_refused_by_name() {
        let set = |field: RequestField| {
            move |request: &mut v1::RecommendRequest| match field {
                RequestField::Limit => request.limit = 1,
                RequestField::Medoids => request.medoids = 1,
                RequestField::TopMedoids => request.top_medoids = 1,
                RequestField::MergeStrategy => request.merge_strategy = 1,
                RequestField::Filter => {
                    request.filter = Some(filter(
                        r#"{"must_not": [{"attribute": "safe", "is": false}]}"#,
                    ));
                }
                RequestField::PopularityWeight => request.popularity_weight = Some(0.0),
                RequestField::Boosts => request.boosts = vec![v1::Boost::default()],
                RequestField::MinScore => request.min_score = Some(0.0),
                RequestField::Spacing => request.spacing = vec![v1::SpacingRule::default()],
                RequestField::Diversity => request.diversity = Some(v1::Diversity::default()),
            }
        };
        for field in RequestField::ALL {
            let others = RequestField::ALL.into_iter().filter(|&one| one != field);
            let mut kept = SurfaceParams {
                may_override: Some(others.collect()),
                ..Default::default()
            };
            assert_eq!(
                applied(set(field), &kept),
                Err(format!(
                    "{} is set, and surface home does not let a request set it",
                    field.name()
                ))
            );
            applied(|_| {}, &kept).expect("nothing is set");
            kept.may_override = Some(BTreeSet::from([field]));
            applied(set(field), &kept).expect("a field that may be set");
        }
    }

    #[test]
    fn a_limit_above_that_of_the_surface_is_refused_and_the_default_keeps_it() {
        let limited = surface(r#"{"max_limit": 50}"#);
        let limit = |asked, surface| {
            let applied = applied(|request| request.limit = asked, surface);
            applied.map(|request| request.limit)
        };
        assert_eq!(limit(0, &limited), Ok(50));
        assert_eq!(limit(50, &limited), Ok(50));
        assert_eq!(
            limit(51, &limited),
            Err("limit is 51, at most 50 may be of surface home".to_owned())
        );
        let generous = surface(r#"{"max_limit": 1000}"#);
        assert_eq!(limit(0, &generous), Ok(400));
        let with_default = surface(r#"{"max_limit": 50, "limit": 20}"#);
        assert_eq!(limit(0, &with_default), Ok(20));
        assert_eq!(limit(30, &with_default), Ok(30));
    }

    #[test]
    fn both_filters_must_hold_and_have_a_filter_s_conditions_together() {
        let german = surface(FULL);
        let own = r#"{"must": [{"attribute": "safe", "is": true}],
            "must_not": [{"attribute": "price", "exists": false}]}"#;
        let joined = applied(|request| request.filter = Some(filter(own)), &german);
        let joined = joined.expect("a request").filter.expect("a filter");
        let expected = filter(
            r#"{"must": [{"attribute": "safe", "is": true}, {"attribute": "language", "any_of": ["de"]}],
            "must_not": [{"attribute": "price", "exists": false}]}"#,
        );
        assert_eq!(joined, expected);
        let many = |count: usize| {
            let condition = expected.must[0].clone();
            let many = v1::Filter {
                must: vec![condition; count],
                must_not: Vec::new(),
            };
            applied(|request| request.filter = Some(many), &german).map(|_| ())
        };
        assert_eq!(many(31), Ok(()));
        assert_eq!(
            many(32),
            Err(
                "filter has 32 conditions beside the 1 of surface home, at most 32 may be"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_request_for_similar_pins_takes_what_it_has_a_field_for() {
        let mut request = v1::SimilarPinsRequest::default();
        apply(&mut request, "home", &surface(FULL)).expect("a request");
        assert_eq!(request.limit, 200);
        assert_eq!(request.filter.expect("a filter").must.len(), 1);
    }
}
