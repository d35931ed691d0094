//! The program as a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;
use tonic::transport::Channel;

use super::World;
use super::server::connect;
use super::wait::{PATIENCE, POLL};

/// The program with a subcommand, whose server does not make a test wait until others
/// have noticed its end.
pub(crate) fn command(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinnersage"));
    command
        .args(arguments)
        .env("PINNERSAGE__SERVE__DRAIN_DELAY", "0s");
    command
}

/// The server of what is built in a world.
pub(crate) fn serve_command(world: &World) -> Command {
    serve_command_of(&world.path("catalog"), &world.path("profiles"))
}

/// The server of a catalog and profiles.
pub(crate) fn serve_command_of(catalog: &Path, profiles: &Path) -> Command {
    let mut command = command(["serve", "--catalog", path(catalog)]);
    command
        .args(["--profiles", path(profiles)])
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .env("PINNERSAGE__LOG__FORMAT", "json");
    command
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn run(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> String {
    run_command(&mut command(arguments))
}

/// The same for a command with more than arguments.
pub(crate) fn run_command(command: &mut Command) -> String {
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command that must be refused, and returns what it said. The code is 1, or 2 where
/// the arguments already say that it cannot be.
pub(crate) fn refusal(command: &mut Command) -> String {
    let (code, said) = failure(command);
    assert!([1, 2].contains(&code), "{command:?}: {said}");
    said
}

/// Runs a command that must fail, and returns its exit code and what it said.
pub(crate) fn failure(command: &mut Command) -> (i32, String) {
    let output = output(command);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let code = output.status.code().expect("no signal");
    assert_ne!(code, 0, "{command:?}: {said}");
    (code, said)
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let stdout = read_to_end(child.stdout.take().expect("a pipe"));
    let stderr = read_to_end(child.stderr.take().expect("a pipe"));
    Output {
        status: wait_for_end(&mut child, &format!("{command:?}")),
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

fn read_to_end(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe");
        bytes
    })
}

fn wait_for_end(child: &mut Child, what: &str) -> ExitStatus {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        std::thread::sleep(POLL);
    }
    child.kill().expect("a process to kill");
    panic!("waited {PATIENCE:?} in vain for the end of {what}");
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a name")
}

/// A server in a process of its own.
pub(crate) struct Process {
    child: Child,
    log: Receiver<String>,
    pub(crate) url: String,
    /// Address of probes and metrics.
    pub(crate) ops: String,
}

impl Process {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = Self::start_loading(command);
        process.wait_for("ready");
        process
    }

    /// Starts a server and waits until it listens, which it does before it loads.
    pub(crate) fn start_loading(command: &mut Command) -> Self {
        let mut process = Self::spawn(command);
        let listening = process.wait_for("listening");
        let address = |name: &str| listening[name].as_str().expect("an address").to_owned();
        process.url = format!("http://{}", address("grpc"));
        process.ops = address("ops");
        process
    }

    /// Starts the demo and waits until it serves. Also returns what it has printed.
    pub(crate) fn start_demo(command: &mut Command) -> (Self, String) {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program runs");
        let stdout = child.stdout.take().expect("a pipe");
        let mut process = Self::reading(child, stdout);
        let mut printed = String::new();
        let address = process.read_until("an address", |line| {
            printed.push_str(line);
            printed.push('\n');
            let rest = line.strip_prefix("Serving at ")?;
            Some(rest.split(' ').next()?.to_owned())
        });
        process.url = format!("http://{address}");
        (process, printed)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        let stderr = child.stderr.take().expect("a pipe");
        Self::reading(child, stderr)
    }

    fn reading(child: Child, output: impl Read + Send + 'static) -> Self {
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                // A test that is over reads no more.
                let _ = lines.send(line.expect("a line"));
            }
        });
        Self {
            child,
            log,
            url: String::new(),
            ops: String::new(),
        }
    }

    /// Reads the log up to the line with `message`, and returns its fields.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        self.read_until(message, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = line["fields"].clone();
            (fields["message"] == message).then_some(fields)
        })
    }

    /// Reads lines until one has `text`, and returns it.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.read_until(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Reads lines until `find` has found something in one.
    fn read_until<T>(&mut self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut seen = String::new();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let line = match self.log.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited {PATIENCE:?} in vain for {what:?}: {seen}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the output ended without {what:?}: {seen}")
                }
            };
            seen.push_str(&line);
            seen.push('\n');
            if let Some(found) = find(&line) {
                return found;
            }
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(&self.url).await.expect("a server")
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a process to kill");
        self.end();
    }

    /// Sends SIGTERM and waits for a clean end.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        self.wait_for("stopped");
        assert_eq!(self.end(), Some(0));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .expect("kill runs");
        assert!(kill.success());
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        wait_for_end(&mut self.child, "the server").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of use only when a test has failed; otherwise it has ended.
        let _ = self.child.kill();
    }
}
