//! Recommendations as a server answers them, and their printed forms.

use std::{fmt, mem};

use serde::Serialize;

use super::candidate::{Candidate, exhausted_remark, letter, write_candidates};
use super::client::{ServerArgs, display_title, status_error};
use super::id_or_key::{IdOrKey, display_id};
use super::importance_bar::importance_bar;
use super::page_of_session::PageOfSession;
use super::surface_args::write_labels;
use crate::wire::v1;

/// Candidates for a user, and the medoids that found them; its fields are those of the
/// JSON.
#[derive(Debug, Serialize)]
pub(super) struct Recommendation {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_key: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    page: Option<PageOfSession>,
    seed: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    surface: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    arm: String,
    fallback_reason: &'static str,
    degraded_reason: &'static str,
    exhausted_reason: &'static str,
    state_age_seconds: i64,
    catalog_version: String,
    profile_version: String,
    popularity_weight: f32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_seed_pin_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_seed_pin_keys: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown_context_pin: bool,
    medoids: Vec<Medoid>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Medoid {
    pin_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pin_key: String,
    title: String,
    importance: f64,
    inclusion_probability: f64,
    origin: &'static str,
}

/// A request for `limit` candidates with titles.
pub(super) fn request(user: Option<&IdOrKey>, limit: u32) -> v1::RecommendRequest {
    let (user_id, user_key) = user.map_or((None, None), IdOrKey::fields);
    v1::RecommendRequest {
        user_id,
        user_key,
        limit,
        include_titles: true,
        ..Default::default()
    }
}

/// Fetches candidates for `user`, or for nobody, from a server.
pub(super) async fn fetch(
    user: Option<&IdOrKey>,
    request: v1::RecommendRequest,
    server: &ServerArgs,
) -> anyhow::Result<Recommendation> {
    let response = server
        .connect()
        .await?
        .recommend(request)
        .await
        .map_err(|status| status_error(&status))?;
    Ok(Recommendation::new(user, response.into_inner()))
}

/// Fetches that many pages of candidates, or all that there are.
pub(super) async fn fetch_pages(
    user: Option<&IdOrKey>,
    mut request: v1::RecommendRequest,
    pages: u32,
    server: &ServerArgs,
) -> anyhow::Result<Vec<Recommendation>> {
    let mut client = server.connect().await?;
    request.paged = true;
    let mut found = Vec::new();
    for number in 1..=pages {
        let response = client.recommend(request.clone()).await;
        let mut response = response
            .map_err(|status| status_error(&status))?
            .into_inner();
        request.page_token = mem::take(&mut response.next_page_token);
        let is_last_page = request.page_token.is_empty();
        let page = PageOfSession {
            number,
            is_last_page,
            versions_changed: response.versions_changed,
        };
        found.push(Recommendation {
            page: Some(page),
            ..Recommendation::new(user, response)
        });
        if is_last_page {
            break;
        }
    }
    Ok(found)
}

impl Recommendation {
    fn new(user: Option<&IdOrKey>, response: v1::RecommendResponse) -> Self {
        let fallback_reason = response.fallback_reason().as_str_name();
        let degraded_reason = response.degraded_reason().as_str_name();
        let exhausted_reason = response.exhausted_reason().as_str_name();
        let medoids = response.medoids.into_iter().map(Medoid::from);
        let candidates = response.candidates.into_iter().map(Candidate::from);
        Self {
            user_id: user.map(IdOrKey::id),
            user_key: user.map_or_else(String::new, |user| user.key().to_owned()),
            page: None,
            seed: response.seed,
            surface: response.surface,
            arm: response.arm,
            fallback_reason,
            degraded_reason,
            exhausted_reason,
            popularity_weight: response.popularity_weight,
            state_age_seconds: response.state_age.map_or(0, |age| age.seconds),
            medoids: medoids.collect(),
            candidates: candidates.collect(),
            unknown_seed_pin_ids: response.unknown_seed_pin_ids,
            unknown_seed_pin_keys: response.unknown_seed_pin_keys,
            unknown_context_pin: response.unknown_context_pin,
            catalog_version: response.catalog_version,
            profile_version: response.profile_version,
        }
    }
}

impl From<v1::SampledMedoid> for Medoid {
    fn from(medoid: v1::SampledMedoid) -> Self {
        Self {
            pin_id: medoid.pin_id,
            importance: medoid.importance,
            inclusion_probability: medoid.inclusion_probability,
            origin: medoid.origin().as_str_name(),
            pin_key: medoid.pin_key,
            title: medoid.title,
        }
    }
}

impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, seed) = (self.candidates.len(), self.seed);
        match self.user_id {
            Some(id) => write!(f, "user {}", display_id(id, &self.user_key))?,
            None => write!(f, "nobody")?,
        }
        if let Some(page) = &self.page {
            write!(f, ", page {}", page.number)?;
        }
        writeln!(f, ": {count} candidates (seed {seed})")?;
        self.write_remarks(f)?;
        self.write_medoids(f)?;
        write_candidates(f, &self.candidates)
    }
}

