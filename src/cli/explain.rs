//! `pinnersage explain`.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::bar::bar;
use super::client::{ServerArgs, title, told};
use super::out;
use crate::model::Timestamp;
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The user.
    #[arg(long, value_name = "ID")]
    user: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The printed form of the answer.
#[derive(Serialize)]
struct Explained {
    user_id: u64,
    fallback_reason: &'static str,
    as_of: String,
    catalog_version: String,
    profile_version: String,
    interests: Vec<Interest>,
}

#[derive(Serialize)]
struct Interest {
    pin_id: u64,
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

impl Interest {
    /// What a person should know of it beside the figures.
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
        match remarks.is_empty() {
            true => String::new(),
            false => format!(" ({})", remarks.join(", ")),
        }
    }
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let explained = ask(args.user, &args.server).await?;
        match args.json {
            true => out::print(&serde_json::to_string_pretty(&explained)?),
            false => out::print(&explained),
        }
    })
}

/// Asks for the interests of a user and prints them for a person.
pub(super) async fn show(user: u64, server: &ServerArgs) -> anyhow::Result<()> {
    out::print(&ask(user, server).await?)
}

async fn ask(user: u64, server: &ServerArgs) -> anyhow::Result<Explained> {
    let request = v1::ExplainUserRequest {
        user_id: Some(user),
    };
    let answer = server
        .connect()
        .await?
        .explain_user(request)
        .await
        .map_err(|status| told(&status))?;
    let answer = answer.into_inner();
    Ok(Explained {
        user_id: user,
        fallback_reason: answer.fallback_reason().as_str_name(),
        as_of: written(answer.as_of),
        interests: answer.interests.into_iter().map(Interest::from).collect(),
        catalog_version: answer.catalog_version,
        profile_version: answer.profile_version,
    })
}

impl From<v1::Interest> for Interest {
    fn from(interest: v1::Interest) -> Self {
        Self {
            pin_id: interest.pin_id,
            origin: interest.origin().as_str_name(),
            title: interest.title,
            importance: interest.importance,
            size: interest.size,
            last_action_time: written(interest.last_action_time),
            in_catalog: interest.in_catalog,
            profile_clusters: interest.profile_clusters,
            recent_actions: interest.recent_actions,
            negative_actions: interest.negative_actions,
            silenced: interest.silenced,
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = self.fallback_reason == v1::FallbackReason::UnknownUser.as_str_name();
        let whose = match unknown {
            true => "popular interests (the user has none)",
            false => "interests",
        };
        let (user, count, as_of) = (self.user_id, self.interests.len(), &self.as_of);
        writeln!(f, "user {user}: {count} {whose} as of {as_of}")?;
        write!(
            f,
            "  {:>20}  {:>10} {:>7}  last touched  pin",
            "", "importance", "actions"
        )?;
        let greatest = self.interests.first().map_or(1.0, |first| first.importance);
        for interest in &self.interests {
            let Interest {
                pin_id,
                title: name,
                importance,
                size,
                last_action_time,
                ..
            } = interest;
            let day = last_action_time.get(..10).unwrap_or(last_action_time);
            let bar = bar(*importance, greatest);
            let remarks = interest.remarks();
            let name = title(name);
            write!(
                f,
                "\n  {bar}  {importance:>10.3} {size:>7}  {day:<12}  {pin_id} {name}{remarks}"
            )?;
        }
        Ok(())
    }
}

fn written(time: Option<prost_types::Timestamp>) -> String {
    let micros = |time: prost_types::Timestamp| {
        let seconds = time.seconds.saturating_mul(1_000_000);
        Timestamp::from_micros(seconds.saturating_add(i64::from(time.nanos) / 1_000)).to_string()
    };
    time.map(micros).unwrap_or_default()
}
