//! `pinnersage versions`, `load` and `rollback`: the versions of a running server, and
//! changes of them.

use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::client::{ServerArgs, status_error};
use super::output;
use super::runtime::block_on;
use super::status::format_versions;
use super::table::TextTable;
use super::times::format_time;
use crate::wire::v1;

/// How long to wait for a change: a large catalog is read and checked first.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(super) struct VersionsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).multiple(true))]
pub(super) struct LoadArgs {
    /// Version of the catalog to serve [default: the one that is served].
    #[arg(long, value_name = "VERSION", group = "target")]
    catalog: Option<String>,
    /// Version of the profiles to serve [default: the one that is served].
    #[arg(long, value_name = "VERSION", group = "target")]
    profiles: Option<String>,
    /// Serve what is published, now and from now on.
    #[arg(long, group = "target", conflicts_with_all = ["catalog", "profiles"])]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// What a server did with a change.
struct Change {
    serving: Option<v1::Versions>,
    survives_restart: bool,
}

/// Prints all versions of a server.
pub(super) fn list(args: &VersionsArgs) -> anyhow::Result<()> {
    let listed = block_on(async {
        let mut client = args.server.connect_for_admin().await?;
        let listed = client.list_versions(v1::ListVersionsRequest {}).await;
        let listed = listed.map_err(|status| status_error(&status))?;
        Ok(listed.into_inner())
    })?;
    if args.json {
        return output::print_json(&serde_json::to_string_pretty(&VersionsJson::from(listed))?);
    }
    output::print(&catalog_table(&listed.catalogs))?;
    output::print(&"")?;
    output::print(&profile_table(&listed.profiles))
}

/// Serves other versions, or follows what is published.
pub(super) fn load(args: LoadArgs) -> anyhow::Result<()> {
    let is_followed = args.follow;
    let change = block_on(async {
        let mut client = args.server.connect_for_admin_within(CHANGE_TIMEOUT).await?;
        if is_followed {
            let followed = client.follow_versions(v1::FollowVersionsRequest {}).await;
            let followed = followed.map_err(|status| status_error(&status))?;
            return Ok(Change::from(followed.into_inner()));
        }
        let versions = v1::Versions {
            catalog_version: args.catalog.unwrap_or_default(),
            profile_version: args.profiles.unwrap_or_default(),
        };
        let request = v1::LoadVersionsRequest {
            versions: Some(versions),
        };
        let loaded = client.load_versions(request).await;
        let loaded = loaded.map_err(|status| status_error(&status))?;
        Ok(Change::from(loaded.into_inner()))
    })?;
    if is_followed {
        report_following(&change)
    } else {
        report_pinned(&change)
    }
}

/// Serves what was served before.
pub(super) fn roll_back(args: &RollbackArgs) -> anyhow::Result<()> {
    let change = block_on(async {
        let mut client = args.server.connect_for_admin_within(CHANGE_TIMEOUT).await?;
        let rolled_back = client.rollback(v1::RollbackRequest {}).await;
        let rolled_back = rolled_back.map_err(|status| status_error(&status))?;
        Ok(Change::from(rolled_back.into_inner()))
    })?;
    report_pinned(&change)
}

fn report_pinned(change: &Change) -> anyhow::Result<()> {
    report(change, "pinned: it stays until `pinnersage load --follow`")?;
    if change.survives_restart {
        return Ok(());
    }
    output::print(&"the server has nowhere to keep that: it ends with a restart")
}

fn report_following(change: &Change) -> anyhow::Result<()> {
    report(change, "following what is published")?;
    if change.survives_restart {
        return Ok(());
    }
    output::print(&"the server could not write that down: a restart pins the versions again")
}

fn report(change: &Change, remark: &str) -> anyhow::Result<()> {
    output::print(&format!(
        "serving {}",
        format_versions(change.serving.as_ref())
    ))?;
    output::print(&remark)
}

fn catalog_table(catalogs: &[v1::CatalogDetails]) -> TextTable {
    let names = ["catalog", "published", "pins", "size", "model", "use"];
    let mut table = TextTable::new(&names);
    for catalog in catalogs {
        let uses = format_uses(catalog.uses(), &catalog.unreadable);
        table.push([
            catalog.version.clone(),
            format_second(catalog.published_time),
            catalog.pins.to_string(),
            format_size(catalog.size_bytes),
            catalog.embedding_version.clone(),
            uses,
        ]);
    }
    table
}

fn profile_table(profiles: &[v1::ProfileDetails]) -> TextTable {
    let names = [
        "profiles",
        "published",
        "as of",
        "complete through",
        "users",
        "size",
        "made from catalog",
        "use",
    ];
    let mut table = TextTable::new(&names);
    for profiles in profiles {
        table.push([
            profiles.version.clone(),
            format_second(profiles.published_time),
            format_second(profiles.as_of),
            format_second(profiles.complete_through),
            profiles.users.to_string(),
            format_size(profiles.size_bytes),
            profiles.catalog_version.clone(),
            format_uses(profiles.uses(), &profiles.unreadable),
        ]);
    }
    table
}

/// What a version is to the server, and why it cannot be read.
fn format_uses(uses: impl Iterator<Item = v1::VersionUse>, unreadable: &str) -> String {
    let mut words: Vec<String> = use_names(uses)
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    if !unreadable.is_empty() {
        words.push(format!("unreadable: {unreadable}"));
    }
    words.join(", ")
}

fn use_names(uses: impl Iterator<Item = v1::VersionUse>) -> Vec<&'static str> {
    let name = |one: v1::VersionUse| one.as_str_name().trim_start_matches("VERSION_USE_");
    uses.map(name).collect()
}

