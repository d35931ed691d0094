//! `AdminService`: the versions that are served, changes of them, and backups.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, Streaming};

use crate::model::UserId;
use crate::serve::rpc::action_log_status::action_log_status;
use crate::serve::rpc::action_recorder::ActionRecorder;
use crate::serve::rpc::action_streams::{self, Messages};
use crate::serve::rpc::backup::{Backup, BackupStream};
use crate::serve::rpc::request::required_user;
use crate::serve::rpc::times::timestamp;
use crate::serve::rpc::version_messages::{
    VersionUses, catalog_details, profile_details, versions_message,
};
use crate::serve::state::{
    AvailableVersions, ChangeError, Live, Persistence, ServedVersions, VersionChange,
    VersionManager, VersionPair, VersionReport,
};
use crate::serve::status::CallError;
use crate::snapshot;
use crate::wire::v1;
use crate::wire::v1::admin_service_server::AdminService;

/// The service.
pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    pub(crate) versions: Arc<VersionManager>,
    pub(crate) recorder: ActionRecorder,
    /// Has a permit for the one backup or erasure that is made at a time.
    pub(crate) backups: Arc<Semaphore>,
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let read =
            |versions: &VersionManager| (versions.published(), versions.has_single_version());
        let (published, is_fixed) = self.read_versions(read).await?;
        let VersionReport {
            since,
            previous,
            refused,
            pinned,
            persistence,
        } = self.versions.report();
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let loaded = &serving.loaded;
        let profiles = &loaded.profiles().manifest().facts;
        let is_waiting =
            |published: &VersionPair| pinned.is_some() && *published != loaded.versions();
        let waiting = published.clone().filter(is_waiting);
        let mode = if pinned.is_some() {
            v1::VersionMode::Pinned
        } else if is_fixed {
            v1::VersionMode::Fixed
        } else {
            v1::VersionMode::Following
        };
        Ok(Response::new(v1::GetStatusResponse {
            serving: Some(versions_message(loaded.versions())),
            since: Some(timestamp(since)),
            previous: previous.map(versions_message),
            refused: refused.map(|refusal| v1::Refused {
                versions: Some(versions_message(refusal.versions)),
                reason: refusal.reason,
                time: Some(timestamp(refusal.time)),
            }),
            pins: loaded.catalog().manifest().facts.pins as u64,
            profiles: profiles.users,
            as_of: Some(timestamp(profiles.as_of)),
            complete_through: Some(timestamp(profiles.complete_through)),
            takes_actions: self.live.actions().is_some(),
            action_log: action_log_status(&self.live),
            version_mode: mode.into(),
            pinned_since: pinned.map(|pinned| timestamp(pinned.since)),
            survives_restart: persistence == Persistence::Kept,
            published: published.map(versions_message),
            waiting: waiting.map(versions_message),
        }))
    }

    async fn list_versions(
        &self,
        _: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let available = self.read_versions(VersionManager::available).await?;
        let AvailableVersions {
            catalogs,
            profiles,
            published,
        } = available.map_err(CallError::from)?;
        let VersionReport {
            previous, pinned, ..
        } = self.versions.report();
        let uses = VersionUses {
            serving: self.live.get().map(|serving| serving.loaded.versions()),
            previous,
            published: Some(published.clone()),
            pinned: pinned.map(|pinned| pinned.versions),
        };
        let catalogs: Vec<_> = catalogs
            .into_iter()
            .map(|catalog| catalog_details(catalog, &uses))
            .collect();
        let profiles: Vec<_> = profiles
            .into_iter()
            .map(|profiles| profile_details(profiles, &uses))
            .collect();
        Ok(Response::new(v1::ListVersionsResponse {
            catalog_versions: catalogs.iter().map(|one| one.version.clone()).collect(),
            published_catalog_version: published.catalog,
            profile_versions: profiles.iter().map(|one| one.version.clone()).collect(),
            published_profile_version: published.profiles,
            catalogs,
            profiles,
        }))
    }

    async fn load_versions(
        &self,
        request: Request<v1::LoadVersionsRequest>,
    ) -> Result<Response<v1::LoadVersionsResponse>, Status> {
        let versions = request.into_inner().versions.unwrap_or_default();
        let catalog = version_name("versions.catalog_version", versions.catalog_version)?;
        let profiles = version_name("versions.profile_version", versions.profile_version)?;
        let served = self.make(VersionChange::Load { catalog, profiles }).await?;
        Ok(Response::new(v1::LoadVersionsResponse {
            serving: Some(versions_message(served.versions)),
            survives_restart: served.persistence == Persistence::Kept,
        }))
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let served = self.make(VersionChange::RollBack).await?;
        Ok(Response::new(v1::RollbackResponse {
            serving: Some(versions_message(served.versions)),
            survives_restart: served.persistence == Persistence::Kept,
        }))
    }

    async fn follow_versions(
        &self,
        _: Request<v1::FollowVersionsRequest>,
    ) -> Result<Response<v1::FollowVersionsResponse>, Status> {
        let served = self.make(VersionChange::Follow).await?;
        Ok(Response::new(v1::FollowVersionsResponse {
            serving: Some(versions_message(served.versions)),
            survives_restart: served.persistence == Persistence::Kept,
        }))
    }

    async fn erase_user(
        &self,
        request: Request<v1::EraseUserRequest>,
    ) -> Result<Response<v1::EraseUserResponse>, Status> {
        let request = request.into_inner();
        let user = required_user(request.user_id, request.user_key.as_deref())?;
        let erased = self.erase(user, request.clock_is_right).await?;
        Ok(Response::new(erased))
    }

    type ExportActionsStream = Messages<v1::ExportActionsResponse>;

    async fn export_actions(
        &self,
        request: Request<v1::ExportActionsRequest>,
    ) -> Result<Response<Self::ExportActionsStream>, Status> {
        let actions = self.live.actions().ok_or(CallError::TakesNoActions)?;
        let first = request.into_inner().from_sequence;
        if first > 0 && actions.is_shared() {
            return Err(CallError::NoOrder.into());
        }
        Ok(Response::new(action_streams::export(
            actions.clone(),
            first,
        )))
    }

    type ImportActionsStream = Messages<v1::ImportActionsResponse>;

    async fn import_actions(
        &self,
        request: Request<Streaming<v1::ImportActionsRequest>>,
    ) -> Result<Response<Self::ImportActionsStream>, Status> {
        self.live.actions().ok_or(CallError::TakesNoActions)?;
        let recorder = self.recorder.clone();
        Ok(Response::new(action_streams::import(
            recorder,
            request.into_inner(),
        )))
    }

    type BackupDataStream = BackupStream;

    async fn backup_data(
        &self,
        _: Request<v1::BackupDataRequest>,
    ) -> Result<Response<BackupStream>, Status> {
        Ok(Response::new(self.begin_backup()?))
    }
}

