//! `AdminService`: what is served, and changing that.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::serve::rpc::convert::timestamp;
use crate::serve::state::live::{Live, VersionPair};
use crate::serve::state::reload::{Change, ChangeError, History, Versions};
use crate::serve::status::CallError;
use crate::snapshot;
use crate::wire::v1;
use crate::wire::v1::admin_service_server::AdminService;

pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    pub(crate) versions: Arc<Versions>,
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let History {
            since,
            previous,
            refused,
        } = self.versions.history();
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let loaded = &serving.loaded;
        let profiles = &loaded.profiles().manifest().facts;
        Ok(Response::new(v1::GetStatusResponse {
            serving: Some(wire(loaded.versions())),
            since: Some(timestamp(since)),
            previous: previous.map(wire),
            refused: refused.map(|refusal| v1::Refused {
                versions: Some(wire(refusal.versions)),
                reason: refusal.reason,
                time: Some(timestamp(refusal.time)),
            }),
            pins: loaded.catalog().manifest().facts.pins as u64,
            profiles: profiles.users,
            as_of: Some(timestamp(profiles.as_of)),
            takes_actions: self.live.actions().is_some(),
        }))
    }

    async fn list_versions(
        &self,
        _: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let versions = self.versions.clone();
        let listed = tokio::task::spawn_blocking(move || versions.all()).await;
        let listed = listed.map_err(|_| CallError::Internal)?;
        let (catalog_versions, profile_versions, published) = listed.map_err(CallError::from)?;
        Ok(Response::new(v1::ListVersionsResponse {
            catalog_versions,
            published_catalog_version: published.catalog,
            profile_versions,
            published_profile_version: published.profiles,
        }))
    }

    async fn load_versions(
        &self,
        request: Request<v1::LoadVersionsRequest>,
    ) -> Result<Response<v1::LoadVersionsResponse>, Status> {
        let wanted = request.into_inner().versions.unwrap_or_default();
        let catalog = named("versions.catalog_version", wanted.catalog_version)?;
        let profiles = named("versions.profile_version", wanted.profile_version)?;
        let change = Change::Load { catalog, profiles };
        let serving = self.versions.clone().make(change).await;
        let serving = serving.map_err(CallError::from)?;
        Ok(Response::new(v1::LoadVersionsResponse {
            serving: Some(wire(serving)),
        }))
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let serving = self.versions.clone().make(Change::RollBack).await;
        let serving = serving.map_err(CallError::from)?;
        Ok(Response::new(v1::RollbackResponse {
            serving: Some(wire(serving)),
        }))
    }
}

/// The name of a version; none when it is empty.
fn named(field: &str, version: String) -> Result<Option<String>, CallError> {
    match version.is_empty() || snapshot::is_version(&version) {
        true => Ok(Some(version).filter(|version| !version.is_empty())),
        false => Err(CallError::field(field, "is no name of a version")),
    }
}

fn wire(versions: VersionPair) -> v1::Versions {
    v1::Versions {
        catalog_version: versions.catalog,
        profile_version: versions.profiles,
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
