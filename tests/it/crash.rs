//! Recorded actions through crashes and damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::common;
use crate::common::World;
use crate::common::files::archived;
use crate::common::process::{Process, path, refusal, serve_command};
use crate::common::server::save;
use crate::common::wait::{PATIENCE, within};
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tonic::transport::Channel;

const ROUNDS: u64 = 20;
const WRITERS: u64 = 3;
/// Users without a profile, from this id on: so many that each has fewer actions
/// than [`CLUSTERED`].
const FIRST_USER: u64 = 1_000;
const USERS: u64 = 2_000;
/// Actions of a user that are clustered, so that each of them counts.
const CLUSTERED: &str = "200";
/// Between the first numbers of two writers, which begin with other users.
const NUMBERS: u64 = 1_000_000 + USERS / (ROUNDS * WRITERS);

/// A world with a directory for actions.
struct Home {
    world: World,
}

impl Home {
    fn new() -> Self {
        Self {
            world: World::built(),
        }
    }

    fn data(&self) -> PathBuf {
        self.world.path("data")
    }

    fn command(&self) -> Command {
        let mut command = serve_command(&self.world);
        command
            .args(["--data", path(&self.data())])
            .env("PINNERSAGE__ACTIONS__CLUSTERED", CLUSTERED)
            .env("PINNERSAGE__ACTIONS__POSITIVE", CLUSTERED);
        command
    }

    fn start(&self) -> Process {
        Process::start(&mut self.command())
    }

    fn archive(&self) -> PathBuf {
        self.world.path("archive")
    }

    /// The same, with what is recorded archived at once.
    fn start_archiving(&self) -> Process {
        let mut command = self.command();
        command
            .env("PINNERSAGE__ACTIONS__ARCHIVE", self.archive())
            .env("PINNERSAGE__ACTIONS__ARCHIVE_EVERY", "10ms");
        Process::start(&mut command)
    }

    /// What a server says that must not get ready.
    fn refusal(&self) -> String {
        refusal(&mut self.command())
    }

    /// The journal that is written to, and its bytes up to the last that is not
    /// zero.
    fn journal(&self) -> (PathBuf, Vec<u8>) {
        let files = std::fs::read_dir(self.data().join("log")).expect("a log");
        let files = files.map(|file| file.expect("an entry").path());
        let journals = files.filter(|path| path.extension().is_some_and(|end| end == "jnl"));
        let journal = journals.max().expect("a journal");
        let mut bytes = std::fs::read(&journal).expect("a file");
        let end = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |at| at + 1);
        bytes.truncate(end);
        (journal, bytes)
    }
}

async fn client(process: &Process) -> ActionServiceClient<Channel> {
    ActionServiceClient::new(process.channel().await)
}

/// The action with this number; its user and pin follow from it.
fn action(number: u64) -> v1::Action {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.expect("after 1970").as_secs() as i64;
    let (user, pin) = (FIRST_USER + number % USERS, number % common::PINS);
    save(u128::from(number), user, pin, now - 60)
}

async fn send(
    client: &mut ActionServiceClient<Channel>,
    numbers: &[u64],
) -> Result<Vec<ActionStatus>, tonic::Status> {
    let actions = numbers.iter().copied().map(action).collect();
    let answer = client
        .record_actions(v1::RecordActionsRequest { actions })
        .await?;
    Ok(answer.get_ref().results().collect())
}

/// How many actions of each user count.
async fn counted(process: &Process) -> BTreeMap<u64, u64> {
    let mut client = RecommendationServiceClient::new(process.channel().await);
    let mut counts = BTreeMap::new();
    for user in FIRST_USER..FIRST_USER + USERS {
        let request = v1::ExplainUserRequest {
            user_id: Some(user),
            ..Default::default()
        };
        let answer = client.explain_user(request).await.expect("an answer");
        let interests = answer.get_ref().interests.iter();
        let count: u32 = interests.map(|interest| interest.recent_actions).sum();
        counts.insert(user, u64::from(count));
    }
    counts
}

fn by_user(numbers: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
    let mut counts: BTreeMap<u64, u64> = (FIRST_USER..FIRST_USER + USERS)
        .map(|user| (user, 0))
        .collect();
    for number in numbers {
        *counts.entry(FIRST_USER + number % USERS).or_default() += 1;
    }
    counts
}

