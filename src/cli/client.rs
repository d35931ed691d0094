//! The client side of the contract, for the commands that ask a server.

use anyhow::Context;
use tonic::transport::Channel;

use crate::wire::v1::action_service_client::ActionServiceClient;
use crate::wire::v1::catalog_service_client::CatalogServiceClient;
use crate::wire::v1::recommendation_service_client::RecommendationServiceClient;

/// Where a server is asked.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// Server to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    server: String,
}

impl ServerArgs {
    pub(super) fn new(server: String) -> Self {
        Self { server }
    }

    pub(super) async fn connect(&self) -> anyhow::Result<RecommendationServiceClient<Channel>> {
        Ok(RecommendationServiceClient::new(self.channel().await?))
    }

    pub(super) async fn connect_for_actions(&self) -> anyhow::Result<ActionServiceClient<Channel>> {
        Ok(ActionServiceClient::new(self.channel().await?))
    }

    pub(super) async fn connect_for_pins(&self) -> anyhow::Result<CatalogServiceClient<Channel>> {
        Ok(CatalogServiceClient::new(self.channel().await?))
    }

    async fn channel(&self) -> anyhow::Result<Channel> {
        let connected = Channel::from_shared(self.server.clone())?.connect().await;
        connected.with_context(|| format!("no server at {}", self.server))
    }
}

/// A failed call, in the words of the server.
pub(super) fn told(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", status.code(), status.message())
}

/// A title for people: pins without one are shown by a dash.
pub(super) fn title(title: &str) -> &str {
    if title.is_empty() { "-" } else { title }
}