impl Recommendation {
    /// The best candidate; none where there is no candidate.
    pub(super) fn first_pin(&self) -> Option<u64> {
        self.candidates.first().map(|first| first.pin_id)
    }

    fn write_remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(f, &self.surface, &self.arm)?;
        self.page
            .iter()
            .try_for_each(|page| page.write_remarks(f))?;
        if let Some(remark) = fallback_remark(self.fallback_reason) {
            writeln!(f, "  {remark}")?;
        }
        if self.degraded_reason == v1::DegradedReason::MedoidsNotInCatalog.as_str_name() {
            writeln!(
                f,
                "  degraded: the catalog lacks some of the user's medoids"
            )?;
        }
        if let Some(remark) = exhausted_remark(self.exhausted_reason) {
            writeln!(f, "  exhausted: {remark}")?;
        }
        self.write_unknown(f)?;
        if self.popularity_weight > 0.0 {
            let weight = self.popularity_weight;
            writeln!(f, "  ranked by score + {weight} * popularity of the pin")?;
        }
        Ok(())
    }

    /// Names the pins of the request that the catalog lacks.
    fn write_unknown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unknown_context_pin {
            writeln!(f, "  without its context: the catalog lacks the pin")?;
        }
        let unknown = IdOrKey::all(&self.unknown_seed_pin_ids, &self.unknown_seed_pin_keys);
        let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        writeln!(f, "  seeds that the catalog lacks: {}", unknown.join(", "))
    }

    fn write_medoids(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:>20}  {:>10} {:>11}  sampled interest",
            "", "importance", "probability"
        )?;
        let importances = self.medoids.iter().map(|medoid| medoid.importance);
        let max_importance = importances.fold(0.0, f64::max);
        for (index, medoid) in self.medoids.iter().enumerate() {
            let Medoid {
                importance,
                inclusion_probability: probability,
                ..
            } = medoid;
            let (letter, title) = (letter(index), display_title(&medoid.title));
            let pin = display_id(medoid.pin_id, &medoid.pin_key);
            if medoid.origin == v1::MedoidOrigin::Seed.as_str_name() {
                writeln!(
                    f,
                    "  {:>20}  {:>10} {:>11}  [{letter}] {pin} {title}",
                    "", "seed", ""
                )?;
                continue;
            }
            let bar = importance_bar(*importance, max_importance);
            writeln!(
                f,
                "  {bar}  {importance:>10.3} {probability:>11.3}  [{letter}] {pin} {title}"
            )?;
        }
        Ok(())
    }
}

