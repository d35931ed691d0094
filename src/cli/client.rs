//! gRPC clients for the commands that call a server.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Request, Status};

use crate::terminal::printable;
use crate::wire::v1::action_service_client::ActionServiceClient;
use crate::wire::v1::admin_service_client::AdminServiceClient;
use crate::wire::v1::catalog_service_client::CatalogServiceClient;
use crate::wire::v1::recommendation_service_client::RecommendationServiceClient;

/// Environment variable of the bearer token. Other users see the command line, so the
/// token is not an option.
const TOKEN: &str = "PINNERSAGE_TOKEN";

/// How long to wait for a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The server that a command calls.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// Server to call; its bearer token is read from PINNERSAGE_TOKEN.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    server: String,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Certificates for a server at an https address.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct TlsArgs {
    /// Root of the server's certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate of this client, in PEM.
    #[arg(long, value_name = "FILE", requires = "key", requires = "ca")]
    certificate: Option<PathBuf>,
    /// Key of this client's certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// A connection whose calls carry the bearer token, if there is one.
pub(super) type Connection = InterceptedService<Channel, Token>;

/// A client for single pins.
pub(super) type PinClient = CatalogServiceClient<Connection>;

/// A client for operators.
pub(super) type AdminClient = AdminServiceClient<Connection>;

/// The `authorization` header of each call.
#[derive(Clone, Debug)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl ServerArgs {
    pub(super) fn new(server: String) -> Self {
        let tls = TlsArgs::default();
        Self { server, tls }
    }

    pub(super) async fn connect(&self) -> anyhow::Result<RecommendationServiceClient<Connection>> {
        Ok(RecommendationServiceClient::new(self.connection().await?))
    }

    pub(super) async fn connect_for_actions(
        &self,
    ) -> anyhow::Result<ActionServiceClient<Connection>> {
        Ok(ActionServiceClient::new(self.connection().await?))
    }

    pub(super) async fn connect_for_pins(&self) -> anyhow::Result<PinClient> {
        Ok(CatalogServiceClient::new(self.connection().await?))
    }

    pub(super) async fn connect_for_admin(&self) -> anyhow::Result<AdminClient> {
        self.connect_for_admin_within(CALL_TIMEOUT).await
    }

    /// The same for calls that may take as long as `timeout`.
    pub(super) async fn connect_for_admin_within(
        &self,
        timeout: Duration,
    ) -> anyhow::Result<AdminClient> {
        let connection = connection_within(&self.server, &self.tls, timeout).await?;
        Ok(AdminServiceClient::new(connection))
    }

    pub(super) async fn connection(&self) -> anyhow::Result<Connection> {
        connection(&self.server, &self.tls).await
    }
}

/// Connects to the server at `url`.
pub(super) async fn connection(url: &str, tls: &TlsArgs) -> anyhow::Result<Connection> {
    connection_within(url, tls, CALL_TIMEOUT).await
}

/// Connects to the server at `url`, for calls that may take as long as `timeout`.
async fn connection_within(
    url: &str,
    tls: &TlsArgs,
    timeout: Duration,
) -> anyhow::Result<Connection> {
    let mut endpoint = Channel::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout);
    let is_secure = url.starts_with("https:");
    anyhow::ensure!(
        is_secure || tls.ca.is_none(),
        "--ca is for https, not {url}"
    );
    if is_secure {
        anyhow::ensure!(
            tls.ca.is_some(),
            "{url} needs --ca, the root of its certificate"
        );
        let pem = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &tls.ca {
            config = config.ca_certificate(Certificate::from_pem(pem(ca)?));
        }
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            config = config.identity(Identity::from_pem(pem(certificate)?, pem(key)?));
        }
        endpoint = endpoint.tls_config(config)?;
    }
    let token = env::var(TOKEN).ok().map(|token| format!("Bearer {token}"));
    let token = token
        .map(|token| token.parse::<MetadataValue<_>>())
        .transpose();
    let mut token = token.with_context(|| format!("{TOKEN} is no token"))?;
    if let Some(token) = &mut token {
        token.set_sensitive(true);
    }
    let connected = endpoint.connect().await;
    let channel = connected.with_context(|| format!("no server at {url}"))?;
    Ok(InterceptedService::new(channel, Token(token)))
}

/// The error of a failed call, in the words of the server. A connection that broke has
/// none, so its causes are told, and what is wrong most often.
pub(super) fn status_error(status: &tonic::Status) -> anyhow::Error {
    let source = std::error::Error::source(status);
    let Some(broken) = source.filter(|source| source.is::<tonic::transport::Error>()) else {
        return anyhow::anyhow!("{}: {}", status.code(), status.message());
    };
    let causes = std::iter::successors(broken.source(), |cause| cause.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    anyhow::anyhow!(
        "the connection broke: {} (a server with TLS needs an https:// address and --ca)",
        causes.join(": ")
    )
}

/// A title for people, in one line: a dash for a pin without one.
pub(super) fn display_title(title: &str) -> Cow<'_, str> {
    printable(if title.is_empty() { "-" } else { title })
}
