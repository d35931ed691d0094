//! The action log in NATS JetStream, over real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinnersage::durable::{
    ActionLog, ActionLogKind, ActionLogParams, Condition, Delivered, Entry, LogError, Message,
    NatsLog, PinChange, PinRecord, Positions, SharedLog, Sink, UserDigest,
};
use pinnersage::model::{Action, PinAttributes, PinId, Timestamp};
use serde_json::{Value, json};

use super::common::log::{
    Collected, NOW, RETENTION, action, append, assert_ordered, delivered_in_order, frames, ids,
    merge, refusal, sent, visible, wait_for_condition,
};
use super::common::nats::{Nats, NatsOptions};
use super::common::server::log_params;
use super::common::wait::PATIENCE;

/// Appends while a node is away.
const FAULT_APPENDS: u64 = 1_500;

fn params(url: String, replicas: usize) -> ActionLogParams {
    ActionLogParams {
        kind: ActionLogKind::Nats,
        url,
        stream: "test".to_owned(),
        replicas,
        ..log_params()
    }
}

/// Opens the log of a node that has just started, on a machine that may be slow.
fn open(params: &ActionLogParams) -> NatsLog {
    NatsLog::open(params, RETENTION, None).expect("it opens")
}

#[test]
fn the_first_replica_creates_the_log_and_others_find_it() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let of_one = params(nats.urls(), 1);
    let replicas = refusal(NatsLog::open(&params(nats.urls(), 3), RETENTION, None));
    assert!(replicas.contains("actions.log.replicas is 3"), "{replicas}");
    let first = open(&of_one);
    assert_eq!(open(&of_one).id(), first.id());
    let with_id = NatsLog::open(&of_one, RETENTION, Some(first.id())).expect("it opens");
    append(&with_id, 1, &[action(1, 1, "save")]).expect("it is appended");
    assert_eq!(with_id.condition().failure, None);

    let mut fewer = of_one.clone();
    fewer.streams = 2;
    let error = refusal(NatsLog::open(&fewer, RETENTION, None));
    assert!(
        error.contains("pinnersage_streams of the stream test-control is 3"),
        "{error}"
    );
    let other = NatsLog::open(&of_one, RETENTION, Some(first.id() ^ 1)).expect("it opens");
    let error = append(&other, 2, &[action(2, 1, "save")]).expect_err("another log");
    assert!(matches!(error, LogError::Mismatch { .. }), "{error}");
    let failure = other.condition().failure.expect("a failure");
    assert!(failure.contains("pinnersage_log_id"), "{failure}");
}

#[test]
fn a_deleted_stream_is_told_by_name_and_one_that_was_never_made_is_made() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let params = params(nats.urls(), 1);
    let id = open(&params).id();
    let delete = |stream: &str| {
        nats.ask_until(
            &format!("$JS.API.STREAM.DELETE.{stream}"),
            &Value::Null,
            |answer| (answer.get("success") == Some(&json!(true))).then_some(()),
        );
    };
    // As after a first start that was interrupted.
    delete("test-1");
    let log = open(&params);
    assert_eq!(log.id(), id);
    for frame in 0..6 {
        append(&log, frame, &[action(1, 1, "save")]).expect("it is appended");
    }
    // Of several the first one is told.
    for (deleted, told) in [("control", "control"), ("1", "1"), ("2", "1")] {
        delete(&format!("test-{deleted}"));
        let error = refusal(NatsLog::open(&params, RETENTION, None));
        let expected = format!("the stream test-{told} is missing, while test-0 has had");
        assert!(error.contains(&expected), "{error}");
    }
    let known = NatsLog::open(&params, RETENTION, Some(id)).expect("it opens");
    let condition = wait_for_condition(&known, |condition| condition.failure.is_some());
    let failure = condition.failure.expect("a failure");
    assert!(
        failure.contains("the stream test-1 is missing"),
        "{failure}"
    );
}

