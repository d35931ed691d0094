//! Building a catalog, profiles and neighbor lists, each with a summary for a person.
//! Shared by the commands that build and by `demo`.

use std::path::{Path, PathBuf};

use super::output;
use crate::batch::{
    CatalogParams, NeighborCounts, ProfileInput, ProfileParams, build_catalog, build_neighbors,
    build_profiles,
};
use crate::index::{AttributeFacts, CatalogManifest, NeighborParams};
use crate::model::MAX_TITLE;
use crate::progress::Progress;
use crate::setting_rules::in_days;
use crate::snapshot::SnapshotManifest;
use crate::store::{ActionCounts, ErasedThrough, ProfileManifest};
use crate::terminal::printable;

/// Builds a catalog from files of `pins` as the current version of `root`.
pub(super) fn catalog(
    pins: &[PathBuf],
    root: &Path,
    params: &CatalogParams,
    progress: Progress,
) -> anyhow::Result<()> {
    let manifest = build_catalog(pins, root, params, progress)?;
    output::print(&catalog_summary(&manifest, root))
}

/// Builds profiles from `input` as the current version of `root`.
pub(super) fn profiles(
    input: &ProfileInput<'_>,
    root: &Path,
    params: &ProfileParams,
    progress: Progress,
) -> anyhow::Result<()> {
    let manifest = build_profiles(input, root, params, progress)?;
    warn_of_duplicates(&manifest.facts.actions);
    warn_of_lag(&manifest.facts, params);
    output::print(&profiles_summary(&manifest, root, input))
}

/// Makes the neighbor lists of medoids that are missing.
pub(super) fn neighbor_lists(
    catalog: &Path,
    profiles: &Path,
    params: NeighborParams,
    progress: Progress,
) -> anyhow::Result<()> {
    let NeighborCounts {
        medoid_pins,
        kept,
        made,
        over_budget,
    } = build_neighbors(catalog, profiles, params, progress)?;
    output::print(&format!(
        "neighbor lists of {medoid_pins} medoid pins: {made} made, {kept} were there, \
         {over_budget} left out (neighbors.budget is {})",
        params.budget
    ))
}

fn catalog_summary(manifest: &SnapshotManifest<CatalogManifest>, root: &Path) -> String {
    let SnapshotManifest { version, facts, .. } = manifest;
    let CatalogManifest {
        embedding_version,
        dimension,
        read,
        bad,
        cut_titles,
        low_quality,
        near_duplicates,
        upserted,
        deleted,
        string_ids,
        pins,
        nodes,
        attributes,
        ..
    } = facts;
    let strings = note_of_strings(*string_ids);
    let attributes: String = attributes.iter().map(attribute_summary).collect();
    format!(
        "catalog {version}, embedding version {embedding_version}, in {}
  {read} pins read
  {bad} left out: bad rows
  {cut_titles} titles cut to {MAX_TITLE} bytes
  {low_quality} dropped: quality too low
  {near_duplicates} dropped: near-duplicates of a better pin
  {upserted} came or changed on a server, {deleted} went
  {pins} pins indexed{strings}: {nodes} distinct vectors of {dimension} dimensions{attributes}",
        root.display()
    )
}

/// A line on one attribute of a catalog.
fn attribute_summary(facts: &AttributeFacts) -> String {
    let AttributeFacts {
        name,
        kind,
        pins,
        words,
    } = facts;
    // The name is that of a column, which may be anything.
    let name = printable(name);
    let words = match kind.has_words() {
        true => format!(", {words} different words"),
        false => String::new(),
    };
    format!("\n  attribute {name} ({kind}): {pins} pins have it{words}")
}

/// What follows the number of pins or users who are called by strings.
fn note_of_strings(are_strings: bool) -> &'static str {
    if are_strings {
        ", called by strings"
    } else {
        ""
    }
}

