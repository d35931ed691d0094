//! `AdminService`: the versions that are served, and changes of them.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::serve::rpc::response::timestamp;
use crate::serve::state::{
    AvailableVersions, ChangeError, Live, VersionChange, VersionManager, VersionPair, VersionReport,
};
use crate::serve::status::CallError;
use crate::snapshot;
use crate::wire::v1;
use crate::wire::v1::admin_service_server::AdminService;

/// The service.
pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    pub(crate) versions: Arc<VersionManager>,
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let VersionReport {
            since,
            previous,
            refused,
        } = self.versions.report();
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let loaded = &serving.loaded;
        let profiles = &loaded.profiles().manifest().facts;
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
            takes_actions: self.live.actions().is_some(),
        }))
    }

    async fn list_versions(
        &self,
        _: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let versions = self.versions.clone();
        let available = tokio::task::spawn_blocking(move || versions.available()).await;
        let available = available.map_err(|_| CallError::Internal)?;
        let AvailableVersions {
            catalogs,
            profiles,
            published,
        } = available.map_err(CallError::from)?;
        Ok(Response::new(v1::ListVersionsResponse {
            catalog_versions: catalogs,
            published_catalog_version: published.catalog,
            profile_versions: profiles,
            published_profile_version: published.profiles,
        }))
    }

    async fn load_versions(
        &self,
        request: Request<v1::LoadVersionsRequest>,
    ) -> Result<Response<v1::LoadVersionsResponse>, Status> {
        let versions = request.into_inner().versions.unwrap_or_default();
        let catalog = version_name("versions.catalog_version", versions.catalog_version)?;
        let profiles = version_name("versions.profile_version", versions.profile_version)?;
        let change = VersionChange::Load { catalog, profiles };
        let serving = self.versions.clone().make(change).await;
        let serving = serving.map_err(CallError::from)?;
        Ok(Response::new(v1::LoadVersionsResponse {
            serving: Some(versions_message(serving)),
        }))
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let serving = self.versions.clone().make(VersionChange::RollBack).await;
        let serving = serving.map_err(CallError::from)?;
        Ok(Response::new(v1::RollbackResponse {
            serving: Some(versions_message(serving)),
        }))
    }
}

/// The name of a version; none when it is empty.
fn version_name(field: &str, version: String) -> Result<Option<String>, CallError> {
    if version.is_empty() {
        Ok(None)
    } else if snapshot::is_version(&version) {
        Ok(Some(version))
    } else {
        Err(CallError::field(field, "is no name of a version"))
    }
}

fn versions_message(versions: VersionPair) -> v1::Versions {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_is_no_version_and_a_path_is_refused() {
        let name = |name: &str| version_name("versions.catalog_version", name.to_owned());
        assert_eq!(name(""), Ok(None));
        let version = "0123456789abcdef";
        assert_eq!(name(version), Ok(Some(version.to_owned())));
        for path in ["../0123456789abcdef", ".", "a/b"] {
            let refused = name(path);
            let Err(CallError::Field { field, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(field, "versions.catalog_version");
        }
    }
}