/// Numbers that were sent, and those of them that were acknowledged.
#[derive(Default)]
struct Sent {
    all: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

/// Sends new actions until the server is gone, which it is after so many answers.
async fn write_until_killed(process: Process, round: u64, sent: Arc<Mutex<Sent>>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(round);
    let answers = rng.random_range(1..40);
    let (answered, mut answer) = tokio::sync::mpsc::unbounded_channel();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = client(&process).await;
        let (sent, answered) = (sent.clone(), answered.clone());
        let mut rng = ChaCha8Rng::seed_from_u64(round * WRITERS + writer);
        writers.spawn(async move {
            let mut next = (round * WRITERS + writer) * NUMBERS;
            loop {
                let numbers: Vec<u64> = (next..).take(rng.random_range(1..30)).collect();
                next += numbers.len() as u64;
                sent.lock().expect("no panic").all.extend(&numbers);
                let Ok(results) = send(&mut client, &numbers).await else {
                    break;
                };
                assert!(
                    results
                        .iter()
                        .all(|&status| status == ActionStatus::Accepted)
                );
                sent.lock().expect("no panic").acknowledged.extend(&numbers);
                // The test may have heard enough.
                let _ = answered.send(());
            }
        });
    }
    for _ in 0..answers {
        let answered = within("an answer", PATIENCE, answer.recv()).await;
        answered.expect("a writer");
    }
    process.kill();
    let ended = within("the end of the writers", PATIENCE, writers.join_all()).await;
    assert_eq!(ended.len() as u64, WRITERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_action_is_lost_or_counted_twice_by_kills() {
    let home = Home::new();
    let sent = Arc::new(Mutex::new(Sent::default()));
    for round in 0..ROUNDS {
        write_until_killed(home.start_archiving(), round, sent.clone()).await;
    }
    let sent = std::mem::take(&mut *sent.lock().expect("no panic"));
    let Sent { all, acknowledged } = sent;
    assert!(acknowledged.len() > 1_000, "{}", acknowledged.len());
    let process = home.start_archiving();
    let mut client = client(&process).await;
    let counts = counted(&process).await;
    for (user, count) in by_user(&acknowledged) {
        assert!(counts[&user] >= count, "an action of user {user} is lost");
    }
    // Everything once more, as a feeder would that was told nothing.
    let numbers: Vec<u64> = all.iter().copied().collect();
    for numbers in numbers.chunks(500) {
        let results = send(&mut client, numbers).await.expect("an answer");
        for (number, result) in numbers.iter().zip(results) {
            let expected = acknowledged.contains(number);
            assert!(result == ActionStatus::Duplicate || !expected, "{number}");
        }
    }
    assert_eq!(self::counted(&process).await, by_user(&all));
    process.stop();
    let archived = archived(&home.archive());
    let archived = archived
        .iter()
        .map(|action| u128::from_be_bytes(action.id.0));
    let all = all.into_iter().map(u128::from);
    assert!(archived.eq(all), "each action is in one file");
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused() {
    let home = Home::new();
    let process = home.start();
    let mut client = client(&process).await;
    send(&mut client, &[1]).await.expect("an answer");
    let said = home.refusal();
    assert!(said.contains("another process uses it"), "{said}");
    assert!(!home.data().join("journals-as-found").exists());
    send(&mut client, &[2]).await.expect("an answer");
    assert_eq!(counted(&process).await, by_user(&BTreeSet::from([1, 2])));
    process.stop();
}

#[tokio::test]
async fn an_unacknowledged_tail_is_truncated_and_reported() {
    let home = Home::new();
    let process = home.start();
    let numbers: Vec<u64> = (0..500).collect();
    let mut client = client(&process).await;
    for numbers in numbers.chunks(50) {
        send(&mut client, numbers).await.expect("an answer");
    }
    process.kill();
    // The power failed while the next write was on its way to the disk.
    let (journal, bytes) = home.journal();
    let with_tail = [&bytes[..], &bytes[..bytes.len() / 20]].concat();
    std::fs::write(&journal, &with_tail).expect("a journal");
    let mut process = Process::start_loading(&mut home.command());
    let warning = process.wait_for("truncated the unacknowledged tail of the journal");
    assert_eq!(warning["journal"].as_str(), Some(path(&journal)));
    assert!(warning["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    process.wait_for("ready");
    assert_eq!(
        counted(&process).await,
        by_user(&numbers.into_iter().collect())
    );
    process.stop();
}

#[tokio::test]
async fn a_damaged_byte_is_never_passed_over() {
    let home = Home::new();
    let process = home.start();
    let numbers: Vec<u64> = (0..300).collect();
    let mut client = client(&process).await;
    for numbers in numbers.chunks(30) {
        send(&mut client, numbers).await.expect("an answer");
    }
    process.kill();
    let (journal, bytes) = home.journal();
    let marker = home.data().join("acknowledged");
    let acknowledged = std::fs::read(&marker).expect("a count");
    let kept = home.data().join("journals-as-found");
    for part in 1..8 {
        let mut damaged = bytes.clone();
        damaged[bytes.len() * part / 8] ^= 0x10;
        std::fs::write(&journal, &damaged).expect("a journal");
        let said = home.refusal();
        assert!(said.contains(path(&home.data().join("log"))), "{said}");
        // What was found is still there, wherever the store has cut.
        let found = kept.join(journal.file_name().expect("a name"));
        assert_eq!(std::fs::read(found).expect("a copy"), damaged);
        let said = home.refusal();
        assert!(said.contains("error"), "{said}");
        std::fs::remove_dir_all(&kept).expect("a copy");
    }
    // Whoever has the bytes loses nothing; whoever gives them up goes on with less.
    std::fs::write(&journal, &bytes).expect("a journal");
    let process = home.start();
    assert_eq!(
        counted(&process).await,
        by_user(&numbers.into_iter().collect())
    );
    process.stop();
    assert_eq!(std::fs::read(&marker).expect("a count"), acknowledged);
}

/// Mode bits of `directory` and of all below it that others than the owner have.
fn shared_paths(directory: &Path) -> Vec<PathBuf> {
    let mut shared = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::metadata(&path).expect("a path");
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            shared.push(path);
        }
    }
    shared
}

#[tokio::test]
async fn what_is_kept_belongs_to_the_owner_alone() {
    let home = Home::new();
    let process = home.start();
    let mut client = client(&process).await;
    send(&mut client, &[1]).await.expect("an answer");
    assert_eq!(shared_paths(&home.data()), [] as [PathBuf; 0]);
    process.stop();
    assert_eq!(shared_paths(&home.data()), [] as [PathBuf; 0]);
    // As a server of before has left it.
    let (journal, _) = home.journal();
    let share = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    };
    share(&journal, 0o644);
    share(&home.data(), 0o755);
    let mut process = Process::start_loading(&mut home.command());
    let message = "files that others could read are the owner's alone now";
    assert_eq!(process.wait_for(message)["tightened"], 2);
    process.wait_for("ready");
    assert_eq!(shared_paths(&home.data()), [] as [PathBuf; 0]);
    process.stop();
}
