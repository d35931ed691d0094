//! `pinnersage status`: what a running server serves, and why that.

use clap::Args;
use serde::Serialize;

use super::client::{ServerArgs, status_error};
use super::clock::now;
use super::output;
use super::runtime::block_on;
use super::table::TextTable;
use super::times::{format_time, format_with_age};
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let status = block_on(fetch(&args.server))?;
    if args.json {
        output::print_json(&serde_json::to_string_pretty(&StatusJson::from(status))?)
    } else {
        output::print(&status_table(&status))
    }
}

async fn fetch(server: &ServerArgs) -> anyhow::Result<v1::GetStatusResponse> {
    let mut client = server.connect_for_admin().await?;
    let status = client.get_status(v1::GetStatusRequest {}).await;
    let status = status.map_err(|status| status_error(&status))?;
    Ok(status.into_inner())
}

/// The status for people; what there is nothing of is left out.
fn status_table(status: &v1::GetStatusResponse) -> TextTable {
    let now = now();
    let mut table = TextTable::default();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            table.push([name.to_owned(), value]);
        }
    };
    row("serving", format_versions(status.serving.as_ref()));
    row("since", format_with_age(status.since, now));
    row("pins", status.pins.to_string());
    row("profiles", status.profiles.to_string());
    row("as of", format_with_age(status.as_of, now));
    row(
        "complete through",
        format_with_age(status.complete_through, now),
    );
    row("versions", mode_text(status));
    row("pinned since", format_with_age(status.pinned_since, now));
    row("published", format_versions(status.published.as_ref()));
    row("waiting", format_versions(status.waiting.as_ref()));
    row("previous", format_versions(status.previous.as_ref()));
    if let Some(refused) = &status.refused {
        row("refused", format_versions(refused.versions.as_ref()));
        row("refused at", format_with_age(refused.time, now));
        row("reason", refused.reason.clone());
    }
    row("takes actions", yes_or_no(status.takes_actions));
    if let Some(log) = &status.action_log {
        row("action log", log_text(log));
        row("log failure", log.failure.clone());
    }
    table
}

/// Whether published versions are taken over, in words.
fn mode_text(status: &v1::GetStatusResponse) -> String {
    let mode = match status.version_mode() {
        v1::VersionMode::Following => "following what is published",
        v1::VersionMode::Pinned => "pinned until `pinnersage load --follow`",
        v1::VersionMode::Fixed => "fixed by the command line of the server",
        v1::VersionMode::Unspecified => return String::new(),
    };
    if status.survives_restart {
        mode.to_owned()
    } else {
        format!("{mode}, or a restart of the server")
    }
}