#[test]
fn a_stream_with_another_retention_is_given_that_of_the_settings() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let params = params(nats.urls(), 1);
    drop(open(&params));
    drop(NatsLog::open(&params, 2 * RETENTION, None).expect("it opens"));
    nats.ask_until("$JS.API.STREAM.INFO.test-1", &Value::Null, |info| {
        let max_age = info.get("config")?.get("max_age")?.as_u64()?;
        (u128::from(max_age) == (61 * Duration::from_secs(86_400)).as_nanos()).then_some(())
    });
}

#[test]
fn a_tail_delivers_what_was_appended_in_order_from_any_position() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let all = delivered_in_order(&open(&params(nats.urls(), 1)), 3);
    let positions = visible(&all);
    assert!((0..3).all(|stream| positions.of(stream) > 10));
}

#[test]
fn an_append_above_the_limit_of_a_message_is_split_and_what_is_kept_never_expires() {
    let settings = "max_payload: 65536".to_owned();
    let Some(nats) = Nats::start_with(
        1,
        NatsOptions {
            settings,
            ..NatsOptions::default()
        },
    ) else {
        return;
    };
    let log = open(&params(nats.urls(), 1));
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let name = |id: u128| {
        if id.is_multiple_of(10) {
            "hide"
        } else {
            "save"
        }
    };
    let actions: Vec<Action> = (0..5_000)
        .map(|id| action(id, id as u64, name(id)))
        .collect();
    let positions = append(&log, 1, &actions).expect("it is appended");
    let all = collected.wait_for(&positions);
    assert!(frames(&all).len() > 3, "{} messages", frames(&all).len());
    let mut delivered = ids(&all);
    delivered.sort_unstable();
    assert!(delivered.into_iter().eq(0..5_000));
    for delivered in &all {
        let Message::Actions(frame) = &delivered.message else {
            panic!("{delivered:?}");
        };
        let stream = delivered.position.stream;
        let stored = nats.ask_until(
            &format!("$JS.API.STREAM.MSG.GET.test-{stream}"),
            &json!({ "seq": delivered.position.sequence }),
            |answer| Some(answer.get("message")?.get("hdrs")?.as_str()?.to_owned()),
        );
        let never = BASE64_NEVER.iter().any(|never| stored.contains(never));
        assert_eq!(never, frame.is_kept, "{stored}");
    }
}

/// What stands in the control stream.
fn control(all: &[Delivered]) -> Vec<&Message> {
    super::common::log::control(all, 3)
}

/// Parts of `Nats-TTL: never` in base64, wherever it begins.
const BASE64_NEVER: [&str; 3] = [
    "TmF0cy1UVEw6IG5ldmVy",
    "5hdHMtVFRMOiBuZXZlc",
    "OYXRzLVRUTDogbmV2ZX",
];

#[test]
fn the_control_stream_keeps_the_last_change_of_a_pin_and_all_erasures() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let log = open(&params(nats.urls(), 1));
    let change = |pin, record| (PinId(pin), record);
    let first = [
        upserted(1, "old"),
        upserted(2, "two"),
        change(1, PinRecord::Deleted),
    ];
    let second = [upserted(1, "new"), change(3, PinRecord::Deleted)];
    for changes in [&first[..], &second[..]] {
        sent(log.append(&Entry::Pins(changes)).expect("it is appended")).expect("positions");
    }
    let user = UserDigest([9; 16]);
    let mut last = Positions::default();
    for at in 1..=2 {
        let erased_at = Timestamp::from_micros(at);
        let entry = Entry::Erasure { user, erased_at };
        last = sent(log.append(&entry).expect("it is appended")).expect("positions");
    }
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let all = collected.wait_for(&last);
    let mut pins = Vec::new();
    let mut erasures = Vec::new();
    for message in control(&all) {
        match message {
            Message::Pin(change) => pins.push(change.clone()),
            Message::Erasure { user, erased_at } => erasures.push((*user, erased_at.micros())),
            Message::Actions(_) | Message::ArchiveClaim(_) | Message::Gone => panic!("{message:?}"),
        }
    }
    pins.sort_by_key(|(pin, _)| *pin);
    assert_eq!(
        pins,
        [second[0].clone(), first[1].clone(), second[1].clone()]
    );
    assert_eq!(erasures, [(user, 1), (user, 2)]);
    // Catalogs have the second pin, and an older change of the first.
    log.settle_pins(&first[..2]).expect("an answer");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let left = collected.wait_for(&last);
    let left = control(&left)
        .into_iter()
        .filter_map(|message| match message {
            Message::Pin((pin, _)) => Some(pin.0),
            Message::Actions(_)
            | Message::Erasure { .. }
            | Message::ArchiveClaim(_)
            | Message::Gone => None,
        });
    assert_eq!(left.collect::<BTreeSet<_>>(), BTreeSet::from([1, 3]));
}