fn profiles_summary(
    manifest: &SnapshotManifest<ProfileManifest>,
    root: &Path,
    input: &ProfileInput<'_>,
) -> String {
    let SnapshotManifest { version, facts, .. } = manifest;
    let ProfileManifest {
        as_of,
        actions,
        string_user_ids,
        users,
        medoids,
        ..
    } = facts;
    let mut lines = vec![
        format!("profiles {version} as of {as_of}, in {}", root.display()),
        format!("{} actions read{}", actions.read(), range_of_actions(facts)),
        format!("complete through {}", facts.complete_through),
    ];
    lines.extend(statements_of_erasure(&facts.erased_through));
    lines.extend(refusals(facts, actions));
    // Also none: the users of the list may be called otherwise than in the input.
    if input.erased_users.is_some() {
        lines.push(format!("{} left out: of erased users", actions.erased));
    }
    lines.push(format!("{} left out: bad rows", actions.bad));
    lines.push(format!(
        "{} left out: they say that a pin was shown",
        actions.impressions
    ));
    lines.push(format!(
        "{} left out: they repeat another action",
        actions.duplicates
    ));
    lines.push(format!(
        "{} cut: beyond the {} most recent of a user",
        actions.cut, facts.max_actions
    ));
    lines.push(format!("{} clustered", actions.used));
    lines.push(format!(
        "{} negative: they hide pins and lower interests",
        actions.negative
    ));
    let medoids_per_user = *medoids as f64 / (*users).max(1) as f64;
    let strings = note_of_strings(*string_user_ids);
    lines.push(format!(
        "{users} users{strings}, {medoids} medoids, {medoids_per_user:.1} a user"
    ));
    lines.join("\n  ")
}

/// A line for each statement that the input is free of erased users.
fn statements_of_erasure(erased_through: &ErasedThrough) -> Vec<String> {
    let ErasedThrough { stated, by_log } = erased_through;
    let stated = stated.map(|time| format!("free of users erased up to {time}, as stated"));
    let by_log = by_log
        .iter()
        .map(|(log, time)| format!("free of users erased up to {time} from the log {log}"));
    stated.into_iter().chain(by_log).collect()
}

/// The times between which the actions of the input lie.
fn range_of_actions(facts: &ProfileManifest) -> String {
    match (facts.oldest_action, facts.newest_action) {
        (Some(oldest), Some(newest)) => format!(", from {oldest} to {newest}"),
        _ => String::new(),
    }
}

/// Warns of an input that ends so early that the server's log has to stand in for it.
fn warn_of_lag(facts: &ProfileManifest, params: &ProfileParams) {
    let ProfileManifest {
        as_of,
        complete_through,
        ..
    } = facts;
    let lag_days = as_of.days_since(*complete_through);
    if lag_days > in_days(params.max_input_lag) {
        let hours = 24.0 * lag_days;
        output::warn(&format!(
            "the input ends at {complete_through}, {hours:.1} hours before --as-of {as_of}. \
             Actions since then are folded in from the server's log: keep actions.retention \
             longer than that"
        ));
    }
}

fn warn_of_duplicates(actions: &ActionCounts) {
    let ActionCounts { duplicates, .. } = actions;
    if *duplicates > 0 {
        let read = actions.read();
        output::warn(&format!(
            "{duplicates} of {read} actions repeat another one and were left out; \
             --duplicates keep counts every row"
        ));
    }
}

/// A line for each reason why actions were refused.
fn refusals(facts: &ProfileManifest, actions: &ActionCounts) -> Vec<String> {
    let ProfileManifest {
        as_of, window_days, ..
    } = facts;
    let mut lines = vec![
        format!("{} refused: pin not in the catalog", actions.unknown_pin),
        format!(
            "{} refused: before the window of {window_days} days",
            actions.before_window
        ),
        format!("{} refused: at or after {as_of}", actions.after_as_of),
    ];
    for (name, count) in &actions.unknown_action {
        lines.push(format!("{count} refused: action {name:?} has no weight"));
    }
    let unlisted = actions.unknown_action_unlisted;
    if unlisted > 0 {
        lines.push(format!(
            "{unlisted} refused: actions of yet other names have no weight"
        ));
    }
    lines
}