/// What keeps actions, and how far it is read, in words.
fn log_text(log: &v1::ActionLogStatus) -> String {
    let mut text = match log.kind() {
        v1::ActionLogKind::Embedded => "embedded",
        v1::ActionLogKind::Shared => "shared",
        v1::ActionLogKind::Unspecified => "not stated",
    }
    .to_owned();
    text += if log.is_writable {
        ", writable"
    } else {
        ", not writable"
    };
    if log.kind() == v1::ActionLogKind::Shared {
        text += if log.is_ready {
            ", ready"
        } else {
            ", not ready"
        };
        text += &match (log.lag_messages, log.lag_seconds) {
            (Some(0), _) => ", read to its end".to_owned(),
            (Some(messages), Some(seconds)) => {
                format!(", {messages} messages and {seconds:.1} s behind")
            }
            _ => ", its end is not known yet".to_owned(),
        };
    }
    text
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// Both versions on one line; empty where there are none.
pub(super) fn format_versions(versions: Option<&v1::Versions>) -> String {
    let format = |versions: &v1::Versions| {
        let (catalog, profiles) = (&versions.catalog_version, &versions.profile_version);
        format!("catalog {catalog}, profiles {profiles}")
    };
    versions.map(format).unwrap_or_default()
}

/// The status for programs.
#[derive(Debug, Serialize)]
struct StatusJson {
    serving: Option<VersionsJson>,
    since: String,
    pins: u64,
    profiles: u64,
    as_of: String,
    complete_through: String,
    version_mode: &'static str,
    pinned_since: String,
    survives_restart: bool,
    published: Option<VersionsJson>,
    waiting: Option<VersionsJson>,
    previous: Option<VersionsJson>,
    refused: Option<RefusedJson>,
    takes_actions: bool,
    action_log: Option<ActionLogJson>,
}

#[derive(Debug, Serialize)]
struct ActionLogJson {
    kind: &'static str,
    is_writable: bool,
    failure: String,
    is_ready: bool,
    lag_messages: Option<u64>,
    lag_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct VersionsJson {
    catalog_version: String,
    profile_version: String,
}

#[derive(Debug, Serialize)]
struct RefusedJson {
    versions: Option<VersionsJson>,
    reason: String,
    time: String,
}

impl From<v1::GetStatusResponse> for StatusJson {
    fn from(status: v1::GetStatusResponse) -> Self {
        let versions = |versions: Option<v1::Versions>| versions.map(VersionsJson::from);
        Self {
            version_mode: status.version_mode().as_str_name(),
            serving: versions(status.serving),
            since: format_time(status.since),
            pins: status.pins,
            profiles: status.profiles,
            as_of: format_time(status.as_of),
            complete_through: format_time(status.complete_through),
            pinned_since: format_time(status.pinned_since),
            survives_restart: status.survives_restart,
            published: versions(status.published),
            waiting: versions(status.waiting),
            previous: versions(status.previous),
            refused: status.refused.map(|refused| RefusedJson {
                versions: versions(refused.versions),
                reason: refused.reason,
                time: format_time(refused.time),
            }),
            takes_actions: status.takes_actions,
            action_log: status.action_log.map(ActionLogJson::from),
        }
    }
}

impl From<v1::ActionLogStatus> for ActionLogJson {
    fn from(log: v1::ActionLogStatus) -> Self {
        Self {
            kind: log.kind().as_str_name(),
            is_writable: log.is_writable,
            failure: log.failure,
            is_ready: log.is_ready,
            lag_messages: log.lag_messages,
            lag_seconds: log.lag_seconds,
        }
    }
}

impl From<v1::Versions> for VersionsJson {
    fn from(versions: v1::Versions) -> Self {
        Self {
            catalog_version: versions.catalog_version,
            profile_version: versions.profile_version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(profiles: &str) -> Option<v1::Versions> {
        Some(v1::Versions {
            catalog_version: "c".to_owned(),
            profile_version: profiles.to_owned(),
        })
    }

    #[test]
    fn the_log_is_told_with_what_applies_to_its_kind() {
        let mut log = v1::ActionLogStatus {
            kind: v1::ActionLogKind::Embedded.into(),
            is_writable: true,
            is_ready: true,
            ..Default::default()
        };
        assert_eq!(log_text(&log), "embedded, writable");
        log.kind = v1::ActionLogKind::Shared.into();
        (log.lag_messages, log.lag_seconds) = (Some(0), Some(0.0));
        assert_eq!(log_text(&log), "shared, writable, ready, read to its end");
        (log.lag_messages, log.lag_seconds) = (Some(7), Some(1.25));
        (log.is_writable, log.is_ready) = (false, false);
        let expected = "shared, not writable, not ready, 7 messages and 1.2 s behind";
        assert_eq!(log_text(&log), expected);
        log.lag_messages = None;
        assert!(log_text(&log).ends_with("its end is not known yet"));
    }

    #[test]
    fn a_status_shows_what_there_is_and_leaves_out_the_rest() {
        let mut status = v1::GetStatusResponse {
            serving: versions("a"),
            pins: 7,
            version_mode: v1::VersionMode::Following.into(),
            survives_restart: true,
            ..Default::default()
        };
        let text = status_table(&status).to_string();
        assert!(
            text.starts_with("serving        catalog c, profiles a\n"),
            "{text}"
        );
        assert!(
            text.contains("versions       following what is published\n"),
            "{text}"
        );
        assert!(
            !text.contains("waiting") && !text.contains("refused"),
            "{text}"
        );
        status.version_mode = v1::VersionMode::Pinned.into();
        status.survives_restart = false;
        status.waiting = versions("b");
        let text = status_table(&status).to_string();
        let mode = "pinned until `pinnersage load --follow`, or a restart of the server";
        assert!(text.contains(mode), "{text}");
        assert!(
            text.contains("waiting        catalog c, profiles b\n"),
            "{text}"
        );
    }
}