fn upserted(pin: u64, title: &str) -> PinChange {
    let record = PinRecord::Upserted {
        embedding_version: "a".to_owned(),
        vector: vec![1.0],
        title: title.to_owned(),
        key: String::new(),
        attributes: PinAttributes::default(),
    };
    (PinId(pin), record)
}

/// The changes of pins that count, as a replica that starts reads them.
fn last_changes(log: &NatsLog) -> Vec<PinChange> {
    let newest = log.newest().expect("an answer");
    let (collected, _tail) = Collected::follow(log, Positions::default());
    let mut last = BTreeMap::new();
    for message in control(&collected.wait_for(&newest)) {
        match message {
            Message::Pin((pin, record)) => _ = last.insert(*pin, record.clone()),
            Message::Actions(_)
            | Message::Erasure { .. }
            | Message::ArchiveClaim(_)
            | Message::Gone => {}
        }
    }
    last.into_iter().collect()
}

#[test]
fn a_change_of_a_pin_that_comes_late_does_not_replace_a_later_one() {
    const PINS: u64 = 50;
    let Some(nats) = Nats::start(3) else {
        return;
    };
    let changes = |title: &str| (0..PINS).map(|pin| upserted(pin, title)).collect();
    let upsert = |log: &NatsLog, changes: Vec<PinChange>| log.append(&Entry::Pins(&changes));
    // Two links to one node, which leads nothing that is needed.
    let through_one = format!("{},{}", nats.url(0), nats.url(0));
    let mut late = params(through_one, 3);
    late.append_timeout = Duration::from_millis(500);
    let late = open(&late);
    let log = open(&params(format!("{},{}", nats.url(1), nats.url(2)), 3));
    nats.lead("test-control", 1);
    let hangs = AtomicBool::new(false);
    let (done, appended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // Goes on until its node hangs, with changes on their way.
        scope.spawn(|| {
            while upsert(&late, changes("late")).is_ok() || !hangs.load(Ordering::SeqCst) {
                // Nobody counts them any more.
                let _ = done.send(());
            }
        });
        for _ in 0..3 {
            appended.recv_timeout(PATIENCE).expect("it is appended");
        }
        hangs.store(true, Ordering::SeqCst);
        nats.stop(0);
    });
    upsert(&log, changes("last")).expect("it is appended");
    nats.go_on(0);
    // What was on its way through both links is there when this is.
    for pin in PINS..PINS + 4 {
        let deadline = Instant::now() + PATIENCE;
        while upsert(&late, vec![upserted(pin, "other")]).is_err() {
            assert!(Instant::now() < deadline, "the node answers again");
        }
    }
    let mut expected: Vec<PinChange> = changes("last");
    expected.extend((PINS..PINS + 4).map(|pin| upserted(pin, "other")));
    assert_eq!(last_changes(&log), expected);
}

