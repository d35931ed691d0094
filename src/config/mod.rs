//! Settings: the embedded defaults, then a file, then the environment.
//!
//! Each section is the params struct of the module that owns it, which also knows the
//! rules of its values.

use std::path::Path;
use std::time::Duration;

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::actions::{ActionLimits, FeedbackParams};
use crate::archive::ArchiveParams;
use crate::batch::{AttributeLimits, ProfileParams};
use crate::durable::ActionLogParams;
use crate::index::{FilterParams, IndexParams, NeighborParams};
use crate::recommend::RankingParams;
use crate::serve::{
    AuthParams, ConnectionParams, OverloadParams, ServerParams, SurfaceSet, TlsParams,
};
use crate::setting_rules::{InvalidSetting, require_duration_in_range};
use crate::telemetry::{LogParams, TraceParams};

/// Every setting with its default, commented.
const DEFAULTS: &str = include_str!("../../deploy/config/pinnersage.toml");

/// All settings, one field a section. The defaults stand in
/// `deploy/config/pinnersage.toml` only, where each is also explained.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Building and searching the index.
    pub index: IndexParams,
    /// Neighbor lists, which answer without a search.
    pub neighbors: NeighborParams,
    /// Attributes of pins.
    pub attributes: AttributeLimits,
    /// Filters by attributes.
    pub filters: FilterParams,
    /// Building profiles.
    pub profiles: ProfileParams,
    /// Ranking of candidates.
    pub recommend: RankingParams,
    /// Actions that are recorded between two batches.
    pub actions: ActionSettings,
    /// Drawing medoids by engagement as well as by importance.
    pub feedback: FeedbackParams,
    /// The server.
    pub serve: ServerParams,
    /// Limits of connections.
    pub connections: ConnectionParams,
    /// Certificates.
    pub tls: TlsParams,
    /// Callers and their roles.
    pub auth: AuthParams,
    /// Overload protection.
    pub overload: OverloadParams,
    /// The places that ask for candidates.
    pub surfaces: SurfaceSet,
    /// The log.
    pub log: LogParams,
    /// Spans of calls.
    pub trace: TraceParams,
}

/// The section `actions`: how recorded actions count, and where they are archived.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSettings {
    /// For how long and how many of them count.
    #[serde(flatten)]
    pub limits: ActionLimits,
    /// Where they are archived.
    #[serde(flatten)]
    pub archive: ArchiveParams,
    /// How long a call with a freshness token waits for what the token stands for.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// The log that keeps them.
    pub log: ActionLogParams,
}

/// Settings that are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A source cannot be read, or a key or a type is not known.
    #[error("settings: {0}")]
    Source(String),
    /// A value breaks its rule.
    #[error("settings: {0}")]
    Value(InvalidSetting),
}

