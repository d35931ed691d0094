//! What a server keeps, on a disk that is full and has space again.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::catalog_service_client::CatalogServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::common;
use crate::common::World;
use crate::common::process::{Process, path, serve_command};
use crate::common::server::{http_get, save};
use crate::common::wait::{PATIENCE, wait_until, within};

const ACTION_SERVICE: &str = "pinnersage.v1.ActionService";
/// Actions of one call.
const CALL: u64 = 500;

/// A small file system in a name space of its own, with a large file on it.
struct SmallDisk {
    holder: Child,
    directory: PathBuf,
}

impl SmallDisk {
    fn mount(directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).expect("a directory");
        let mount = r#"mount -t tmpfs -o size=8m tmpfs "$1" &&
            dd if=/dev/zero of="$1/ballast" bs=1k count=7000 status=none && echo mounted && read end"#;
        let mut holder = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                mount,
                "sh",
            ])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut said = String::new();
        let stdout = holder.stdout.take().expect("a pipe");
        let read = BufReader::new(stdout).read_line(&mut said);
        read.expect("a line");
        assert_eq!(said, "mounted\n");
        Self { holder, directory }
    }

    /// `command` where the file system is mounted.
    fn within(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--target", &self.holder.id().to_string()])
            .args(["--user", "--mount", "--preserve-credentials"])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        inside
    }

    /// Removes the large file.
    fn make_space(&self) {
        let mut remove = Command::new("rm");
        remove.arg(self.directory.join("ballast"));
        let removed = self.within(&remove).status().expect("nsenter runs");
        assert!(removed.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn action(number: u64) -> v1::Action {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now = since.expect("after 1970").as_secs() as i64;
    let (user, pin) = (1_000 + number % 500, number % common::PINS);
    save(u128::from(number), user, pin, now - 60)
}

/// Sends the actions with [`CALL`] numbers from `first` on.
async fn send(
    client: &mut ActionServiceClient<Channel>,
    first: u64,
) -> Result<Vec<ActionStatus>, Status> {
    let actions = (first..first + CALL).map(action).collect();
    let answer = client
        .record_actions(v1::RecordActionsRequest { actions })
        .await?;
    Ok(answer.get_ref().results().collect())
}

async fn health(process: &Process, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(process.channel().await);
    let service = service.to_owned();
    let answer = client.check(HealthCheckRequest { service }).await;
    answer.expect("an answer").get_ref().status()
}

async fn delete_pin(process: &Process) -> Result<(), Status> {
    let mut client = CatalogServiceClient::new(process.channel().await);
    let request = v1::DeletePinsRequest {
        pin_ids: vec![1],
        ..Default::default()
    };
    client.delete_pins(request).await.map(drop)
}

/// Every action that was acknowledged before is a duplicate.
async fn assert_all_there(client: &mut ActionServiceClient<Channel>, calls: &[u64]) {
    for &first in calls {
        let results = send(client, first).await.expect("an answer");
        let duplicate = |status: &ActionStatus| *status == ActionStatus::Duplicate;
        assert!(results.iter().all(duplicate), "{first}: {results:?}");
    }
}

/// Sends actions until they are refused. Returns the first number of each call that was
/// acknowledged, and of the one that was refused.
async fn fill(client: &mut ActionServiceClient<Channel>) -> (Vec<u64>, u64) {
    let mut acknowledged = Vec::new();
    for first in (0..1_000_000).step_by(CALL as usize) {
        match send(client, first).await {
            Ok(_) => acknowledged.push(first),
            Err(refused) => {
                assert_eq!(refused.code(), Code::Unavailable, "{refused}");
                return (acknowledged, first);
            }
        }
    }
    panic!("the disk is never full");
}

#[tokio::test]
#[ignore = "needs unshare(1) and user name spaces; CI runs it with --ignored"]
async fn writing_stops_on_a_full_disk_and_goes_on_once_there_is_space() {
    let world = World::built();
    let disk = SmallDisk::mount(world.path("disk"));
    let mut serve = serve_command(&world);
    serve.args(["--data", path(&disk.directory.join("data"))]);
    let process = Process::start(&mut disk.within(&serve));
    let mut client = ActionServiceClient::new(process.channel().await);
    let mut watching = HealthClient::new(process.channel().await);
    let service = ACTION_SERVICE.to_owned();
    let watched = watching.watch(HealthCheckRequest { service }).await;
    let mut watched = watched.expect("a stream").into_inner();
    let mut next_status = async || {
        let message = within("a status", PATIENCE, watched.message()).await;
        message.expect("a stream").expect("a status").status()
    };
    assert_eq!(next_status().await, ServingStatus::Serving);

    let (acknowledged, refused) = fill(&mut client).await;
    assert!(!acknowledged.is_empty());
    assert_eq!(next_status().await, ServingStatus::NotServing);
    assert_eq!(
        health(&process, ACTION_SERVICE).await,
        ServingStatus::NotServing
    );
    for reading in ["", "pinnersage.v1.RecommendationService"] {
        assert_eq!(health(&process, reading).await, ServingStatus::Serving);
    }
    let ready = http_get(&process.ops, "/readyz").await;
    assert!(
        ready.contains("200") && ready.contains("nothing is recorded"),
        "{ready}"
    );
    let again = send(&mut client, refused).await.expect_err("a full disk");
    assert_eq!(again.code(), Code::Unavailable, "{again}");
    let deletion = delete_pin(&process).await.expect_err("a full disk");
    assert_eq!(deletion.code(), Code::Unavailable, "{deletion}");

    disk.make_space();
    assert_eq!(next_status().await, ServingStatus::Serving);
    let refused = send(&mut client, refused).await.expect("an answer");
    // All of them are in, or none.
    let first = refused[0];
    assert!([ActionStatus::Accepted, ActionStatus::Duplicate].contains(&first));
    assert!(refused.iter().all(|&status| status == first), "{refused:?}");
    delete_pin(&process).await.expect("space");
    assert_all_there(&mut client, &acknowledged).await;
    process.stop();

    let process = Process::start(&mut disk.within(&serve));
    let mut client = ActionServiceClient::new(process.channel().await);
    assert_all_there(&mut client, &acknowledged).await;
    wait_until("a ready server", PATIENCE, async || {
        http_get(&process.ops, "/readyz").await.ends_with("ready\n")
    })
    .await;
    process.stop();
}
