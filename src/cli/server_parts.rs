//! The parts of a server, put together from settings, and how it makes files. Shared by
//! `serve`, `demo` and `data`.

use std::path::PathBuf;

use metrics_exporter_prometheus::PrometheusHandle;
use rustix::fs::Mode;

use super::clock::now;
use crate::actions::ActionParams;
use crate::config::Settings;
use crate::model::ActionWeights;
use crate::serve::{
    AnswerParams, DataParams, ReadSurfaces, ReplicaParams, SecurityParams, ServeParams,
    ServingSource, SurfaceReader, SurfaceSource,
};

/// Gives the files that are made from now on to their owner alone: what users did is
/// nobody else's business.
pub(super) fn keep_files_private() {
    let others = Mode::RWXG | Mode::RWXO;
    let before = rustix::process::umask(others);
    rustix::process::umask(before | others);
}

/// A catalog and profiles to serve.
pub(super) fn source(catalog: PathBuf, profiles: PathBuf, settings: &Settings) -> ServingSource {
    ServingSource {
        catalog,
        profiles,
        ef_search: settings.index.ef_search,
        neighbors: settings.neighbors,
        filters: settings.filters,
        popularity: settings.recommend.popularity,
    }
}

/// The surfaces of `settings`, which are read again from the file that the settings are from.
pub(super) fn surfaces(settings: &Settings, file: Option<PathBuf>) -> SurfaceSource {
    let started = settings.clone();
    let reader = file.map(|file| {
        SurfaceReader::new(move || {
            let settings = Settings::load(Some(&file)).map_err(|error| error.to_string())?;
            Ok(ReadSurfaces {
                waiting: started.sections_that_differ(&settings),
                surfaces: settings.surfaces,
            })
        })
    });
    SurfaceSource {
        surfaces: settings.surfaces.clone(),
        reader,
    }
}

/// Behavior of the server, with `metrics` for its operators.
pub(super) fn serve_params(
    settings: &Settings,
    surfaces: SurfaceSource,
    metrics: PrometheusHandle,
) -> ServeParams {
    ServeParams {
        server: settings.serve.clone(),
        connections: settings.connections.clone(),
        security: SecurityParams {
            tls: settings.tls.clone().if_given(),
            auth: settings.auth.clone(),
        },
        overload: settings.overload.clone(),
        answers: AnswerParams {
            limits: settings.actions.limits,
            feedback: settings.feedback,
        },
        replica: ReplicaParams {
            max_wait: settings.actions.max_wait,
            max_ready_lag: settings.actions.log.max_ready_lag,
            max_ready_messages: settings.actions.log.max_ready_messages,
            serve_stale: settings.actions.log.serve_stale,
        },
        surfaces,
        metrics: Some(metrics),
        clock: now,
    }
}

/// Durable state of the server in `directory`.
pub(super) fn data_params(directory: PathBuf, settings: &Settings) -> DataParams {
    DataParams {
        directory,
        actions: ActionParams {
            weights: ActionWeights::new(settings.profiles.action_weights.clone()),
            limits: settings.actions.limits,
        },
        archive: settings.actions.archive.clone(),
        log: settings.actions.log.clone(),
        max_changed_pins: settings.serve.max_changed_pins,
    }
}
