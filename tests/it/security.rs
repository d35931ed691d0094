//! Certificates and tokens: who is let in, who is not, and what is said of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::World;
use crate::common::process::{Process, command, output, path, refusal, serve_command};
use crate::common::server::{Server, ask, params};
use crate::common::wait::{PATIENCE, wait_for, wait_until};
use pinnersage::serve::{AuthParams, SecurityParams, ServeParams, TlsParams};
use pinnersage::wire::v1;
use pinnersage::wire::v1::admin_service_client::AdminServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const TOKEN: &str = "the-token-of-the-ranker";

/// A root and what it signs.
struct Root(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Root {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A server's files, and the root of clients.
struct Files {
    world: World,
    root: Root,
}

impl Files {
    fn new() -> Self {
        let (world, root) = (World::built(), Root::new());
        let files = Self { world, root };
        files.write_server(&files.root.sign("localhost", |_| {}));
        fs::write(files.path("ca.pem"), files.root.0.pem()).expect("a disk");
        let callers = format!(
            "[[caller]]\nname = \"ranker\"\nroles = [\"read\"]\n\
             token = \"{TOKEN}\"\ncertificate = \"ranker.example\"\n"
        );
        fs::write(files.path("callers.toml"), callers).expect("a disk");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    fn write_server(&self, pair: &Pair) {
        fs::write(self.path("server.pem"), &pair.certificate).expect("a disk");
        fs::write(self.path("server.key"), &pair.key).expect("a disk");
    }

    fn params(&self, callers: bool) -> ServeParams {
        let security = SecurityParams {
            tls: Some(TlsParams {
                certificate: self.path("server.pem"),
                key: self.path("server.key"),
                client_ca: Some(self.path("ca.pem")),
            }),
            auth: AuthParams {
                callers: callers.then(|| self.path("callers.toml")),
                reload: Duration::from_millis(1),
            },
        };
        ServeParams {
            security,
            ..params()
        }
    }

    async fn channel(&self, port: u16, own: Option<&Pair>) -> Result<Channel, String> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.root.0.pem()))
            .domain_name("localhost");
        if let Some(Pair { certificate, key }) = own {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}"));
        let endpoint = endpoint.expect("an address").tls_config(tls);
        let endpoint = endpoint.expect("good files").timeout(PATIENCE);
        let connected = endpoint.connect_timeout(PATIENCE).connect().await;
        connected.map_err(|error| format!("{error:?}"))
    }
}

async fn recommend(channel: Channel, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(ask(1));
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = RecommendationServiceClient::new(channel);
    client.recommend(request).await.map(|_| ())
}

fn code(outcome: &Result<(), Status>) -> Code {
    outcome.as_ref().map_or_else(Status::code, |()| Code::Ok)
}

