//! Settings: the embedded defaults, then a file, then the environment.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::model::{IMPRESSION, MAX_ACTION_NAME};

/// Every setting with its default, commented.
const DEFAULTS: &str = include_str!("../deploy/config/pinnersage.toml");

/// All settings. The defaults stand in `deploy/config/pinnersage.toml` only,
/// where each is also explained.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Building and searching the index.
    pub index: IndexSettings,
    /// Neighbour lists made ahead of time.
    pub neighbors: NeighborSettings,
    /// Building profiles.
    pub profiles: ProfileSettings,
    /// Actions between two batches.
    pub actions: ActionSettings,
    /// Drawing medoids by engagement as well as by importance.
    pub feedback: FeedbackSettings,
    /// Serving.
    pub serve: ServeSettings,
    /// Logging.
    pub log: LogSettings,
}

/// Building and searching the index.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSettings {
    /// Pins that a search looks for at least.
    pub ef_search: usize,
    /// Nodes considered for the links of a new node.
    pub ef_construction: usize,
    /// Seed of the order in which the graph is built.
    pub seed: u64,
}

/// Neighbour lists made ahead of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborSettings {
    /// Neighbours in each list.
    pub depth: usize,
    /// Bytes that all lists of a catalogue may have.
    pub budget: ByteSize,
    /// Bytes of lists that a server computes when they are first asked for.
    pub cache: ByteSize,
}

/// Building profiles.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    /// Greatest Ward distance of a merge, in squared units.
    pub alpha: f64,
    /// Decay of importance a day.
    pub lambda_per_day: f64,
    /// Length of the window in days.
    pub window_days: f64,
    /// Most recent actions of a user that are clustered.
    pub max_actions: usize,
    /// Leave pins of a user's own history out of the answers.
    pub history_filter: bool,
    /// Bytes of actions and profiles held in memory.
    pub memory: ByteSize,
    /// Weight of an action by its name; below 0 for what people do not want.
    pub action_weights: BTreeMap<String, f64>,
}

/// Actions between two batches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSettings {
    /// How old an action may be, and how long it is kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How far ahead of the server's clock an action may be.
    #[serde(with = "humantime_serde")]
    pub max_ahead: Duration,
    /// Most recent actions of a user that are clustered with the profile.
    pub clustered: usize,
    /// Most recent positive actions of a user that count.
    pub positive: usize,
    /// Most recent negative actions of a user that lower importance.
    pub negative: usize,
    /// Negative actions that silence an interest; 0 for never.
    pub silenced_by: usize,
    /// Pins last shown to a user that are not recommended again.
    pub seen: usize,
    /// For how long they are not.
    #[serde(with = "humantime_serde")]
    pub seen_life: Duration,
    /// Medoids of a user whose engagement is counted.
    pub engaged: usize,
}

/// Drawing medoids by engagement as well as by importance.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackSettings {
    /// Whether to do so.
    pub enabled: bool,
    /// Times shown for which the average over all users counts.
    pub prior: f64,
}

/// Serving.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSettings {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where metrics and probes are served.
    pub ops_listen: SocketAddr,
    /// Largest request that is read.
    pub max_request_size: ByteSize,
    /// How often to look for new versions; 0 for never.
    #[serde(with = "humantime_serde")]
    pub watch: Duration,
    /// Pins that may change beside a catalogue.
    pub max_changed_pins: usize,
    /// How long calls in flight may take to end.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// What is worth a line.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// What is worth a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what a developer wants to know.
    Debug,
    /// And everything else.
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A source cannot be read, or a key or a type is not known.
    #[error("settings: {0}")]
    Source(String),
    /// A value breaks its rule.
    #[error("settings: {key} is {value}, but must be {rule}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        rule: String,
    },
}

impl From<config::ConfigError> for SettingsError {
    fn from(error: config::ConfigError) -> Self {
        Self::Source(error.to_string())
    }
}