impl Service {
    /// Erases `user`, by a clock that is believed, or of which the caller says that it is
    /// right. Nothing that is logged names the user.
    async fn erase(
        &self,
        user: UserId,
        clock_is_right: bool,
    ) -> Result<v1::EraseUserResponse, CallError> {
        let actions = self.live.actions().ok_or(CallError::TakesNoActions)?;
        // A backup holds the files that an erasure writes anew. The erasure goes on when the
        // caller leaves and keeps the permit, so that one is done in the log and the archive
        // before the next one begins.
        let permit = self.backups.clone().acquire_owned().await;
        let permit = permit.map_err(|_| CallError::Internal)?;
        let now = (self.recorder.clock)();
        // All later erasures come after this one, and what is done until then is refused.
        if !clock_is_right && let Some(last_used) = actions.last_use_before_jump(now) {
            return Err(CallError::ClockAhead(now, last_used));
        }
        let (live, actions) = (self.live.clone(), actions.clone());
        let begun = Instant::now();
        let erased = spawn_blocking(move || {
            let _permit = permit;
            live.erase(&actions, user, now)
        });
        let erased = erased.await.map_err(|_| CallError::Internal)?;
        let erased = erased.map_err(|error| {
            tracing::error!(%error, "a user is not erased yet");
            CallError::NotErased
        })?;
        let (recorded, archived) = (erased.recorded, erased.archived.actions);
        let took_ms = begun.elapsed().as_secs_f64() * 1e3;
        tracing::info!(recorded, archived, took_ms, "erased a user");
        Ok(v1::EraseUserResponse {
            actions: recorded,
            has_profile: erased.has_profile,
            archived_actions: archived,
            archive_files: erased.archived.files,
            erased_time: Some(timestamp(erased.erased_at)),
        })
    }