/// The message has the cause already, so that it is no source of the error.
impl From<InvalidSetting> for SettingsError {
    fn from(error: InvalidSetting) -> Self {
        Self::Value(error)
    }
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
        settings.validate()?;
        Ok(settings)
    }

    /// Refuses values that break their rules, by key. To be called again when options of
    /// the command line have changed settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        // Destructured, so that a new section cannot be forgotten.
        let Self {
            index,
            neighbors,
            attributes,
            // Any number of bytes may be.
            filters: _,
            profiles,
            recommend,
            actions,
            feedback,
            serve,
            connections,
            tls,
            auth,
            overload,
            surfaces,
            // Its values are words of closed lists.
            log: _,
            trace,
        } = self;
        index.validate()?;
        neighbors.validate()?;
        attributes.validate()?;
        profiles.validate()?;
        recommend.validate()?;
        actions.limits.validate()?;
        actions.archive.validate()?;
        let waits = Duration::ZERO..=Duration::from_secs(1);
        require_duration_in_range("actions.max_wait", actions.max_wait, waits)?;
        actions.log.validate()?;
        feedback.validate()?;
        serve.validate()?;
        connections.validate()?;
        tls.validate()?;
        auth.validate()?;
        trace.validate()?;
        overload.validate()?;
        surfaces.validate()?;
        Ok(())
    }

    /// Names of the sections that differ from those of `other`, but for the surfaces.
    #[must_use]
    pub fn sections_that_differ(&self, other: &Self) -> Vec<&'static str> {
        // Destructured, so that a new section cannot be forgotten.
        let Self {
            index,
            neighbors,
            attributes,
            filters,
            profiles,
            recommend,
            actions,
            feedback,
            serve,
            connections,
            tls,
            auth,
            overload,
            surfaces: _,
            log,
            trace,
        } = self;
        let differs = [
            ("index", *index != other.index),
            ("neighbors", *neighbors != other.neighbors),
            ("attributes", *attributes != other.attributes),
            ("filters", *filters != other.filters),
            ("profiles", *profiles != other.profiles),
            ("recommend", *recommend != other.recommend),
            ("actions", *actions != other.actions),
            ("feedback", *feedback != other.feedback),
            ("serve", *serve != other.serve),
            ("connections", *connections != other.connections),
            ("tls", *tls != other.tls),
            ("auth", *auth != other.auth),
            ("overload", *overload != other.overload),
            ("log", *log != other.log),
            ("trace", *trace != other.trace),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(name, _)| name).collect()
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

    #[track_caller]
    fn assert_refused(text: &str, parts: &[&str]) {
        let error = load(text).expect_err(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    /// Loads `section.key` with both `allowed` values, and refuses both `refused` ones
    /// by the key.
    #[track_caller]
    fn assert_range(section: &str, key: &str, allowed: [&str; 2], refused: [&str; 2]) {
        let with = |value: &str| format!("[{section}]\n{key} = {value}");
        for value in allowed {
            load(&with(value)).expect("an allowed value");
        }
        for value in refused {
            assert_refused(&with(value), &[&format!("{section}.{key} is ")]);
        }
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
    fn unknown_keys_and_bad_types_are_refused_by_name() {
        for section in [
            "index",
            "neighbors",
            "profiles",
            "recommend",
            "actions",
            "feedback",
            "serve",
            "connections",
            "tls",
            "auth",
            "overload",
            "log",
            "trace",
        ] {
            assert_refused(&format!("[{section}]\nno_such_key = 3"), &["no_such_key"]);
        }
        assert_refused("[no_such_section]\nkey = 3", &["no_such_section"]);
        assert_refused("[index]\nef_search = \"many\"", &["ef_search"]);
        assert_refused("[serve]\nlisten = \"here\"", &["socket address"]);
        assert_refused("[log]\nlevel = \"loud\"", &["loud"]);
        assert_refused(
            "[overload]\nrate_key_header = \"a b\"",
            &["overload.rate_key_header is a b", "the name of a header"],
        );
        let missing = Settings::load(Some(Path::new("no-such-file"))).expect_err("no file");
        assert!(missing.to_string().contains("no-such-file"), "{missing}");
    }

    #[test]
    fn a_refusal_names_the_key_the_value_and_the_rule() {
        assert_eq!(
            load("[index]\nef_search = 0").expect_err("too small"),
            "settings: index.ef_search is 0, but must be from 1 to 100000"
        );
        assert_refused("[profiles]\nalpha = nan", &["profiles.alpha is NaN"]);
        assert_refused(
            "[profiles]\nmemory = \"1KiB\"",
            &["profiles.memory is 1.0 KiB", "64MiB"],
        );
        assert_refused(
            "[profiles.action_weights]\nhide = 0",
            &["hide = 0", "not 0"],
        );
        assert_refused(
            "[profiles.action_weights]\nimpression = 1",
            &["impression = 1", "no weight"],
        );
        assert_refused(
            "[actions]\nseen_life = \"9d\"",
            &["actions.seen_life is 9days", "retention"],
        );
        assert_refused(
            "[serve]\nmax_deadline = \"2h\"",
            &["serve.max_deadline is 2h", "from 1ms to 1m"],
        );
        assert_refused(
            "[overload]\nmin_in_flight = 65",
            &["overload.min_in_flight is 65", "from 0 to 64"],
        );
        assert_refused(
            "[connections]\nmax_header_size = \"1B\"",
            &["connections.max_header_size is 1 B"],
        );
    }

    #[test]
    fn numbers_are_refused_beyond_both_ends_of_their_range() {
        let cases: [(&str, &str, [&str; 2], [&str; 2]); 21] = [
            ("index", "ef_search", ["1", "100000"], ["0", "100001"]),
            ("index", "ef_construction", ["1", "10000"], ["0", "10001"]),
            ("neighbors", "depth", ["1", "10000"], ["0", "10001"]),
            ("profiles", "alpha", ["0", "1e9"], ["-1", "inf"]),
            ("profiles", "lambda_per_day", ["0", "1e9"], ["-1", "nan"]),
            ("profiles", "window_days", ["0.1", "1e9"], ["0", "inf"]),
            ("profiles", "max_actions", ["1", "20000"], ["0", "20001"]),
            ("recommend", "popularity", ["0", "2"], ["-0.1", "2.1"]),
            ("actions", "clustered", ["0", "100"], ["201", "1000"]),
            ("actions", "positive", ["20", "1000"], ["19", "1001"]),
            ("actions", "negative", ["3", "1000"], ["1001", "2000"]),
            ("actions", "silenced_by", ["0", "20"], ["21", "100"]),
            ("actions", "seen", ["0", "10000"], ["10001", "20000"]),
            ("actions", "engaged", ["0", "1000"], ["1001", "2000"]),
            ("feedback", "prior", ["0.001", "1e9"], ["0", "2e9"]),
            (
                "serve",
                "max_changed_pins",
                ["0", "100000"],
                ["100001", "200000"],
            ),
            ("serve", "probe_cpu", ["0.0001", "1"], ["0", "1.1"]),
            ("connections", "max", ["1", "1000000"], ["0", "1000001"]),
            ("overload", "max_in_flight", ["1", "10000"], ["0", "10001"]),
            ("overload", "min_effort", ["0.1", "1"], ["0", "1.1"]),
            ("trace", "ratio", ["0", "1"], ["-0.1", "1.1"]),
        ];
        for (section, key, allowed, refused) in cases {
            assert_range(section, key, allowed, refused);
        }
        assert_refused(
            "[overload]\nmax_calls = 1000001",
            &["overload.max_calls is"],
        );
        assert_refused("[overload]\nqueue = 100001", &["overload.queue is"]);
        assert_refused("[overload]\nrate_burst = 0", &["overload.rate_burst is 0"]);
        let streams = ("connections", "max_concurrent_streams");
        assert_range(streams.0, streams.1, ["1", "100000"], ["0", "100001"]);
    }

    #[test]
    fn durations_and_sizes_are_refused_beyond_both_ends_of_their_range() {
        let cases: [(&str, &str, [&str; 2], [&str; 2]); 12] = [
            ("actions", "retention", ["7d", "366d"], ["23h", "367d"]),
            (
                "serve",
                "max_request_size",
                ["1KiB", "16MiB"],
                ["1B", "17MiB"],
            ),
            ("serve", "watch", ["0s", "1d"], ["25h", "2d"]),
            ("serve", "max_deadline", ["1ms", "1m"], ["0s", "61s"]),
            ("serve", "drain_delay", ["0s", "10m"], ["601s", "1h"]),
            ("serve", "drain_timeout", ["0s", "10m"], ["601s", "1h"]),
            (
                "connections",
                "handshake_timeout",
                ["1ms", "10m"],
                ["0s", "11m"],
            ),
            ("connections", "max_age", ["0s", "30d"], ["1ms", "31d"]),
            (
                "connections",
                "keepalive_interval",
                ["1s", "1h"],
                ["0s", "2h"],
            ),
            (
                "connections",
                "keepalive_timeout",
                ["100ms", "1h"],
                ["0s", "2h"],
            ),
            (
                "connections",
                "max_header_size",
                ["1KiB", "1MiB"],
                ["1B", "2MiB"],
            ),
            ("auth", "reload", ["1s", "1d"], ["0s", "2d"]),
        ];
        let quoted = |values: [&str; 2]| values.map(|value| format!("\"{value}\""));
        for (section, key, allowed, refused) in cases {
            let (allowed, refused) = (quoted(allowed), quoted(refused));
            let [allowed, refused] = [&allowed, &refused].map(|[a, b]| [a.as_str(), b.as_str()]);
            assert_range(section, key, allowed, refused);
        }
        let waits = ["\"10us\"", "\"1s\""];
        assert_range("overload", "target_wait", waits, ["\"1us\"", "\"2s\""]);
        assert_refused("[actions]\nmax_ahead = \"2d\"", &["actions.max_ahead is"]);
    }

    #[test]
    fn surfaces_are_read_with_their_filters_and_refused_by_key() {
        assert_eq!(
            Settings::load(None).expect("the defaults").surfaces,
            SurfaceSet::default()
        );
        let text = r#"
            [surfaces."Home.feed-2"]
            limit = 200
            merge = "global_top"
            may_override = ["limit", "filter"]
            [surfaces."Home.feed-2".filter]
            must = [{ attribute = "language", any_of = ["de", "fr"] }, { attribute = "price", range = { gte = 5 } }]
            must_not = [{ attribute = "safe", is = false }]
            [surfaces.related]
        "#;
        let surfaces = load(text).expect("good settings").surfaces.0;
        assert_eq!(surfaces.len(), 2);
        let home = &surfaces["Home.feed-2"];
        assert_eq!(home.limit, Some(200));
        assert_eq!((home.filter.must.len(), home.filter.must_not.len()), (2, 1));
        for (text, parts) in [
            (
                "[surfaces.a]\nlimit = 0",
                ["surfaces.a.limit is 0", "from 1 to 2000"],
            ),
            ("[surfaces.a]\nlimits = 1", ["limits", "unknown field"]),
            ("[surfaces.\"a b\"]\n", ["\"a b\"", "1 to 64"]),
            (
                "[surfaces.a]\nmay_override = [\"user\"]",
                ["user", "may_override"],
            ),
            (
                "[surfaces.a.filter]\nmust = [{ attribute = \"b\" }]",
                ["\"b\" needs one of any_of", "surfaces.a.filter"],
            ),
        ] {
            assert_refused(text, &parts);
        }
    }

    #[test]
    fn the_example_of_a_surface_can_be_used() {
        let lines = DEFAULTS
            .lines()
            .filter_map(|line| line.strip_prefix("#   "));
        let example = lines.skip_while(|line| !line.starts_with("[surfaces."));
        let example: Vec<&str> = example.collect();
        let surfaces = load(&example.join("\n")).expect("good settings").surfaces.0;
        assert_eq!(surfaces["homefeed"].filter.must_not.len(), 1);
        assert_eq!(surfaces["homefeed"].boosts.len(), 2);
        assert_eq!(surfaces["homefeed"].spacing.len(), 1);
        assert_eq!(surfaces["homefeed"].rate, 500);
    }

    #[test]
    fn sections_that_differ_are_named_but_for_the_surfaces() {
        let defaults = Settings::load(None).expect("the defaults");
        let text = "[surfaces.a]\n[profiles]\nalpha = 9\n[trace]\nratio = 1";
        let changed = load(text).expect("good settings");
        assert_eq!(
            defaults.sections_that_differ(&changed),
            ["profiles", "trace"]
        );
        assert!(changed.sections_that_differ(&changed).is_empty());
    }

    #[test]
    fn files_of_certificates_are_given_together() {
        let rule = "given together with tls.certificate";
        assert_refused("[tls]\ncertificate = \"a\"", &["tls.key is", rule]);
        assert_refused("[tls]\nkey = \"a\"", &["tls.key is a", rule]);
        assert_refused("[tls]\nclient_ca = \"a\"", &["tls.client_ca is a", rule]);
        let text = "[tls]\ncertificate = \"a\"\nkey = \"b\"";
        let given = load(text).expect("a pair").tls.if_given().expect("TLS");
        assert_eq!((given.key, given.client_ca), ("b".into(), None));
        let defaults = Settings::load(None).expect("the defaults");
        assert_eq!(defaults.tls.if_given(), None);
    }
}