fn format_second(time: Option<prost_types::Timestamp>) -> String {
    format_time(time.map(|time| prost_types::Timestamp { nanos: 0, ..time }))
}

fn format_size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

impl From<v1::LoadVersionsResponse> for Change {
    fn from(response: v1::LoadVersionsResponse) -> Self {
        Self {
            serving: response.serving,
            survives_restart: response.survives_restart,
        }
    }
}

impl From<v1::RollbackResponse> for Change {
    fn from(response: v1::RollbackResponse) -> Self {
        Self {
            serving: response.serving,
            survives_restart: response.survives_restart,
        }
    }
}

impl From<v1::FollowVersionsResponse> for Change {
    fn from(response: v1::FollowVersionsResponse) -> Self {
        Self {
            serving: response.serving,
            survives_restart: response.survives_restart,
        }
    }
}

/// All versions, for programs.
#[derive(Debug, Serialize)]
struct VersionsJson {
    catalogs: Vec<CatalogJson>,
    profiles: Vec<ProfileJson>,
}

#[derive(Debug, Serialize)]
struct CatalogJson {
    version: String,
    uses: Vec<&'static str>,
    unreadable: String,
    published_time: String,
    size_bytes: u64,
    embedding_version: String,
    pins: u64,
}

#[derive(Debug, Serialize)]
struct ProfileJson {
    version: String,
    uses: Vec<&'static str>,
    unreadable: String,
    published_time: String,
    size_bytes: u64,
    embedding_version: String,
    users: u64,
    as_of: String,
    complete_through: String,
    catalog_version: String,
}

impl From<v1::ListVersionsResponse> for VersionsJson {
    fn from(listed: v1::ListVersionsResponse) -> Self {
        let catalogs = listed.catalogs.into_iter().map(|catalog| CatalogJson {
            uses: use_names(catalog.uses()),
            version: catalog.version,
            unreadable: catalog.unreadable,
            published_time: format_time(catalog.published_time),
            size_bytes: catalog.size_bytes,
            embedding_version: catalog.embedding_version,
            pins: catalog.pins,
        });
        let profiles = listed.profiles.into_iter().map(|profiles| ProfileJson {
            uses: use_names(profiles.uses()),
            version: profiles.version,
            unreadable: profiles.unreadable,
            published_time: format_time(profiles.published_time),
            size_bytes: profiles.size_bytes,
            embedding_version: profiles.embedding_version,
            users: profiles.users,
            as_of: format_time(profiles.as_of),
            complete_through: format_time(profiles.complete_through),
            catalog_version: profiles.catalog_version,
        });
        Self {
            catalogs: catalogs.collect(),
            profiles: profiles.collect(),
        }
    }
}
