//! `pinnersage health`: for the health check of a container, which has only this program.

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{self, ServerArgs};
use super::output;
use super::runtime::block_on;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Service to ask about [default: the whole server].
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
}

pub(super) fn run(args: HealthArgs) -> anyhow::Result<()> {
    block_on(async {
        let mut health = HealthClient::new(args.server.connection().await?);
        let service = args.service;
        let answer = health.check(HealthCheckRequest { service }).await;
        let status = answer.map_err(|status| client::status_error(&status))?;
        let status = status.into_inner().status();
        output::print(&status.as_str_name())?;
        anyhow::ensure!(status == ServingStatus::Serving, "it does not serve");
        Ok(())
    })
}
