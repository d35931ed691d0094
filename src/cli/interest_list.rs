//! Interests of a user as a server tells them, and their printed forms.

use std::fmt;

use serde::Serialize;

use super::client::{ServerArgs, display_title, status_error};
use super::id_or_key::{IdOrKey, display_id};
use super::importance_bar::importance_bar;
use super::times::format_time;
use crate::wire::v1;

/// The interests of a user; its fields are those of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct InterestList {
    user_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_key: String,
    fallback_reason: &'static str,
    as_of: String,
    catalog_version: String,
    profile_version: String,
    interests: Vec<Interest>,
}

#[derive(Debug, Serialize)]
struct Interest {
    pin_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pin_key: String,
    title: String,
    importance: f64,
    size: u32,
    last_action_time: String,
    in_catalog: bool,
    origin: &'static str,
    profile_clusters: u32,
    recent_actions: u32,
    negative_actions: u32,
    silenced: bool,
}

/// Fetches the interests of `user` from a server.
pub(super) async fn fetch(user: &IdOrKey, server: &ServerArgs) -> anyhow::Result<InterestList> {
    let (user_id, user_key) = user.fields();
    let request = v1::ExplainUserRequest { user_id, user_key };
    let response = server
        .connect()
        .await?
        .explain_user(request)
        .await
        .map_err(|status| status_error(&status))?;
    Ok(InterestList::new(user, response.into_inner()))
}

impl InterestList {
    fn new(user: &IdOrKey, response: v1::ExplainUserResponse) -> Self {
        let fallback_reason = response.fallback_reason().as_str_name();
        let interests = response.interests.into_iter();
        Self {
            user_id: user.id(),
            user_key: user.key().to_owned(),
            fallback_reason,
            interests: interests.map(Interest::from).collect(),
            as_of: format_time(response.as_of),
            catalog_version: response.catalog_version,
            profile_version: response.profile_version,
        }
    }
}

impl Interest {
    /// Remarks for a person beside the figures.
    fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        match (self.recent_actions, self.profile_clusters) {
            (0, _) => {}
            (_, 0) => remarks.push("new since the batch".to_owned()),
            (recent, _) => remarks.push(format!("{recent} since the batch")),
        }
        if self.negative_actions > 0 {
            remarks.push(format!("lowered by {}", self.negative_actions));
        }
        if self.silenced {
            remarks.push("silenced".to_owned());
        }
        if !self.in_catalog {
            remarks.push("no longer in the catalog".to_owned());
        }
        if remarks.is_empty() {
            return String::new();
        }
        format!(" ({})", remarks.join(", "))
    }
}

impl From<v1::Interest> for Interest {
    fn from(interest: v1::Interest) -> Self {
        Self {
            pin_id: interest.pin_id,
            origin: interest.origin().as_str_name(),
            pin_key: interest.pin_key,
            title: interest.title,
            importance: interest.importance,
            size: interest.size,
            last_action_time: format_time(interest.last_action_time),
            in_catalog: interest.in_catalog,
            profile_clusters: interest.profile_clusters,
            recent_actions: interest.recent_actions,
            negative_actions: interest.negative_actions,
            silenced: interest.silenced,
        }
    }
}

impl fmt::Display for InterestList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_unknown = self.fallback_reason == v1::FallbackReason::UnknownUser.as_str_name();
        let whose = if is_unknown {
            "popular interests (the user has none)"
        } else {
            "interests"
        };
        let user = display_id(self.user_id, &self.user_key);
        let (count, as_of) = (self.interests.len(), &self.as_of);
        writeln!(f, "user {user}: {count} {whose} as of {as_of}")?;
        write!(
            f,
            "  {:>20}  {:>10} {:>7}  last touched  pin",
            "", "importance", "actions"
        )?;
        let max_importance = self.interests.first().map_or(1.0, |first| first.importance);
        self.interests
            .iter()
            .try_for_each(|interest| interest.write_row(f, max_importance))
    }
}

impl Interest {
    fn write_row(&self, f: &mut fmt::Formatter<'_>, max_importance: f64) -> fmt::Result {
        let Self {
            importance,
            size,
            last_action_time,
            ..
        } = self;
        let day = last_action_time.get(..10).unwrap_or(last_action_time);
        let bar = importance_bar(*importance, max_importance);
        let pin = display_id(self.pin_id, &self.pin_key);
        let (title, remarks) = (display_title(&self.title), self.remarks());
        write!(
            f,
            "\n  {bar}  {importance:>10.3} {size:>7}  {day:<12}  {pin} {title}{remarks}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest() -> v1::Interest {
        v1::Interest {
            pin_id: 7,
            title: "tea".to_owned(),
            importance: 2.0,
            size: 5,
            last_action_time: Some(prost_types::Timestamp {
                seconds: 86_400,
                nanos: 0,
            }),
            in_catalog: true,
            profile_clusters: 1,
            ..Default::default()
        }
    }

    #[test]
    fn a_row_has_the_figures_and_the_remarks_of_an_interest() {
        let mut lowered = interest();
        lowered.importance = 1.0;
        lowered.recent_actions = 2;
        lowered.negative_actions = 3;
        lowered.silenced = true;
        lowered.in_catalog = false;
        let response = v1::ExplainUserResponse {
            interests: vec![interest(), lowered],
            ..Default::default()
        };
        let text = InterestList::new(&IdOrKey::Id(4), response).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "user 4: 2 interests as of ");
        assert!(
            lines[2].contains("2.000       5  1970-01-02    7 tea"),
            "{text}"
        );
        assert!(lines[2].ends_with("tea"), "{text}");
        let remarks = "(2 since the batch, lowered by 3, silenced, no longer in the catalog)";
        assert!(lines[3].ends_with(remarks), "{text}");
    }

    #[test]
    fn popular_interests_are_called_so() {
        let response = v1::ExplainUserResponse {
            fallback_reason: v1::FallbackReason::UnknownUser.into(),
            ..Default::default()
        };
        let text = InterestList::new(&IdOrKey::Id(4), response).to_string();
        assert!(text.starts_with("user 4: 0 popular interests"), "{text}");
    }

    #[test]
    fn keys_stand_in_place_of_ids_and_beside_them_in_json() {
        let list = |user: &IdOrKey, pin_key: &str| {
            let interest = v1::Interest {
                pin_key: pin_key.to_owned(),
                ..interest()
            };
            let response = v1::ExplainUserResponse {
                interests: vec![interest],
                ..Default::default()
            };
            InterestList::new(user, response)
        };
        let json = |list: &InterestList| serde_json::to_string(list).expect("JSON");
        let numbers = json(&list(&IdOrKey::Id(4), ""));
        assert!(!numbers.contains("_key"), "{numbers}");
        let user = IdOrKey::Key("user\n1".to_owned());
        let keys = list(&user, "tea-1");
        let text = keys.to_string();
        assert!(text.starts_with(r"user user\n1: 1 interests"), "{text}");
        assert!(text.ends_with("1970-01-02    tea-1 tea"), "{text}");
        let (json, id) = (json(&keys), user.id());
        let user = format!(r#"{{"user_id":{id},"user_key":"user\n1","fallback"#);
        assert!(json.starts_with(&user), "{json}");
        assert!(
            json.contains(r#""pin_id":7,"pin_key":"tea-1","title""#),
            "{json}"
        );
    }
}
