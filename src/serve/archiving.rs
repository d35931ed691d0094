//! Archiving what was recorded, beside calls and at the end.

use std::future::pending;
use std::sync::Arc;

use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use super::state::Live;
use crate::archive::{ArchiveError, Archived, LogArchiver};
use crate::metrics as names;
use crate::model::Timestamp;

/// Whether the last files could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Failing,
}

/// Archives what was recorded, as often as the settings say. Never ends; without an archive
/// it does nothing.
pub(super) async fn archive_actions(live: &Live, clock: fn() -> Timestamp) {
    let Some(archiver) = live.archiver() else {
        return pending().await;
    };
    let mut ticks = tokio::time::interval(archiver.every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut health = Health::Well;
    loop {
        ticks.tick().await;
        let before = health;
        match archive(archiver.clone(), clock).await {
            Some(Ok(_)) => health = Health::Well,
            Some(Err(error)) => {
                health = Health::Failing;
                // Once, not at each of many attempts.
                if before == Health::Well {
                    tracing::warn!(%error, "actions cannot be archived; they are recorded all the same");
                }
            }
            // A panic is in the log already.
            None => {}
        }
        if (before, health) == (Health::Failing, Health::Well) {
            tracing::info!("actions are archived again");
        }
    }
}

/// Archives the rest, once nothing is recorded any more.
pub(super) async fn archive_rest(live: &Live, clock: fn() -> Timestamp) {
    if let Some(archiver) = live.archiver()
        && let Some(Err(error)) = archive(archiver.clone(), clock).await
    {
        tracing::warn!(%error, "the last actions are not archived; the next start goes on there");
    }
}

/// Archives everything so far; none when that panicked.
async fn archive(
    archiver: Arc<LogArchiver>,
    clock: fn() -> Timestamp,
) -> Option<Result<Archived, ArchiveError>> {
    let archived = spawn_blocking(move || archiver.archive(&clock))
        .await
        .ok()?;
    match &archived {
        Ok(Archived { files, actions }) => {
            counter!(names::ARCHIVE_FILES).increment(*files);
            counter!(names::ARCHIVED_ACTIONS).increment(*actions);
        }
        Err(_) => counter!(names::ARCHIVE_FAILURES).increment(1),
    }
    Some(archived)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use arrow_array::cast::AsArray;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};
    use tempfile::TempDir;

    use super::*;
    use crate::actions::{ActionLimits, ActionParams, Actions, SharedParts};
    use crate::archive::{
        ArchiveParams, Backlog, ReplicaArchiver, erased_through, files, read_rows,
    };
    use crate::durable::memory_log::{MemoryLog, STREAMS};
    use crate::durable::{
        ActionBatch, ActionLog as _, Entry, FrameId, Log, LogError, SharedLog as _,
    };
    use crate::model::{Action, ActionId, ActionWeights, PinId, UserId};

    /// Begins an hour.
    const NOW: i64 = 20_000 * 86_400_000_000;
    const HOUR: i64 = 3_600_000_000;
    /// In microseconds.
    const LEASE: i64 = 30_000_000;
    const USER: UserId = UserId(1);

    /// A log, and an archive that all replicas write to.
    struct World {
        log: MemoryLog,
        root: TempDir,
        now: Cell<i64>,
        appends: Cell<u64>,
    }

    struct Replica {
        checkpoint: Arc<Log>,
        actions: Actions,
        archiver: ReplicaArchiver,
    }

    impl Replica {
        /// What waits to be archived, once all that was read is in the files.
        fn backlog(&self) -> Backlog {
            self.checkpoint.write_out().expect("a checkpoint");
            self.archiver.backlog().expect("a log")
        }
    }

    fn action(id: u16) -> Action {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        Action {
            id: ActionId(bytes),
            user: UserId(u64::from(id % 5)),
            pin: PinId(u64::from(id)),
            name: "save".to_owned(),
            time: Timestamp::from_micros(NOW),
            medoid: None,
            keys: None,
        }
    }

    impl World {
        fn new() -> Self {
            Self {
                log: MemoryLog::default(),
                root: tempfile::tempdir().expect("a directory"),
                now: Cell::new(NOW),
                appends: Cell::new(0),
            }
        }

        fn archive(&self) -> PathBuf {
            self.root.path().join("archive")
        }

        /// A replica with this name that writes to `archive`.
        fn open_to(&self, name: &str, archive: &Path) -> Replica {
            let data = self.root.path().join(name);
            let checkpoint = Log::open_checkpoint(&data, || Ok(self.log.id()));
            let checkpoint = Arc::new(checkpoint.expect("a checkpoint"));
            let params = ArchiveParams {
                directory: Some(archive.to_owned()),
                every: Duration::from_secs(1),
            };
            let log = Arc::new(self.log.clone());
            let archiver = ReplicaArchiver::new(checkpoint.clone(), log.clone(), STREAMS, &params);
            let archiver = archiver.expect("a checkpoint").expect("an archive");
            let params = ActionParams {
                weights: ActionWeights::new([("save".to_owned(), 1.0)].into()),
                limits: ActionLimits::SAMPLE,
            };
            let parts = SharedParts {
                log,
                take_pins: Box::new(|_| {}),
            };
            let now = Timestamp::from_micros(NOW);
            let opened = Actions::open_shared(checkpoint.clone(), parts, params, now);
            Replica {
                actions: opened.expect("recorded actions").0,
                checkpoint,
                archiver,
            }
        }

        fn open(&self, name: &str) -> Replica {
            self.open_to(name, &self.archive())
        }

        /// Appends the actions with these ids as a new message, as some replica would that does
        /// not know which are there.
        fn append(&self, ids: impl IntoIterator<Item = u16>, recorded_at: i64) {
            let actions: Vec<Action> = ids.into_iter().map(action).collect();
            let actions: Vec<&Action> = actions.iter().collect();
            self.appends.set(self.appends.get() + 1);
            let batch = ActionBatch {
                frame: FrameId::new(1, self.appends.get()),
                actions: &actions,
                recorded_at: Timestamp::from_micros(recorded_at),
                is_kept: &|_| false,
            };
            let appended = self.log.append(&Entry::Actions(batch));
            appended.expect("a log in memory");
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.now.get())
        }

        fn end_lease(&self) {
            self.now.set(self.now.get() + LEASE);
        }

        fn archive_by(&self, replica: &Replica) -> Result<u64, ArchiveError> {
            let archived = replica.archiver.archive(&|| self.now());
            archived.map(|archived| archived.actions)
        }

        /// A replica archives, but stands still at its `calls`th look at the clock for as long as
        /// `meanwhile` takes. It looks before it claims, and before each file. Its own clock stands
        /// still as well.
        fn archive_slowly(
            &self,
            replica: &Replica,
            calls: u32,
            meanwhile: impl Fn(),
        ) -> Result<u64, ArchiveError> {
            let (count, now) = (Cell::new(0), self.now());
            let clock = || {
                count.set(count.get() + 1);
                if count.get() == calls {
                    meanwhile();
                }
                now
            };
            let archived = replica.archiver.archive(&clock);
            archived.map(|archived| archived.actions)
        }

        /// A replica archives, and dies at its `calls`th look at the clock.
        fn die_archiving(&self, replica: Replica, calls: u32) {
            let count = Cell::new(0);
            let clock = || {
                count.set(count.get() + 1);
                let is_over = count.get() >= calls;
                Timestamp::from_micros(self.now.get() + i64::from(is_over) * LEASE)
            };
            let died = replica.archiver.archive(&clock);
            assert!(matches!(died, Err(ArchiveError::LeaseOver)), "{died:?}");
            drop(replica);
        }

        /// The ids of all actions in the archive, by their file.
        fn ids(&self) -> BTreeMap<PathBuf, Vec<u16>> {
            let ids_in = |path: &PathBuf| {
                let rows = read_rows(path).expect("a file");
                let ids = rows.flat_map(|rows| {
                    let rows = rows.expect("rows");
                    let ids = rows.column_by_name("action_id").expect("ids");
                    let ids = ids.as_fixed_size_binary().iter().flatten();
                    let ids = ids.map(|id| u16::from_be_bytes([id[0], id[1]]));
                    ids.collect::<Vec<_>>()
                });
                ids.collect()
            };
            let files = files(&self.archive()).expect("an archive");
            files
                .into_iter()
                .map(|path| (path.clone(), ids_in(&path)))
                .collect()
        }

        fn all_ids(&self) -> Vec<u16> {
            let mut all: Vec<u16> = self.ids().into_values().flatten().collect();
            all.sort_unstable();
            all
        }

        fn stated(&self) -> Option<Timestamp> {
            let stated = erased_through(&self.archive()).expect("an archive");
            stated.into_values().next()
        }
    }

    /// Path below `root` and bytes of all files.
    fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files(root).expect("an archive").into_iter();
        let read = |path: PathBuf| {
            let bytes = std::fs::read(&path).expect("a file");
            let below = path.strip_prefix(root).expect("a file of the archive");
            (below.to_owned(), bytes)
        };
        files.map(read).collect()
    }

    fn erase(replica: &Replica, user: UserId) -> Timestamp {
        let erased = replica
            .actions
            .erase(user, Timestamp::from_micros(NOW + 4 * HOUR));
        erased.expect("a log in memory").erased_at
    }

    #[test]
    fn one_replica_archives_at_a_time_and_another_once_it_has_stopped() {
        let world = World::new();
        let [a, b] = ["a", "b"].map(|name| world.open(name));
        world.append(0..30, NOW);
        assert_eq!(a.backlog().actions, 30);
        assert_eq!(world.archive_by(&a).expect("an archive"), 30);
        for replica in [&a, &b] {
            let backlog = replica.backlog();
            assert_eq!((backlog.actions, backlog.oldest), (0, None));
        }
        world.append(30..40, NOW + HOUR);
        let backlog = b.backlog();
        let oldest = Timestamp::from_micros(NOW + HOUR);
        assert_eq!((backlog.actions, backlog.oldest), (10, Some(oldest)));
        assert_eq!(world.archive_by(&b).expect("an archive"), 0);
        assert_eq!(world.archive_by(&a).expect("an archive"), 10);
        world.append(40..50, NOW);
        world.end_lease();
        assert_eq!(world.archive_by(&b).expect("an archive"), 10);
        assert_eq!(world.archive_by(&a).expect("an archive"), 0);
        // Nothing is claimed while nothing is new.
        let before = world.log.newest().expect("a log");
        world.end_lease();
        assert_eq!(world.archive_by(&a).expect("an archive"), 0);
        assert_eq!(world.log.newest().expect("a log"), before);
        assert_eq!(world.all_ids(), Vec::from_iter(0..50));
    }

    #[test]
    fn whichever_replica_writes_a_claim_writes_the_same_files() {
        let world = World::new();
        world.log.double();
        let elsewhere = world.root.path().join("elsewhere");
        let a = world.open("a");
        for round in 0..6 {
            let first = round * 10;
            world.append(first..first + 20, NOW + i64::from(round % 3) * HOUR);
        }
        // It reads the streams one after another, and so has other copies.
        let late = world.open_to("late", &elsewhere);
        let places = |replica: &Replica| {
            replica.checkpoint.write_out().expect("a checkpoint");
            let placed = replica.actions.actions_from(0, usize::MAX).expect("a log");
            let place =
                |placed: crate::durable::PlacedAction| (placed.action.id, placed.place.sequence);
            placed.into_iter().map(place).collect::<BTreeMap<_, _>>()
        };
        assert_ne!(places(&a), places(&late));
        let by_late = Cell::new(0);
        let stopped = world.archive_slowly(&a, 2, || {
            world.end_lease();
            by_late.set(world.archive_by(&late).expect("an archive"));
        });
        assert_eq!((stopped.ok(), by_late.get()), (Some(70), 70));
        let written = contents(&world.archive());
        assert!(written.len() > 3, "{}", written.len());
        assert_eq!(written, contents(&elsewhere));
        assert_eq!(world.all_ids(), Vec::from_iter(0..70));
    }

    #[test]
    fn one_that_wakes_up_after_another_took_over_writes_the_same_file_again() {
        let world = World::new();
        let [a, b] = ["a", "b"].map(|name| world.open(name));
        world.append(0..30, NOW);
        let before = Cell::new(BTreeMap::new());
        let woken = world.archive_slowly(&a, 2, || {
            world.end_lease();
            assert_eq!(world.archive_by(&b).expect("an archive"), 30);
            before.set(contents(&world.archive()));
        });
        assert!(woken.expect("an archive") > 0);
        assert_eq!(contents(&world.archive()), before.take());
        assert_eq!(world.all_ids(), Vec::from_iter(0..30));
    }

    #[test]
    fn what_one_that_died_has_claimed_another_writes_though_nothing_is_new() {
        for calls in 2..5 {
            let world = World::new();
            let b = world.open("b");
            for stream in 0..3 {
                world.append(stream * 10..stream * 10 + 10, NOW);
            }
            // Before the first, second and third file.
            world.die_archiving(world.open("a"), calls);
            assert_eq!(world.ids().len() as u32, calls - 2);
            assert_eq!(b.backlog().actions, 30);
            assert_eq!(world.archive_by(&b).expect("an archive"), 0);
            world.end_lease();
            let left = 30 - world.all_ids().len() as u64;
            assert_eq!(world.archive_by(&b).expect("an archive"), left);
            assert_eq!(world.all_ids(), Vec::from_iter(0..30));
            // A new process is another holder.
            world.append(30..40, NOW);
            let a = world.open("a");
            assert_eq!(world.archive_by(&a).expect("an archive"), 0);
            world.end_lease();
            assert_eq!(world.archive_by(&a).expect("an archive"), 10);
            assert_eq!(world.all_ids(), Vec::from_iter(0..40));
        }
    }

    /// Whatever comes in whatever order, by whatever replica.
    fn archive_at_random(seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let world = World::new();
        let names = ["a", "b", "c"];
        let mut replicas = names.map(|name| Some(world.open(name)));
        let mut appended = BTreeSet::new();
        for step in 0..80u16 {
            let at = rng.random_range(0..3);
            let recorded_at = NOW + rng.random_range(0..3) * HOUR;
            let replica = replicas[at].get_or_insert_with(|| world.open(names[at]));
            match rng.random_range(0..10) {
                0..=3 => {
                    let ids = step * 20..step * 20 + rng.random_range(1..20);
                    appended.extend(ids.clone());
                    world.append(ids, recorded_at);
                }
                4..=5 => {
                    // Once more, in other messages.
                    let first = rng.random_range(0..=step) * 20;
                    let again: Vec<u16> = appended.range(first..first + 35).copied().collect();
                    world.append(again, recorded_at);
                }
                6..=7 => drop(world.archive_by(replica).expect("an archive")),
                8 => {
                    let calls = rng.random_range(1..5);
                    let count = Cell::new(0);
                    let now = world.now.get();
                    let clock = || {
                        count.set(count.get() + 1);
                        let is_over = count.get() >= calls;
                        Timestamp::from_micros(now + i64::from(is_over) * LEASE)
                    };
                    // It may be another's turn.
                    let _ = replica.archiver.archive(&clock);
                    replicas[at] = None;
                    if rng.random_range(0..2) == 0 {
                        // It reads all again.
                        let data = world.root.path().join(names[at]);
                        std::fs::remove_dir_all(data).expect("a checkpoint");
                    }
                }
                _ => world
                    .now
                    .set(world.now.get() + rng.random_range(0..2 * LEASE)),
            }
        }
        world.now.set(world.now.get() + 3 * LEASE);
        let last = world.open("last");
        world.archive_by(&last).expect("an archive");
        let expected: Vec<u16> = appended.into_iter().collect();
        assert_eq!(world.all_ids(), expected, "seed {seed}");
    }

    #[test]
    fn each_action_is_in_one_file_whoever_dies_and_whatever_comes_twice() {
        (0..3).for_each(archive_at_random);
    }

    #[test]
    fn users_who_are_erased_while_a_file_is_written_are_not_in_it() {
        let world = World::new();
        let [a, b] = ["a", "b"].map(|name| world.open(name));
        world.append(0..30, NOW);
        let erased_at = Cell::new(None);
        let archived = world.archive_slowly(&a, 2, || {
            erased_at.set(Some(erase(&b, USER)));
            // No file is there yet, and one with the user will be.
            assert_eq!(b.archiver.erase(USER).expect("an archive").actions, 0);
            assert_eq!(world.stated(), None);
        });
        assert_eq!(archived.expect("an archive"), 30);
        let others = Vec::from_iter((0..30).filter(|id| id % 5 != 1));
        assert_eq!(world.all_ids(), others);
        // Now no claim is left of before the erasure.
        world.archive_by(&b).expect("an archive");
        assert_eq!(world.stated(), erased_at.get());
    }

    #[test]
    fn an_erasure_that_is_read_late_is_made_good_before_the_next_claim() {
        let world = World::new();
        let a = world.open("a");
        world.append(0..30, NOW);
        let release = Cell::new(None);
        let archived = world.archive_slowly(&a, 2, || {
            world.log.hold();
            let user = a.checkpoint.digest(USER);
            let erased_at = Timestamp::from_micros(NOW + HOUR);
            let appended = world.log.append(&Entry::Erasure { user, erased_at });
            appended.expect("a log in memory");
            let log = world.log.clone();
            release.set(Some(std::thread::spawn(move || log.release())));
        });
        assert_eq!(archived.expect("an archive"), 30);
        let releasing: Option<std::thread::JoinHandle<()>> = release.take();
        releasing.expect("a thread").join().expect("a thread");
        world.archive_by(&a).expect("an archive");
        assert!(world.all_ids().iter().all(|id| id % 5 != 1));
        let (last, _) = a
            .checkpoint
            .archive_claim()
            .expect("a log")
            .expect("a claim");
        assert!(last.is_empty());
    }

    #[test]
    fn a_claim_that_is_made_anew_has_no_user_who_was_erased_meanwhile() {
        let world = World::new();
        let b = world.open("b");
        for stream in 0..3 {
            world.append(stream * 10..stream * 10 + 10, NOW);
        }
        world.die_archiving(world.open("a"), 3);
        erase(&b, USER);
        world.end_lease();
        world.archive_by(&b).expect("an archive");
        let others = Vec::from_iter((0..30).filter(|id| id % 5 != 1));
        assert_eq!((world.ids().len(), world.all_ids()), (3, others));
    }

    #[test]
    fn any_replica_erases_from_the_files_and_says_so_once_all_before_is_written() {
        let world = World::new();
        let [a, b] = ["a", "b"].map(|name| world.open(name));
        world.append(0..30, NOW);
        world.archive_by(&a).expect("an archive");
        assert!(matches!(
            b.archiver.erase(USER),
            Err(ArchiveError::NotErasedFromLog)
        ));
        let first = erase(&b, USER);
        assert_eq!(b.archiver.erase(USER).expect("an archive").actions, 6);
        assert_eq!(world.stated(), Some(first));
        // One of whom only a has erased the files; a new start erases the rest.
        let second = erase(&a, UserId(2));
        drop(b);
        world.archive_by(&world.open("b")).expect("an archive");
        assert_eq!(world.stated(), Some(second));
        let others = Vec::from_iter((0..30).filter(|id| ![1, 2].contains(&(id % 5))));
        assert_eq!(world.all_ids(), others);
        // What comes again of before is refused.
        world.append([1, 6], NOW);
        world.archive_by(&a).expect("an archive");
        assert_eq!(world.all_ids(), others);
    }

    #[test]
    fn nothing_is_forgotten_before_it_is_archived() {
        let world = World::new();
        world.log.double();
        let [a, b] = ["a", "b"].map(|name| world.open(name));
        let forget = |replica: &Replica| {
            let later = Timestamp::from_micros(NOW + 1);
            replica.checkpoint.forget_before(later).expect("a log")
        };
        world.append(0..30, NOW);
        assert_eq!((forget(&a), forget(&b)), (0, 0));
        world.archive_by(&a).expect("an archive");
        assert_eq!((forget(&a), forget(&b)), (30, 30));
        // Also after a start, and while files are being written.
        world.append(30..40, NOW);
        drop(b);
        let b = world.open("b");
        world
            .archive_slowly(&a, 2, || assert_eq!((forget(&a), forget(&b)), (0, 0)))
            .expect("an archive");
        assert_eq!((forget(&a), forget(&b)), (10, 10));
        assert_eq!(world.all_ids(), Vec::from_iter(0..40));
    }

    #[test]
    fn one_that_cannot_write_leaves_it_to_another() {
        let world = World::new();
        let no_directory = world.root.path().join("file");
        std::fs::write(&no_directory, "").expect("a file");
        let [a, b] = [no_directory, world.archive()];
        let (a, b) = (world.open_to("a", &a), world.open_to("b", &b));
        world.append(0..30, NOW);
        for _ in 0..2 {
            assert!(world.archive_by(&a).is_err());
            assert_eq!(world.archive_by(&b).expect("an archive"), 0);
        }
        world.end_lease();
        assert_eq!(world.archive_by(&a).expect("it is not its turn"), 0);
        assert_eq!(world.archive_by(&b).expect("an archive"), 30);
        assert_eq!(world.all_ids(), Vec::from_iter(0..30));
    }

    #[test]
    fn a_claim_that_cannot_be_read_stops_the_archive_and_nothing_else() {
        let world = World::new();
        let a = world.open("a");
        world.append(0..30, NOW);
        assert!(
            world
                .log
                .claim_archive(b"\x02 of a newer server", 0)
                .expect("a log")
        );
        let is_damaged =
            |error: ArchiveError| matches!(error, ArchiveError::Log(LogError::Damaged { .. }));
        assert!(world.archive_by(&a).is_err_and(is_damaged));
        let later = Timestamp::from_micros(NOW + 1);
        assert_eq!(a.checkpoint.forget_before(later).expect("a log"), 0);
        drop(a);
        let a = world.open("a");
        assert!(world.archive_by(&a).is_err_and(is_damaged));
        assert_eq!(a.checkpoint.forget_before(later).expect("a log"), 0);
        erase(&a, USER);
        assert_eq!(a.archiver.erase(USER).expect("an archive").actions, 0);
        assert_eq!(world.stated(), None);
        assert!(world.ids().is_empty());
    }

    #[test]
    fn a_log_that_takes_no_claim_is_taken_up_again() {
        let world = World::new();
        let a = world.open("a");
        world.append(0..30, NOW);
        world.log.fail(Some("no node answers"));
        let refused = world.archive_by(&a).expect_err("no node answers");
        assert_eq!(refused.to_string(), "the action log: no node answers");
        world.log.fail(None);
        assert_eq!(world.archive_by(&a).expect("an archive"), 30);
    }
}