#[test]
fn of_changes_of_a_pin_at_once_each_is_there_and_the_last_one_counts() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let params = params(nats.urls(), 1);
    let logs = [open(&params), open(&params)];
    let heard = nats.listen("tail.test.control.>");
    let mut appended = BTreeMap::new();
    for round in 0..20 {
        let change = |by: usize| {
            let changes = [upserted(1, &format!("{by} {round}"))];
            let positions = logs[by]
                .append(&Entry::Pins(&changes))
                .expect("it is appended");
            (
                sent(positions).expect("positions").of(3),
                changes[0].clone(),
            )
        };
        let of_round = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| change(1));
            [change(0), theirs.join().expect("no panic")]
        });
        appended.extend(of_round);
    }
    assert_eq!(appended.len(), 40, "each has its number");
    // Each says which one it follows: so a copy that comes late is refused.
    let number = |message: &async_nats::Message, name: &str| -> u64 {
        let headers = message.headers.as_ref().expect("headers");
        let number = headers.get(name).expect("a header").as_str();
        number.parse().expect("a number")
    };
    let (mut count, mut before) = (0, 0);
    for message in heard() {
        let expected = number(&message, "Nats-Expected-Last-Subject-Sequence");
        assert_eq!(expected, before);
        before = number(&message, "Nats-Sequence");
        count += 1;
    }
    assert_eq!(count, 40);
    let (_, last) = appended.pop_last().expect("a change");
    assert_eq!(last_changes(&logs[0]), [last]);
}

#[test]
fn one_of_two_claims_wins() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let params = params(nats.urls(), 1);
    let logs = [open(&params), open(&params)];
    let mut after = 0;
    for round in 0..20_u8 {
        let claim = |by: usize| {
            let claim = [round, by as u8];
            logs[by].claim_archive(&claim, after).expect("an answer")
        };
        let (mine, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| claim(1));
            (claim(0), theirs.join().expect("no panic"))
        });
        assert!(mine ^ theirs, "{mine} {theirs}");
        after = logs[0].newest().expect("an answer").of(3);
    }
    let (collected, _tail) = Collected::follow(&logs[0], Positions::default());
    let all = collected.wait("the last claim", |all| !control(all).is_empty());
    assert!(matches!(control(&all)[..], [Message::ArchiveClaim(claim)] if claim[0] == 19));
}

#[test]
fn an_erasure_leaves_no_bytes_of_the_user() {
    let Some(mut nats) = Nats::start(1) else {
        return;
    };
    let log = open(&params(nats.urls(), 1));
    let marked = 0x0123_4567_89ab_cdef_u64;
    let mut last = Positions::default();
    for frame in 0..9_u64 {
        let user = |at: u64| if at % 3 == 1 { marked } else { at };
        let name = if frame % 2 == 0 { "hide" } else { "save" };
        let count = if frame == 8 { 2 } else { 6 };
        let actions: Vec<Action> = (0..count)
            .map(|at| action(u128::from(frame * 10 + at), user(at), name))
            .collect();
        let positions = append(&log, frame, &actions[usize::from(frame == 8)..]);
        merge(&mut last, &positions.expect("it is appended"));
    }
    assert!(holds(&nats, marked));
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let before = collected.wait_for(&last);
    let erased = log.erase(&|action, recorded_at| {
        assert_eq!(recorded_at, NOW);
        action.user.0 == marked
    });
    assert_eq!(erased.expect("it is erased"), 17);
    assert_eq!(
        log.erase(&|action, _| action.user.0 == marked)
            .expect("it is done"),
        0
    );

    let newest = log.newest().expect("it tells");
    let (again, _tail) = Collected::follow(&log, Positions::default());
    let after = again.wait_for(&newest);
    assert_ordered(&after, &Positions::default());
    let left = frames(&after);
    assert_eq!(left.len(), 8);
    for frame in left {
        assert_eq!(frame.actions.len(), 4);
        let origin = frame.origin.as_ref().expect("an origin");
        let first = before.iter().find(|old| old.position == origin.position);
        let [first] = frames(std::slice::from_ref(first.expect("it was there")))[..] else {
            panic!("{origin:?}");
        };
        assert_eq!((first.frame, first.is_kept), (frame.frame, frame.is_kept));
        for (action, &place) in frame.actions.iter().zip(&origin.places) {
            assert_eq!(&first.actions[usize::from(place)], action);
        }
    }
    // A replica that follows sees the new messages as well.
    collected.wait_for(&newest);
    nats.kill(0);
    assert!(!holds(&nats, marked));
}

