//! Reloads certificates and callers when their files change.

use std::sync::Arc;
use std::time::Duration;

use super::callers::{Callers, CallersError};
use super::digest::Reloaded;
use super::tls::{ReloadableTls, TlsError};

/// Shortest time between two looks at the files.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// What is read from files again and again.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) tls: Option<Arc<ReloadableTls>>,
    pub(super) callers: Option<Arc<Callers>>,
}

/// Result of reading one source again; none where there is no such source.
type Outcome = Option<Result<Reloaded, String>>;

/// Reads `sources` again at every `interval`. Never ends.
pub(super) async fn watch(sources: Sources, interval: Duration) {
    let mut ticks = tokio::time::interval(interval.max(MIN_INTERVAL));
    // The first tick is immediate, when the files have just been read.
    ticks.tick().await;
    let mut last_failures: [Option<String>; 2] = [None, None];
    loop {
        ticks.tick().await;
        let sources = sources.clone();
        let reloading = tokio::task::spawn_blocking(move || sources.reload());
        // A panic has been logged by the panic itself.
        let Ok(outcomes) = reloading.await else {
            continue;
        };
        for ((what, outcome), last) in outcomes.into_iter().zip(&mut last_failures) {
            *last = report(what, outcome, last.as_deref());
        }
    }
}

impl Sources {
    fn reload(&self) -> [(&'static str, Outcome); 2] {
        let tls = self.tls.as_ref().map(|tls| tls.reload());
        let tls = tls.map(|outcome| outcome.map_err(|error: TlsError| error.to_string()));
        let callers = self.callers.as_ref().map(|callers| callers.reload());
        let callers =
            callers.map(|outcome| outcome.map_err(|error: CallersError| error.to_string()));
        [("certificates", tls), ("callers", callers)]
    }
}

/// Logs a change, or a failure that is not the last one again. Returns the failure.
fn report(what: &str, outcome: Outcome, last_failure: Option<&str>) -> Option<String> {
    match outcome {
        Some(Ok(Reloaded::Changed)) => {
            tracing::info!(what, "reloaded changed credentials");
            None
        }
        Some(Ok(Reloaded::Unchanged)) | None => None,
        Some(Err(reason)) => {
            if last_failure != Some(reason.as_str()) {
                tracing::warn!(
                    what,
                    reason,
                    "changed credentials cannot be used, the old ones stay"
                );
            }
            Some(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::serve::security::identity::Certificate;

    /// Writes a file of one caller with this token.
    fn write(file: &tempfile::NamedTempFile, token: &str) {
        let text = format!("[[caller]]\nname = \"a\"\nroles = [\"read\"]\ntoken = \"{token}\"\n");
        fs::write(file.path(), text).expect("a disk");
    }

    /// Waits in the time of the test until `token` is known.
    async fn wait_for(callers: &Callers, token: &str) {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let known = callers.identify(Some(token.as_bytes()), &Certificate::Absent);
            if known.is_ok() {
                return;
            }
        }
        panic!("{token} was not read within 100 intervals");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_even_after_a_bad_one() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(&file, "the-first-long-token");
        let callers = Arc::new(Callers::open(file.path().to_owned()).expect("a list"));
        let sources = Sources {
            tls: None,
            callers: Some(callers.clone()),
        };
        let watching = tokio::spawn(watch(sources.clone(), Duration::from_secs(1)));
        write(&file, "short");
        let [_, (_, outcome)] = sources.reload();
        outcome.expect("a source").expect_err("a bad file");
        wait_for(&callers, "the-first-long-token").await;
        write(&file, "the-second-long-token");
        wait_for(&callers, "the-second-long-token").await;
        watching.abort();
    }

    #[test]
    fn a_failure_is_remembered_until_the_files_can_be_used_again() {
        let bad = || Some(Err("bad".to_owned()));
        let failure = report("callers", bad(), None);
        assert_eq!(failure.as_deref(), Some("bad"));
        let failure = report("callers", bad(), failure.as_deref());
        assert_eq!(failure.as_deref(), Some("bad"));
        assert_eq!(
            report("callers", Some(Ok(Reloaded::Changed)), failure.as_deref()),
            None
        );
    }
}