#[tokio::test]
async fn who_has_neither_a_good_certificate_nor_a_token_is_told_why() {
    let files = Files::new();
    let server = Server::start_with(&files.world, files.params(true)).await;
    let port = server.grpc.port();
    let stranger = Root::new().sign("ranker.example", |_| {});
    let past = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    };
    let expired = files.root.sign("ranker.example", past);
    let other = files.root.sign("other.example", |_| {});
    let ranker = files.root.sign("ranker.example", |_| {});
    let cases = [
        (
            None,
            None,
            Code::Unauthenticated,
            "neither a token nor a certificate",
        ),
        (
            Some(&stranger),
            None,
            Code::Unauthenticated,
            "does not hold",
        ),
        (Some(&expired), None, Code::Unauthenticated, "expired"),
        (Some(&other), None, Code::Unauthenticated, "other.example"),
        (
            None,
            Some("a-token-of-nobody"),
            Code::Unauthenticated,
            "the token is not known",
        ),
        (
            Some(&ranker),
            Some("a-token-of-nobody"),
            Code::Unauthenticated,
            "token",
        ),
        (Some(&ranker), None, Code::Ok, ""),
        (None, Some(TOKEN), Code::Ok, ""),
        (Some(&expired), Some(TOKEN), Code::Ok, ""),
    ];
    for (own, token, expected, reason) in cases {
        let channel = files.channel(port, own).await.expect("a handshake");
        let outcome = recommend(channel.clone(), token).await;
        assert_eq!(code(&outcome), expected, "{outcome:?}");
        if let Err(status) = outcome {
            assert!(status.message().contains(reason), "{status:?}");
            assert!(!status.message().contains("a-token"), "{status:?}");
        }
        // Probes have no credentials.
        let mut health = HealthClient::new(channel);
        let check = health.check(HealthCheckRequest::default());
        check.await.expect("health answers everybody");
    }
    let channel = files.channel(port, Some(&ranker)).await;
    let channel = channel.expect("a handshake");
    let mut admin = AdminServiceClient::new(channel);
    let wrong_role = admin.get_status(v1::GetStatusRequest {}).await;
    let wrong_role = wrong_role.expect_err("the ranker only reads");
    assert_eq!(wrong_role.code(), Code::PermissionDenied);
    assert_eq!(
        wrong_role.message(),
        "caller ranker does not have the role admin"
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn without_a_list_of_callers_a_good_certificate_is_enough_for_everything() {
    let files = Files::new();
    let server = Server::start_with(&files.world, files.params(false)).await;
    let port = server.grpc.port();
    let anybody = files.root.sign("anybody.example", |_| {});
    let channel = files
        .channel(port, Some(&anybody))
        .await
        .expect("a handshake");
    assert_eq!(code(&recommend(channel.clone(), None).await), Code::Ok);
    let mut admin = AdminServiceClient::new(channel);
    let status = admin.get_status(v1::GetStatusRequest {}).await;
    status.expect("an answer");
    let channel = files.channel(port, None).await.expect("a handshake");
    // A token is of no use where there is no list.
    assert_eq!(
        code(&recommend(channel, Some(TOKEN)).await),
        Code::Unauthenticated
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn new_certificates_and_callers_are_taken_over_and_broken_ones_are_not() {
    let files = Files::new();
    let server = Server::start_with(&files.world, files.params(true)).await;
    let port = server.grpc.port();
    // The client trusts one root only, so that it can tell which certificate it sees.
    let sees_a_stranger = async || files.channel(port, None).await.is_err();
    assert!(!sees_a_stranger().await);
    fs::write(files.path("server.pem"), "nonsense").expect("a disk");
    // Looked at many times meanwhile.
    for _ in 0..50 {
        assert!(!sees_a_stranger().await, "the old one stays");
    }
    files.write_server(&Root::new().sign("localhost", |_| {}));
    let new = "the new certificate";
    wait_until(new, PATIENCE, sees_a_stranger).await;
    files.write_server(&files.root.sign("localhost", |_| {}));
    wait_until(new, PATIENCE, async || !sees_a_stranger().await).await;

    let callers = "[[caller]]
name = \"b\"
roles = [\"read\"]
token = \"another-long-token\"";
    fs::write(files.path("callers.toml"), callers).expect("a disk");
    let refusing_channel = async || {
        let channel = files.channel(port, None).await.expect("a handshake");
        let old = recommend(channel.clone(), Some(TOKEN)).await;
        old.is_err().then_some(channel)
    };
    let channel = wait_for("the new list of callers", PATIENCE, refusing_channel).await;
    let outcome = recommend(channel, Some("another-long-token")).await;
    assert_eq!(code(&outcome), Code::Ok);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_refused_call_is_one_line_of_the_log_without_the_secret() {
    let files = Files::new();
    let mut serve = serve_command(&files.world);
    serve
        .env("PINNERSAGE__TLS__CERTIFICATE", files.path("server.pem"))
        .env("PINNERSAGE__TLS__KEY", files.path("server.key"))
        .env("PINNERSAGE__AUTH__CALLERS", files.path("callers.toml"));
    let mut server = Process::start(&mut serve);
    // Its certificate is for a name, which an address is not.
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    let ask = |token: &str| {
        let mut ask = command(["recommend", "--user", "1", "--server", &url]);
        ask.args(["--ca", path(&files.path("ca.pem"))])
            .env("PINNERSAGE_TOKEN", token);
        output(&mut ask)
    };
    let refused = ask("a-token-of-nobody");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("the token is not known"),
        "{said}"
    );
    let line = server.wait_for("call refused");
    assert_eq!(line["code"], "UNAUTHENTICATED");
    assert_eq!(line["reason"], "the token is not known");
    assert!(!line.to_string().contains("a-token"), "{line}");
    let answered = ask(TOKEN);
    assert!(
        answered.status.success(),
        "{:?}",
        String::from_utf8_lossy(&answered.stderr)
    );
    server.stop();
}

#[tokio::test]
async fn an_address_without_tls_for_a_server_with_it_is_told_with_a_hint() {
    let files = Files::new();
    let mut serve = serve_command(&files.world);
    serve
        .env("PINNERSAGE__TLS__CERTIFICATE", files.path("server.pem"))
        .env("PINNERSAGE__TLS__KEY", files.path("server.key"));
    let server = Process::start(&mut serve);
    let said = refusal(&mut command([
        "recommend",
        "--user",
        "1",
        "--server",
        &server.url,
    ]));
    assert!(said.contains("the connection broke: "), "{said}");
    assert!(said.contains("https:// address and --ca"), "{said}");
    server.stop();
}

#[tokio::test]
async fn a_server_that_everybody_reaches_and_may_call_warns() {
    let world = World::built();
    let serve = |address: &str| {
        let mut serve = command(["serve", "--listen", address, "--ops-listen", "127.0.0.1:0"]);
        serve
            .args(["--catalog", path(&world.path("catalog"))])
            .args(["--profiles", path(&world.path("profiles"))])
            .env("PINNERSAGE__LOG__FORMAT", "json");
        serve
    };
    let mut open = Process::start_loading(&mut serve("0.0.0.0:0"));
    let message = "whoever reaches the port may call: set auth.callers or tls.client_ca";
    assert!(open.wait_for(message)["grpc"].is_string());
    open.wait_for("ready");
    open.stop();
}