/// Whether a file of the first node has the bytes of a user.
fn holds(nats: &Nats, user: u64) -> bool {
    let bytes = user.to_le_bytes();
    let mut directories = vec![nats.store(0)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(file) = std::fs::read(&path)
                && file.windows(8).any(|window| window == bytes)
            {
                return true;
            }
        }
    }
    false
}

#[test]
fn a_replica_that_knows_its_log_goes_on_without_the_engine_until_it_is_back() {
    let Some(mut nats) = Nats::start(1) else {
        return;
    };
    let mut params = params(nats.urls(), 1);
    let id = open(&params).id();
    nats.kill(0);
    params.append_timeout = Duration::from_millis(300);
    let log = NatsLog::open(&params, RETENTION, Some(id)).expect("it opens");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let error = append(&log, 1, &[action(1, 1, "save")]).expect_err("nobody is there");
    assert!(matches!(error, LogError::Unreachable { .. }), "{error}");
    wait_for_condition(&log, |condition| condition.failure.is_some());
    assert!(log.newest().is_err());

    nats.restart(0);
    let deadline = Instant::now() + PATIENCE;
    let positions = loop {
        match append(&log, 2, &[action(2, 1, "save")]) {
            Ok(positions) => break positions,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let all = collected.wait_for(&positions);
    assert!(ids(&all).contains(&2));
    let is_well =
        |condition: &Condition| condition.failure.is_none() && condition.newest.cover(&positions);
    wait_for_condition(&log, is_well);
}

#[test]
fn a_message_that_cannot_be_read_stops_its_stream_loudly() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let log = open(&params(nats.urls(), 1));
    nats.publish("test.0.act.0", b"no frame");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let condition = wait_for_condition(&log, |condition| condition.failure.is_some());
    let failure = condition.failure.expect("a failure");
    assert!(
        failure.contains("message 1 of the stream test-0 cannot be read"),
        "{failure}"
    );
    // What it would never see it does not take. Others go on.
    append(&log, 9, &[action(9, 1, "save")]).expect_err("a stopped tail");
    let writer = open(&params(nats.urls(), 1));
    let mut others = Positions::default();
    for frame in 0..6 {
        let sent = append(&writer, frame, &[action(frame.into(), 1, "save")]);
        merge(&mut others, &sent.expect("it is appended"));
    }
    let others = Positions::new(vec![0, others.of(1), others.of(2)]).expect("few streams");
    let all = collected.wait_for(&others);
    assert_eq!(visible(&all).of(0), 0);
}

#[test]
fn what_has_expired_is_said() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let log = open(&params(nats.urls(), 1));
    assert_eq!(log.begins().expect("it tells"), None);
    let mut appended = Positions::default();
    for frame in 0.. {
        let positions = append(&log, frame, &[action(1, 1, "save")]);
        appended.extend(&positions.expect("it is appended"));
        if appended.of(0) == 2 {
            break;
        }
    }
    let subject = "$JS.API.STREAM.MSG.GET.test-0";
    let stored = nats.ask_until(subject, &json!({ "seq": 2 }), |answer| {
        Some(answer.get("message")?.get("time")?.as_str()?.to_owned())
    });
    let stored = chrono::DateTime::parse_from_rfc3339(&stored).expect("a time");
    let stored = Timestamp::from_micros(stored.timestamp_micros());
    assert_eq!(log.begins().expect("it tells"), None);
    let body = json!({ "seq": 2 });
    nats.ask_until("$JS.API.STREAM.PURGE.test-0", &body, |answer| {
        (answer.get("success") == Some(&json!(true))).then_some(())
    });
    assert_eq!(log.begins().expect("it tells"), Some(stored));
    let (from_start, _tail) = Collected::follow(&log, Positions::default());
    let all = from_start.wait("two positions", |all| visible(all).of(0) == 2);
    assert_ordered(&all, &Positions::default());
}