/// A remark for a person on the fallback of this name, if there was one.
fn fallback_remark(reason: &str) -> Option<&'static str> {
    match v1::FallbackReason::from_str_name(reason)? {
        v1::FallbackReason::UnknownUser => Some("from popular interests: the user has no profile"),
        v1::FallbackReason::ProfileNotInCatalog => {
            Some("from popular interests: the catalog has none of the user's medoids")
        }
        v1::FallbackReason::RecentActionsOnly => {
            Some("from recent actions alone: the user has no profile")
        }
        v1::FallbackReason::NothingWanted => {
            Some("from popular interests: the user has turned against all others")
        }
        v1::FallbackReason::SeedsNotInCatalog => {
            Some("from popular interests: the catalog has none of the seeds")
        }
        v1::FallbackReason::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> v1::RecommendResponse {
        v1::RecommendResponse {
            seed: 9,
            medoids: vec![
                v1::SampledMedoid {
                    pin_id: 1,
                    importance: 4.0,
                    inclusion_probability: 0.5,
                    title: "tea".to_owned(),
                    ..Default::default()
                },
                v1::SampledMedoid {
                    pin_id: 2,
                    importance: 2.0,
                    ..Default::default()
                },
            ],
            candidates: vec![v1::Candidate {
                pin_id: 3,
                score: 0.75,
                medoid_index: 1,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_candidate_names_the_medoid_that_found_it() {
        let text = Recommendation::new(Some(&IdOrKey::Id(5)), response()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!(lines[0], "user 5: 1 candidates (seed 9)");
        assert!(lines[2].ends_with("4.000       0.500  [a] 1 tea"), "{text}");
        assert!(lines[3].ends_with("[b] 2 -"), "{text}");
        assert_eq!(lines[5], "      1   0.750  [b]   3 -");
    }

    #[test]
    fn a_page_has_a_number_and_says_what_is_special_about_it() {
        let page = PageOfSession {
            number: 2,
            is_last_page: true,
            versions_changed: true,
        };
        let page = Recommendation {
            page: Some(page),
            ..Recommendation::new(Some(&IdOrKey::Id(5)), response())
        };
        let text = page.to_string();
        let expected = "user 5, page 2: 1 candidates (seed 9)\n  \
                        the last page\n  \
                        of other versions of catalog or profiles than the page before\n";
        assert!(text.starts_with(expected), "{text}");
        let json = serde_json::to_string(&page).expect("JSON");
        let expected =
            r#"{"user_id":5,"page":2,"is_last_page":true,"versions_changed":true,"seed":9,"#;
        assert!(json.starts_with(expected), "{json}");
        let json = serde_json::to_string(&Recommendation::new(None, response())).expect("JSON");
        assert!(json.starts_with(r#"{"seed":9,"#), "{json}");
    }

    #[test]
    fn remarks_say_why_an_answer_is_not_the_usual_one() {
        let mut response = response();
        response.set_fallback_reason(v1::FallbackReason::UnknownUser);
        response.set_degraded_reason(v1::DegradedReason::MedoidsNotInCatalog);
        response.popularity_weight = 0.5;
        response.surface = "homefeed".to_owned();
        let text = Recommendation::new(Some(&IdOrKey::Id(5)), response).to_string();
        for remark in [
            "  surface homefeed\n",
            "  from popular interests: the user has no profile\n",
            "  degraded: the catalog lacks some of the user's medoids\n",
            "  ranked by score + 0.5 * popularity of the pin\n",
        ] {
            assert!(text.contains(remark), "{text}");
        }
    }

    #[test]
    fn seeds_stand_beside_medoids_and_unknown_ones_are_named() {
        let mut response = response();
        response.medoids[0].set_origin(v1::MedoidOrigin::Seed);
        response.unknown_context_pin = true;
        response.unknown_seed_pin_ids = vec![7];
        response.unknown_seed_pin_keys = vec!["tea\n".to_owned()];
        let recommendation = Recommendation::new(None, response);
        let text = recommendation.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "nobody: 1 candidates (seed 9)");
        assert_eq!(lines[1], "  without its context: the catalog lacks the pin");
        assert_eq!(lines[2], r"  seeds that the catalog lacks: 7, tea\n");
        let seed = lines[4].trim();
        assert!(
            seed.starts_with("seed ") && seed.ends_with("[a] 1 tea"),
            "{text}"
        );
        let json = serde_json::to_string(&recommendation).expect("JSON");
        assert!(json.starts_with(r#"{"seed":9,"#), "{json}");
        assert!(json.contains(r#""unknown_seed_pin_ids":[7]"#), "{json}");
    }

    #[test]
    fn keys_stand_in_place_of_ids_and_beside_them_in_json() {
        let json = |user: &IdOrKey, response| {
            serde_json::to_string(&Recommendation::new(Some(user), response)).expect("JSON")
        };
        let numbers = json(&IdOrKey::Id(5), response());
        assert!(!numbers.contains("_key"), "{numbers}");
        let mut response = response();
        response.medoids[0].pin_key = "tea-1".to_owned();
        response.candidates[0].pin_key = "tea\u{1b}2".to_owned();
        let user = IdOrKey::Key("user-1".to_owned());
        let text = Recommendation::new(Some(&user), response.clone()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "user user-1: 1 candidates (seed 9)");
        assert!(lines[2].ends_with("[a] tea-1 tea"), "{text}");
        assert_eq!(lines[5], r"      1   0.750  [b]   tea\u{1b}2 -");
        let json = json(&user, response);
        let id = user.id();
        let user = format!(r#"{{"user_id":{id},"user_key":"user-1","seed":9"#);
        assert!(json.starts_with(&user), "{json}");
        for pin in [
            r#""pin_id":1,"pin_key":"tea-1""#,
            r#""pin_id":3,"pin_key":"tea"#,
        ] {
            assert!(json.contains(pin), "{json}");
        }
        assert_eq!(json.matches("pin_key").count(), 2, "{json}");
    }
}