impl Settings {
    /// The defaults, changed by `file`, changed by the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let mut sources = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            sources = sources.add_source(File::from(path).format(FileFormat::Toml));
        }
        let environment = Environment::with_prefix("PINNERSAGE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let settings = sources
            .add_source(environment)
            .build()?
            .try_deserialize::<Self>()?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses values that break their rules. Also for settings that arguments of
    /// the command line have changed since they were loaded.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self {
            index,
            neighbors,
            profiles,
            actions,
            feedback,
            serve,
            log: _,
        } = self;
        let size = serve.max_request_size;
        between("index.ef_search", index.ef_search, 1, 100_000)?;
        between("index.ef_construction", index.ef_construction, 1, 10_000)?;
        between("neighbors.depth", neighbors.depth, 1, 10_000)?;
        not_negative("profiles.alpha", profiles.alpha)?;
        not_negative("profiles.lambda_per_day", profiles.lambda_per_day)?;
        let days = profiles.window_days;
        rule(
            "profiles.window_days",
            &days,
            days.is_finite() && days > 0.0,
            "above 0",
        )?;
        between("profiles.max_actions", profiles.max_actions, 1, 20_000)?;
        let memory = profiles.memory;
        rule(
            "profiles.memory",
            &memory,
            memory >= ByteSize::mib(64),
            "at least 64MiB",
        )?;
        for (name, &weight) in &profiles.action_weights {
            let value = format!("{name} = {weight}");
            let holds = weight != 0.0 && weight.abs() <= 1e6;
            rule(
                "profiles.action_weights",
                &value,
                holds,
                "from -1000000 to 1000000, and not 0",
            )?;
            let holds = name != IMPRESSION && (1..=MAX_ACTION_NAME).contains(&name.len());
            rule(
                "profiles.action_weights",
                &value,
                holds,
                "of 1 to 64 bytes and not `impression`, which has no weight",
            )?;
        }
        actions.check()?;
        rule(
            "feedback.prior",
            &feedback.prior,
            (1e-3..=1e9).contains(&feedback.prior),
            "from 0.001 to 1000000000",
        )?;
        between("serve.max_changed_pins", serve.max_changed_pins, 0, 100_000)?;
        let sizes = ByteSize::kib(1)..=ByteSize::mib(16);
        rule(
            "serve.max_request_size",
            &size,
            sizes.contains(&size),
            "from 1KiB to 16MiB",
        )
    }
}

impl ActionSettings {
    fn check(&self) -> Result<(), SettingsError> {
        between("actions.clustered", self.clustered, 0, 200)?;
        between("actions.positive", self.positive, self.clustered, 1_000)?;
        between("actions.negative", self.negative, 0, 1_000)?;
        between("actions.silenced_by", self.silenced_by, 0, self.negative)?;
        between("actions.seen", self.seen, 0, 10_000)?;
        between("actions.engaged", self.engaged, 0, 1_000)?;
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let shown = |duration| humantime_serde::re::humantime::format_duration(duration);
        rule(
            "actions.retention",
            &shown(self.retention),
            (days(1)..=days(366)).contains(&self.retention),
            "from 1day to 366days",
        )?;
        rule(
            "actions.seen_life",
            &shown(self.seen_life),
            self.seen_life <= self.retention,
            "at most actions.retention",
        )?;
        rule(
            "actions.max_ahead",
            &shown(self.max_ahead),
            self.max_ahead <= days(1),
            "at most 1day",
        )
    }
}

fn between(
    key: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), SettingsError> {
    rule(
        key,
        &value,
        (least..=most).contains(&value),
        &format!("from {least} to {most}"),
    )
}

fn not_negative(key: &'static str, value: f64) -> Result<(), SettingsError> {
    rule(key, &value, value.is_finite() && value >= 0.0, "at least 0")
}

fn rule(
    key: &'static str,
    value: &impl Display,
    holds: bool,
    rule: &str,
) -> Result<(), SettingsError> {
    if holds {
        return Ok(());
    }
    Err(SettingsError::Value {
        key,
        value: value.to_string(),
        rule: rule.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("a text");
        Settings::load(Some(file.path())).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_changes_single_keys_of_the_defaults() {
        let defaults = Settings::load(None).expect("the defaults");
        let text = "[profiles]\nalpha = 9\n[profiles.action_weights]\nview = 0.5";
        let changed = load(text).expect("good settings");
        assert_eq!(
            (defaults.profiles.alpha, changed.profiles.alpha),
            (4.0, 9.0)
        );
        assert_eq!(changed.profiles.action_weights.len(), 5);
        assert_eq!(changed.index, defaults.index);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused_by_name() {
        let refused = |text: &str, parts: &[&str]| {
            let error = load(text).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused("[index]\nef_serch = 3", &["ef_serch"]);
        refused(
            "[index]\nef_search = 0",
            &["index.ef_search is 0", "from 1 to 100000"],
        );
        refused("[index]\nef_search = \"many\"", &["ef_search"]);
        refused("[profiles]\nalpha = -1", &["profiles.alpha is -1"]);
        refused("[profiles]\nalpha = nan", &["profiles.alpha is NaN"]);
        refused(
            "[profiles]\nmemory = \"1KiB\"",
            &["profiles.memory is 1.0 KiB", "64MiB"],
        );
        refused(
            "[profiles.action_weights]\nhide = 0",
            &["hide = 0", "not 0"],
        );
        refused(
            "[profiles.action_weights]\nimpression = 1",
            &["impression = 1", "no weight"],
        );
        refused(
            "[actions]\nseen_life = \"9d\"",
            &["actions.seen_life is 9days", "retention"],
        );
        refused("[serve]\nlisten = \"here\"", &["socket address"]);
        refused("[log]\nlevel = \"loud\"", &["loud"]);
        let missing = Settings::load(Some(Path::new("no-such-file"))).expect_err("no file");
        assert!(missing.to_string().contains("no-such-file"), "{missing}");
    }
}