#[test]
fn messages_that_are_gone_at_the_end_or_between_are_passed_without_a_list_of_all() {
    let Some(nats) = Nats::start(1) else {
        return;
    };
    let mut few = params(nats.urls(), 1);
    few.streams = 1;
    let log = open(&few);
    for frame in 0..6 {
        append(&log, frame, &[action(1, 1, "save")]).expect("it is appended");
    }
    for sequence in [2, 5, 6] {
        let body = json!({ "seq": sequence });
        nats.ask_until("$JS.API.STREAM.MSG.DELETE.test-0", &body, |answer| {
            (answer.get("success") == Some(&json!(true))).then_some(())
        });
    }
    let asked = nats.listen("$JS.API.STREAM.INFO.test-0");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let all = collected.wait("the end", |all| visible(all).of(0) == 6);
    assert_ordered(&all, &Positions::default());
    assert_eq!(ids(&all).len(), 3);
    let asked = asked();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|message| !String::from_utf8_lossy(&message.payload).contains("deleted")),
        "{asked:?}"
    );
}

#[test]
fn a_user_and_a_certificate_are_asked_for_and_given() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a key");
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, private) = (
        directory.path().join("c.pem"),
        directory.path().join("k.pem"),
    );
    std::fs::write(&certificate, key.cert.pem()).expect("it is written");
    std::fs::write(&private, key.signing_key.serialize_pem()).expect("it is written");
    let settings = format!(
        "authorization {{ user: u, password: secret }}\n\
         tls {{ cert_file: {certificate:?}, key_file: {private:?}, ca_file: {certificate:?} }}"
    );
    let login = "u:secret@";
    let Some(mut nats) = Nats::prepared(
        1,
        NatsOptions {
            settings,
            login,
            ..NatsOptions::default()
        },
    ) else {
        return;
    };
    nats.restart(0);
    let mut params = params(nats.urls(), 1);
    params.ca = Some(certificate.clone());
    params.certificate = Some(certificate.clone());
    params.key = Some(private.clone());
    let log = open(&params);
    append(&log, 1, &[action(1, 1, "save")]).expect("it is appended");

    params.url = params.url.replace("secret", "wrong");
    let error = refusal(NatsLog::open(&params, RETENTION, None));
    assert!(error.to_lowercase().contains("authorization"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
    for (file, is_file) in [(directory.path().join("none.pem"), false), (private, true)] {
        let mut other = params.clone();
        other.ca = Some(file.clone());
        let error = refusal(NatsLog::open(&other, RETENTION, None));
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert_eq!(error.contains("has no certificate"), is_file, "{error}");
    }
    params.credentials = Some(certificate.clone());
    let error = refusal(NatsLog::open(&params, RETENTION, None));
    assert!(
        error.contains(&certificate.display().to_string()),
        "{error}"
    );
}

/// Appends without end, and tells how long the longest append took.
struct Writer {
    log: Arc<NatsLog>,
    is_over: AtomicBool,
    worst: Mutex<Duration>,
    next: AtomicU64,
}

impl Writer {
    fn run(&self) -> (Positions, u128) {
        let mut acknowledged = Positions::default();
        let mut count = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let frame = self.next.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let positions = append(&*self.log, frame, &[action(count, 1, "save")]);
            let took = began.elapsed();
            merge(&mut acknowledged, &positions.expect("it is appended"));
            count += 1;
            let mut worst = self.worst.lock().expect("no panic");
            *worst = took.max(*worst);
        }
        (acknowledged, count)
    }

    fn take_worst(&self) -> Duration {
        std::mem::take(&mut *self.worst.lock().expect("no panic"))
    }
}

/// The longest time between two deliveries.
#[derive(Clone)]
struct Gaps(Collected, Arc<Mutex<(Instant, Duration)>>);

