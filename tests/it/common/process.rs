//! The program as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

/// The program, which does not make a test wait until others have noticed its end.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinnersage"));
    command.env("PINNERSAGE__SERVE__DRAIN_DELAY", "0s");
    command
}

/// Runs a command that must succeed, and gives back what it printed.
pub fn run(arguments: &[&str]) -> String {
    run_as(command().args(arguments))
}

/// The same for a command that is told more than its arguments.
pub fn run_as(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

pub fn path(path: &Path) -> &str {
    path.to_str().expect("a name")
}

/// A server in a process of its own.
pub struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    pub url: String,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(command().args(arguments))
    }

    /// Starts a server with a command that runs it, and waits until it is ready.
    pub fn start_as(command: &mut Command) -> Self {
        let mut process = Self::start_watched(command);
        process.wait_for("ready");
        process
    }

    /// Starts a server with a command that runs it, and waits until it listens: the
    /// next line to wait for is said while it loads.
    pub fn start_watched(command: &mut Command) -> Self {
        let mut process = Self::spawn(command);
        let listening = process.wait_for("listening");
        process.url = format!("http://{}", listening["grpc"].as_str().expect("an address"));
        process
    }

    /// Runs a server that must not get ready, and gives back what it said.
    pub fn start_in_vain(arguments: &[&str]) -> String {
        let mut process = Self::spawn(command().args(arguments));
        let mut said = String::new();
        process.log.read_to_string(&mut said).expect("a log");
        assert!(!process.child.wait().expect("an end").success(), "{said}");
        said
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .env("PINNERSAGE__LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        Self {
            child,
            log,
            url: String::new(),
        }
    }

    /// Reads the log up to the line with `message`.
    pub fn wait_for(&mut self, message: &str) -> Value {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("a log");
            assert!(read > 0, "{message:?} was not said: {seen}");
            seen.push_str(&line);
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if line["fields"]["message"] == message {
                return line["fields"].clone();
            }
        }
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("an end");
    }

    /// Sends SIGTERM and waits for a clean end.
    pub fn stop(mut self) {
        self.signal("TERM");
        self.wait_for("stopped");
        assert_eq!(self.end(), Some(0));
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .expect("kill runs");
        assert!(kill.success());
    }

    /// Waits for the end, and gives back the exit code.
    pub fn end(&mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of use only when a test has failed; otherwise it has ended.
        let _ = self.child.kill();
    }
}