    /// Begins a backup, unless another is being made.
    fn begin_backup(&self) -> Result<BackupStream, CallError> {
        self.live.get().ok_or(CallError::NotLoaded)?;
        let log = self.live.log().ok_or(CallError::KeepsNothing)?;
        if self.live.is_replica() {
            return Err(CallError::OnlyCheckpoint);
        }
        let permit = self.backups.clone().try_acquire_owned();
        let backup = Backup {
            log: log.clone(),
            now: (self.recorder.clock)(),
            permit: permit.map_err(|_| CallError::BackupRunning)?,
        };
        Ok(backup.start())
    }

    async fn make(&self, change: VersionChange) -> Result<ServedVersions, CallError> {
        let served = self.versions.clone().make(change).await;
        Ok(served?)
    }

    /// Reads versions on disk, away from the threads that answer calls.
    async fn read_versions<T: Send + 'static>(
        &self,
        read: impl FnOnce(&VersionManager) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let versions = self.versions.clone();
        let read = tokio::task::spawn_blocking(move || read(&versions)).await;
        read.map_err(|_| CallError::Internal)
    }
}

/// The name of a version; none when it is empty.
fn version_name(field: &str, version: String) -> Result<Option<String>, CallError> {
    if version.is_empty() {
        Ok(None)
    } else if snapshot::is_version(&version) {
        Ok(Some(version))
    } else {
        Err(CallError::field(
            field,
            "is no name of a version: 16 hexadecimal digits",
        ))
    }
}

impl From<ChangeError> for CallError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotLoaded => Self::NotLoaded,
            ChangeError::NoSuchVersion(VersionPair { catalog, profiles }) => {
                Self::NoVersion(format!("catalog {catalog} with profiles {profiles}"))
            }
            ChangeError::Refused(reason) => Self::CannotServe(reason),
            ChangeError::NoPrevious => Self::CannotServe("nothing was served before".to_owned()),
            ChangeError::SingleVersion => Self::CannotServe(
                "the server was started with a single version, not a directory of versions"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::model::Timestamp;
    use crate::serve::state::test_world::{KNOWN_USER, TestWorld, day, durable_state};

    fn clock() -> Timestamp {
        day(0)
    }

    fn service(world: &TestWorld) -> Service {
        let live = Arc::new(Live::default());
        live.set_durable(durable_state(&world.path("data"), 1));
        let versions = VersionManager::new(live.clone(), world.source(), clock);
        Service {
            live: live.clone(),
            versions: Arc::new(versions.expect("a thread")),
            recorder: ActionRecorder { live, clock },
            backups: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn an_erasure_whose_caller_has_left_ends_before_the_next_one_begins() {
        let world = TestWorld::new();
        let service = service(&world);
        // The log does nothing else until this is dropped.
        let (held, waits) = std::sync::mpsc::channel::<()>();
        let actions = service.live.actions().expect("actions");
        actions.submit(Vec::new(), clock(), move |_| _ = waits.recv());
        tokio::select! {
            biased;
            erased = service.erase(KNOWN_USER, false) => panic!("{erased:?}"),
            () = ready(()) => {}
        }
        assert_eq!(service.backups.available_permits(), 0);
        drop(held);
        let next = service.erase(KNOWN_USER, false).await.expect("an erasure");
        // Each comes later than the one before.
        let erased_at = next.erased_time.map(|time| time.nanos);
        assert_eq!(erased_at, Some(1_000));
    }

    #[test]
    fn an_empty_name_is_no_version_and_a_path_is_refused() {
        let name = |name: &str| version_name("versions.catalog_version", name.to_owned());
        assert_eq!(name(""), Ok(None));
        let version = "0123456789abcdef";
        assert_eq!(name(version), Ok(Some(version.to_owned())));
        for path in ["../0123456789abcdef", ".", "a/b", "abc", "0123456789ABCDEF"] {
            let refused = name(path);
            let Err(CallError::Field { field, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(field, "versions.catalog_version");
        }
    }
}