impl Sink for Gaps {
    fn take(&mut self, delivered: Vec<Delivered>) {
        let mut gaps = self.1.lock().expect("no panic");
        *gaps = (Instant::now(), gaps.1.max(gaps.0.elapsed()));
        drop(gaps);
        self.0.take(delivered);
    }
}

#[test]
fn leaders_are_spread_over_the_nodes() {
    let Some(nats) = Nats::start(3) else {
        return;
    };
    let _log = open(&params(nats.urls(), 3));
    let streams = ["test-0", "test-1", "test-2"];
    streams
        .iter()
        .for_each(|stream| nats.wait_until_whole(stream));
    streams.iter().for_each(|stream| nats.lead(stream, 1));
    let deadline = Instant::now() + PATIENCE;
    while BTreeSet::from(streams.map(|stream| nats.leader(stream))).len() < 3 {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            streams.map(|stream| nats.leader(stream))
        );
    }
}

#[test]
fn nothing_that_was_acknowledged_is_missing_when_nodes_die_or_hang() {
    let Some(mut nats) = Nats::start(3) else {
        return;
    };
    let streams = ["test-0", "test-1", "test-2", "test-control"];
    let log = Arc::new(open(&params(nats.urls(), 3)));
    let gaps = Gaps(
        Collected::default(),
        Arc::new(Mutex::new((Instant::now(), Duration::ZERO))),
    );
    let _tail = log
        .tail(Positions::default(), Box::new(gaps.clone()))
        .expect("it starts");
    let writer = Writer {
        log: log.clone(),
        is_over: AtomicBool::new(false),
        worst: Mutex::default(),
        next: AtomicU64::new(0),
    };
    let (acknowledged, count) = std::thread::scope(|scope| {
        let written = scope.spawn(|| writer.run());
        // Each node once, so that the leaders and the node of each connection are among them.
        for (node, is_killed) in [
            (0, true),
            (1, true),
            (2, true),
            (0, false),
            (1, false),
            (2, false),
        ] {
            streams
                .iter()
                .for_each(|stream| nats.wait_until_whole(stream));
            (0..3).for_each(|stream| nats.lead(streams[stream], stream));
            let leads = streams.map(|stream| nats.leader(stream) == node);
            writer.take_worst();
            *gaps.1.lock().expect("no panic") = (Instant::now(), Duration::ZERO);
            match is_killed {
                true => nats.kill(node),
                false => nats.stop(node),
            }
            let through = writer.next.load(Ordering::Relaxed) + FAULT_APPENDS;
            let deadline = Instant::now() + PATIENCE;
            while writer.next.load(Ordering::Relaxed) < through {
                assert!(
                    Instant::now() < deadline && !written.is_finished(),
                    "no progress"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            match is_killed {
                true => nats.restart(node),
                false => nats.go_on(node),
            }
            let (worst, gap) = (writer.take_worst(), gaps.1.lock().expect("no panic").1);
            println!(
                "n{node} {} leading {leads:?}: worst append {worst:?}, longest gap {gap:?}",
                if is_killed { "killed" } else { "stopped" }
            );
            assert!(worst < Duration::from_secs(5) && gap < Duration::from_secs(10));
        }
        writer.is_over.store(true, Ordering::Relaxed);
        written.join().expect("no panic")
    });
    let all = gaps.0.wait_for(&acknowledged);
    assert_ordered(&all, &Positions::default());
    let delivered: BTreeSet<u128> = ids(&all).into_iter().collect();
    assert!(delivered.into_iter().eq(0..count));

    (0..3).for_each(|node| nats.kill(node));
    (0..3).for_each(|node| nats.restart(node));
    let deadline = Instant::now() + PATIENCE;
    let positions = loop {
        match append(&*log, u64::MAX, &[action(count, 1, "save")]) {
            Ok(positions) => break positions,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let all = gaps.0.wait_for(&positions);
    assert_ordered(&all, &Positions::default());
    assert!(ids(&all).contains(&count));
}
