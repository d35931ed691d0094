//! Settings: the embedded defaults, then a file, then the environment.

mod rules;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

/// Every setting with its default, commented.
const DEFAULTS: &str = include_str!("../../deploy/config/pinnersage.toml");

/// All settings. The defaults stand in `deploy/config/pinnersage.toml` only,
/// where each is also explained.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Building and searching the index.
    pub index: IndexSettings,
    /// Neighbor lists made ahead of time.
    pub neighbors: NeighborSettings,
    /// Building profiles.
    pub profiles: ProfileSettings,
    /// What is recommended.
    pub recommend: RecommendSettings,
    /// Actions between two batches.
    pub actions: ActionSettings,
    /// Drawing medoids by engagement as well as by importance.
    pub feedback: FeedbackSettings,
    /// Serving.
    pub serve: ServeSettings,
    /// Limits of connections.
    pub connections: ConnectionSettings,
    /// TLS.
    pub tls: TlsSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// What keeps the server quick.
    pub overload: OverloadSettings,
    /// Logging.
    pub log: LogSettings,
    /// Spans of calls.
    pub trace: TraceSettings,
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

/// Neighbor lists made ahead of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborSettings {
    /// Neighbors in each list.
    pub depth: usize,
    /// Bytes that all lists of a catalog may have.
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

/// What is recommended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommendSettings {
    /// What the popularity of a pin is worth beside its nearness, as a difference of
    /// cosines.
    pub popularity: f32,
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
    /// Pins that may change beside a catalog.
    pub max_changed_pins: usize,
    /// Most that a call for recommendations may take.
    #[serde(with = "humantime_serde")]
    pub max_deadline: Duration,
    /// One in so many answers has its recall measured; 0 for none.
    pub probe_one_in: u64,
    /// Share of a core that this may take.
    pub probe_cpu: f64,
    /// How long to go on after a signal to stop.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long calls in flight may take to end after that.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// Limits of connections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Most at a time.
    pub max: usize,
    /// How long a client may take until it speaks HTTP/2.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Age at which a connection is told to go; 0 for never.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How often a silent connection is asked whether it is there.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// Calls at a time on one connection.
    pub max_concurrent_streams: usize,
    /// Bytes in the headers of a call.
    pub max_header_size: ByteSize,
}

/// TLS. Files that are not given are empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The roots of clients' certificates.
    pub client_ca: PathBuf,
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// The file of callers; empty for none.
    pub callers: PathBuf,
    /// How often to look whether files have changed.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

/// What keeps the server quick.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverloadSettings {
    /// Calls for recommendations at a time.
    pub max_calls: usize,
    /// Least searches at a time; 0 for one a core.
    pub min_in_flight: usize,
    /// Most searches at a time.
    pub max_in_flight: usize,
    /// How long a search that was let in may wait for a core.
    #[serde(with = "humantime_serde")]
    pub target_wait: Duration,
    /// Calls that wait to search.
    pub queue: usize,
    /// Share of the usual effort that searches make at least.
    pub min_effort: f32,
    /// Calls a second of one caller; 0 for as many as it likes.
    pub rate_limit: u32,
    /// Calls of one caller at once after a silence.
    pub rate_burst: u32,
    /// The header that names the caller.
    pub rate_key_header: String,
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

/// Spans of calls, in a program that was built with the feature `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// The collector that takes them; empty for none.
    pub endpoint: String,
    /// Share of the calls without a parent that are traced.
    pub ratio: f64,
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
        refused(
            "[serve]\nmax_deadline = \"2h\"",
            &["serve.max_deadline is 2h", "from 1ms to 1m"],
        );
        refused("[overload]\nmin_effort = 0", &["overload.min_effort is 0"]);
        refused(
            "[overload]\nmin_in_flight = 65",
            &["overload.min_in_flight is 65", "from 0 to 64"],
        );
        refused(
            "[connections]\nmax_header_size = \"1B\"",
            &["connections.max_header_size is 1 B"],
        );
        refused("[log]\nlevel = \"loud\"", &["loud"]);
        let missing = Settings::load(Some(Path::new("no-such-file"))).expect_err("no file");
        assert!(missing.to_string().contains("no-such-file"), "{missing}");
    }
}
