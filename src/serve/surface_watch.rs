//! Reads surfaces again while a server serves, and warns of those that do not fit what is
//! served.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::counter;
use tokio::task::spawn_blocking;
use tonic::Status;

use super::state::Live;
use super::surfaces::{ReadSurfaces, SurfaceReader, Surfaces};
use crate::metrics as names;

/// Shortest time between two looks.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// What was said already, so that it is said once.
#[derive(Debug, Default)]
struct Said {
    failure: Option<String>,
    waiting: Vec<&'static str>,
    misfits: BTreeSet<String>,
}

/// Reads the surfaces again by `reader` at every `interval`. Never ends.
pub(super) async fn watch(
    surfaces: &Surfaces,
    live: &Live,
    reader: Option<&SurfaceReader>,
    interval: Duration,
) {
    let mut ticks = tokio::time::interval(interval.max(MIN_INTERVAL));
    let mut said = Said::default();
    loop {
        // The first tick is at once, when a catalog has just been loaded.
        ticks.tick().await;
        if let Some(reader) = reader.cloned() {
            // A panic has been logged by the panic itself.
            if let Ok(read) = spawn_blocking(move || reader.read()).await {
                said.take_over(surfaces, read);
            }
        }
        said.warn_of_misfits(surfaces, live);
    }
}

impl Said {
    /// Serves what was read, or logs why it cannot be.
    fn take_over(&mut self, surfaces: &Surfaces, read: Result<ReadSurfaces, String>) {
        let read = match read {
            Ok(read) => read,
            Err(reason) => {
                if self.failure.as_ref() != Some(&reason) {
                    counter!(names::SURFACE_RELOADS, "result" => "refused").increment(1);
                    tracing::warn!(
                        reason,
                        "changed settings cannot be used, the old surfaces stay"
                    );
                    self.failure = Some(reason);
                }
                return;
            }
        };
        self.failure = None;
        if surfaces.replace(&read.surfaces) {
            counter!(names::SURFACE_RELOADS, "result" => "served").increment(1);
            let surfaces = surfaces.list();
            tracing::info!(surfaces, "reloaded changed surfaces");
        }
        if self.waiting != read.waiting {
            if !read.waiting.is_empty() {
                let sections = read.waiting.join(", ");
                tracing::warn!(sections, "changed settings wait for a restart");
            }
            self.waiting = read.waiting;
        }
    }

    /// Logs which surfaces do not fit the catalog that is served, each once.
    fn warn_of_misfits(&mut self, surfaces: &Surfaces, live: &Live) {
        let Some(serving) = live.get() else {
            return;
        };
        let definitions = serving.loaded.catalog().attributes.definitions();
        let misfits = surfaces.misfits(definitions).into_iter();
        let misfits: BTreeSet<String> = misfits
            .map(|misfit| Status::from(misfit).message().to_owned())
            .collect();
        for reason in misfits.difference(&self.misfits) {
            tracing::warn!(reason, "a surface does not fit the catalog that is served");
        }
        self.misfits = misfits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::surfaces::SurfaceSet;

    fn read(json: &str, waiting: &[&'static str]) -> Result<ReadSurfaces, String> {
        Ok(ReadSurfaces {
            surfaces: serde_json::from_str(json).expect(json),
            waiting: waiting.to_vec(),
        })
    }

    #[test]
    fn what_cannot_be_used_changes_nothing_and_is_remembered_until_it_can() {
        let surfaces = Surfaces::new(&SurfaceSet::default(), 1);
        let mut said = Said::default();
        said.take_over(&surfaces, read(r#"{"home": {}}"#, &["log"]));
        assert_eq!(
            (surfaces.list().as_str(), said.failure.as_ref()),
            ("home", None)
        );
        assert_eq!(said.waiting, ["log"]);
        said.take_over(&surfaces, Err("bad".to_owned()));
        assert_eq!(surfaces.list(), "home");
        assert_eq!(said.failure.as_deref(), Some("bad"));
        // What waits is not said again after that.
        assert_eq!(said.waiting, ["log"]);
        said.take_over(&surfaces, read(r#"{"related": {}}"#, &[]));
        assert_eq!(
            (surfaces.list().as_str(), said.failure.as_ref()),
            ("related", None)
        );
        assert!(said.waiting.is_empty());
    }
}
