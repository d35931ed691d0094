//! The action log in Kafka, over the mock cluster of librdkafka: the protocol, not durability.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pinnersage::durable::{
    ActionLog, ActionLogParams, Condition, Delivered, Entry, KafkaLog, LogError, Message,
    PinChange, PinRecord, Position, Positions, SharedLog, UserDigest,
};
use pinnersage::model::{Action, PinAttributes, PinId, Timestamp};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::common::engine::Engine;
use super::common::kafka::Kafka;
use super::common::log::{
    Collected, NOW, RETENTION, action, append, assert_ordered, control, delivered_in_order, frames,
    ids, merge, refusal, sent, visible, wait_for_condition,
};
use super::common::server::log_params;
use super::common::wait::PATIENCE;

/// Two topics of actions with 3 partitions each, and then the control stream.
const PARTITIONS: i32 = 3;
const CONTROL: u8 = 6;

fn start() -> (Kafka, ActionLogParams) {
    let kafka = Kafka::start("test", PARTITIONS);
    let params = ActionLogParams {
        kind: kafka.kind(),
        url: kafka.urls(),
        stream: "test".to_owned(),
        ..log_params()
    };
    (kafka, params)
}

fn open(params: &ActionLogParams) -> KafkaLog {
    KafkaLog::open(params, RETENTION, None).expect("it opens")
}

fn upserted(title: &str) -> PinRecord {
    PinRecord::Upserted {
        embedding_version: "a".to_owned(),
        vector: vec![1.0],
        title: title.to_owned(),
        key: String::new(),
        attributes: PinAttributes::default(),
    }
}

fn append_pins(log: &KafkaLog, changes: &[PinChange]) -> Positions {
    sent(log.append(&Entry::Pins(changes)).expect("it is appended")).expect("positions")
}

/// The changes of pins that a new replica reads.
fn pins_left(params: &ActionLogParams) -> Vec<PinChange> {
    let log = open(params);
    let newest = log.newest().expect("it tells");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let all = collected.wait_for(&newest);
    let pins = control(&all, CONTROL)
        .into_iter()
        .filter_map(|message| match message {
            Message::Pin(change) => Some(change.clone()),
            Message::Actions(_)
            | Message::Erasure { .. }
            | Message::ArchiveClaim(_)
            | Message::Gone => None,
        });
    pins.collect()
}

#[test]
fn the_first_replica_creates_the_log_and_others_find_it() {
    let (_kafka, params) = start();
    let first = open(&params);
    assert_eq!(open(&params).id(), first.id());
    let with_id = KafkaLog::open(&params, RETENTION, Some(first.id())).expect("it opens");
    append(&with_id, 1, &[action(1, 1, "save")]).expect("it is appended");
    assert_eq!(with_id.condition().failure, None);

    let mut fewer = params.clone();
    fewer.streams = 2;
    let error = refusal(KafkaLog::open(&fewer, RETENTION, None));
    assert!(
        error.contains("partitions of the topic test-actions is 3, but 2 is expected"),
        "{error}"
    );
    let other = KafkaLog::open(&params, RETENTION, Some(first.id() ^ 1)).expect("it opens");
    let error = append(&other, 2, &[action(2, 1, "save")]).expect_err("another log");
    assert!(matches!(error, LogError::Mismatch { .. }), "{error}");
    let failure = other.condition().failure.expect("a failure");
    assert!(
        failure.contains(&format!("{:016x}", first.id())),
        "{failure}"
    );
}

#[test]
fn replicas_that_start_at_once_come_to_one_id() {
    let (_kafka, params) = start();
    let ids: BTreeSet<u64> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&params).id())).collect();
        let ids = opening.into_iter();
        ids.map(|id| id.join().expect("no panic")).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn topics_that_are_not_there_and_cannot_be_made_are_named() {
    let (_kafka, mut params) = start();
    params.stream = "other".to_owned();
    let error = refusal(KafkaLog::open(&params, RETENTION, None));
    assert!(
        error.contains("the topic other-actions with 3 partitions"),
        "{error}"
    );
    let directory = tempfile::tempdir().expect("a directory");
    params.credentials = Some(directory.path().join("properties"));
    let error = refusal(KafkaLog::open(&params, RETENTION, None));
    assert!(error.contains("properties"), "{error}");
    std::fs::write(directory.path().join("properties"), "acks=0").expect("it is written");
    let error = refusal(KafkaLog::open(&params, RETENTION, None));
    assert!(error.contains("begins with security"), "{error}");
}

/// Appends a record as somebody who has no log.
fn put(params: &ActionLogParams, topic: &str, key: &[u8], payload: &[u8]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &params.url)
        .create()
        .expect("a producer");
    let record = BaseRecord::to(topic).partition(0).key(key);
    producer
        .send(record.payload(payload))
        .map_err(|(error, _)| error)
        .expect("it is sent");
    producer.flush(PATIENCE).expect("it is there");
}

#[test]
fn a_topic_that_was_deleted_is_not_made_again() {
    let (kafka, mut params) = start();
    params.stream = "log".to_owned();
    for (topic, partitions) in [("log-actions", PARTITIONS), ("log-control", 1)] {
        let created = kafka.cluster.create_topic(topic, partitions, 3);
        created.expect("a topic");
    }
    let record = br#"{"log":"0000000000000009","format":1,"streams":3}"#;
    put(&params, "log-control", b"i", record);
    let lost = "the topic log-kept is missing, while log-control has the id 0000000000000009";
    let error = refusal(KafkaLog::open(&params, RETENTION, None));
    assert!(error.contains(lost), "{error}");
    // One that knows the log waits.
    let log = KafkaLog::open(&params, RETENTION, Some(9)).expect("it opens");
    wait_for_condition(&log, |condition| {
        let failure = condition.failure.as_ref();
        failure.is_some_and(|failure| failure.contains(lost))
    });
    let created = kafka.cluster.create_topic("log-kept", PARTITIONS, 3);
    created.expect("a topic");
    wait_for_condition(&log, |condition| condition.failure.is_none());

    params.stream = "test".to_owned();
    put(
        &params,
        "test-actions",
        b"k",
        b"of a log that had a control topic",
    );
    let error = refusal(KafkaLog::open(&params, RETENTION, None));
    assert!(
        error.contains("test-control is empty, while test-actions/0 has had messages"),
        "{error}"
    );
}

#[test]
fn a_record_of_somebody_else_in_the_control_topic_is_passed_over() {
    let (_kafka, params) = start();
    let log = open(&params);
    let (collected, tail) = Collected::follow(&log, Positions::default());
    put(&params, "test-control", b"", b"no frame");
    put(&params, "test-control", b"x", b"no frame");
    let change = [(PinId(4), PinRecord::Deleted)];
    let all = collected.wait_for(&append_pins(&log, &change));
    assert_eq!(control(&all, CONTROL), [&Message::Pin(change[0].clone())]);
    assert_eq!(pins_left(&params), change);
    assert_eq!(log.condition().failure, None);
    drop(tail);
    assert!(collected.is_over(), "nobody takes anything any more");
}

#[test]
fn a_tail_that_waits_for_brokers_ends_when_it_is_dropped() {
    let (mut kafka, params) = start();
    let log = open(&params);
    let (collected, tail) = Collected::follow(&log, Positions::default());
    let positions = append_pins(&log, &[(PinId(4), PinRecord::Deleted)]);
    collected.wait_for(&positions);
    kafka.stop();
    let began = Instant::now();
    drop(tail);
    assert!(collected.is_over(), "nobody takes anything any more");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn what_a_broker_has_at_no_place_that_it_tells_is_not_confirmed() {
    let (kafka, params) = start();
    let log = open(&params);
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    for frame in 0..3 {
        append(&log, frame, &[action(frame.into(), 1, "save")]).expect("it is appended");
    }
    // The mock cluster says so without having it.
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER];
    let refuse = || {
        let cluster = &kafka.cluster;
        cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    };
    refuse();
    let positions = append(&log, 9, &[action(9, 1, "save")]).expect("it is appended");
    assert!(ids(&collected.wait_for(&positions)).contains(&9));
    // What has one place only may be there: it has failed, and is sent again.
    refuse();
    let change = [(PinId(4), PinRecord::Deleted)];
    let error = log.append(&Entry::Pins(&change)).expect_err("no place");
    assert!(error.to_string().contains("and not where"), "{error}");
    append_pins(&log, &change);
    assert_eq!(pins_left(&params), change);
}

#[test]
fn a_tail_delivers_what_was_appended_in_order_from_any_position() {
    let (_kafka, params) = start();
    let all = delivered_in_order(&open(&params), CONTROL);
    for delivered in &all {
        if let Message::Actions(frame) = &delivered.message {
            assert_eq!(frame.is_kept, delivered.position.stream >= 3);
        }
    }
    let positions = visible(&all);
    assert!((0..3).all(|stream| positions.of(stream) > 10));
    assert!((3..6).all(|stream| positions.of(stream) > 2));
}

#[test]
fn settled_pins_are_gone_and_changes_that_came_since_stay() {
    let (_kafka, params) = start();
    let log = open(&params);
    let old = [(PinId(1), upserted("old")), (PinId(2), upserted("two"))];
    let new = [(PinId(1), upserted("new")), (PinId(3), PinRecord::Deleted)];
    append_pins(&log, &old);
    append_pins(&log, &[(PinId(2), PinRecord::Deleted)]);
    append_pins(&log, &old[1..]);
    append_pins(&log, &new);
    // Catalogs have the second pin, and an older change of the first.
    log.settle_pins(&old).expect("an answer");
    let left = [old[0].clone(), new[0].clone(), new[1].clone()];
    assert_eq!(pins_left(&params), left);
    log.settle_pins(&old).expect("an answer");
    assert_eq!(pins_left(&params), left);
    append_pins(&log, &old[1..]);
    assert_eq!(pins_left(&params).last(), Some(&old[1]));
    log.settle_pins(&new).expect("an answer");
    assert_eq!(pins_left(&params), old[1..]);
}

#[test]
fn erasures_stay_all() {
    let (_kafka, params) = start();
    let log = open(&params);
    let user = UserDigest([9; 16]);
    let mut last = Positions::default();
    for at in 1..=2 {
        let erased_at = Timestamp::from_micros(at);
        let entry = Entry::Erasure { user, erased_at };
        last = sent(log.append(&entry).expect("it is appended")).expect("positions");
    }
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let all = collected.wait_for(&last);
    let expected = [1, 2].map(|at| Message::Erasure {
        user,
        erased_at: Timestamp::from_micros(at),
    });
    assert_eq!(control(&all, CONTROL), expected.iter().collect::<Vec<_>>());
}

/// The claims that were delivered, and their numbers.
fn claims(all: &[Delivered]) -> Vec<(u64, Vec<u8>)> {
    let claims = all.iter().filter_map(|delivered| match &delivered.message {
        Message::ArchiveClaim(claim) => Some((delivered.position.sequence, claim.clone())),
        Message::Actions(_) | Message::Pin(_) | Message::Erasure { .. } | Message::Gone => None,
    });
    claims.collect()
}

#[test]
fn one_of_two_claims_wins_and_all_readers_agree() {
    let (_kafka, params) = start();
    let logs = [open(&params), open(&params)];
    let (collected, _tail) = Collected::follow(&logs[0], Positions::default());
    let mut after = 0;
    for round in 0..10_u8 {
        let claim = |by: usize| {
            let claim = [round, by as u8];
            logs[by].claim_archive(&claim, after).expect("an answer")
        };
        let (mine, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| claim(1));
            (claim(0), theirs.join().expect("no panic"))
        });
        assert!(mine ^ theirs, "{mine} {theirs}");
        let all = collected.wait("the claim", |all| {
            claims(all)
                .last()
                .is_some_and(|(_, claim)| claim[0] == round)
        });
        let claims = claims(&all);
        assert_eq!(claims.len(), usize::from(round) + 1);
        let (number, claim) = claims.last().expect("a claim");
        assert_eq!(claim[1], u8::from(theirs));
        // One that follows an earlier claim is too late.
        assert!(!logs[0].claim_archive(b"late", after).expect("an answer"));
        after = *number;
    }
    // Whoever reads from the start finds the last one, and no other.
    let fresh = open(&params);
    let newest = fresh.newest().expect("it tells");
    let (collected, _tail) = Collected::follow(&fresh, Positions::default());
    let all = collected.wait_for(&newest);
    let left = claims(&all);
    assert_eq!((left.len(), left[0].0, left[0].1[0]), (1, after, 9));
    assert!(fresh.claim_archive(b"next", after).expect("an answer"));
}

/// The messages of a partition that a compacted topic keeps: those with a tombstone are gone.
fn kept_by_compaction(params: &ActionLogParams, topic: &str, partition: i32) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &params.url)
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut assigned = TopicPartitionList::new();
    let added = assigned.add_partition_offset(topic, partition, Offset::Beginning);
    added
        .and_then(|()| consumer.assign(&assigned))
        .expect("a partition");
    let mut kept: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{topic}/{partition} has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = message.key().expect("a key").to_vec();
                kept.retain(|(of, _)| *of != key);
                if let Some(payload) = message.payload() {
                    kept.push((key, payload.to_vec()));
                }
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    kept.into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn an_erasure_leaves_no_bytes_of_the_user_once_topics_are_compacted() {
    let (_kafka, params) = start();
    let log = open(&params);
    let marked = 0x0123_4567_89ab_cdef_u64;
    let holds = || {
        let topics = ["test-actions", "test-kept"].into_iter();
        let mut partitions = topics.flat_map(|topic| (0..PARTITIONS).map(move |at| (topic, at)));
        partitions.any(|(topic, partition)| {
            let kept = kept_by_compaction(&params, topic, partition);
            let bytes = marked.to_le_bytes();
            kept.concat().windows(8).any(|window| window == bytes)
        })
    };
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
    assert!(holds());
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let before = collected.wait_for(&last);
    let erased = log.erase(&|action, recorded_at| {
        assert_eq!(recorded_at, NOW);
        action.user.0 == marked
    });
    assert_eq!(erased.expect("it is erased"), 17);
    assert!(!holds());
    // What is removed and not compacted yet is not erased again.
    let again = log.erase(&|action, _| action.user.0 == marked);
    assert_eq!(again.expect("it is done"), 0);

    let newest = log.newest().expect("it tells");
    let all = collected.wait_for(&newest);
    assert_ordered(&all, &Positions::default());
    let rewritten: Vec<_> = frames(&all)
        .into_iter()
        .filter(|frame| frame.origin.is_some())
        .collect();
    assert_eq!(rewritten.len(), 8);
    for frame in rewritten {
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
    assert_eq!(log.begins().expect("it tells"), None);
}

#[test]
fn a_replica_that_knows_its_log_goes_on_without_the_brokers_until_they_are_back() {
    let (mut kafka, mut params) = start();
    let id = open(&params).id();
    kafka.stop();
    params.append_timeout = Duration::from_millis(300);
    let log = KafkaLog::open(&params, RETENTION, Some(id)).expect("it opens");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let error = append(&log, 1, &[action(1, 1, "save")]).expect_err("nobody is there");
    assert!(matches!(error, LogError::Unreachable { .. }), "{error}");
    wait_for_condition(&log, |condition| condition.failure.is_some());
    assert!(log.newest().is_err());

    kafka.start();
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
fn an_append_moves_on_where_the_leader_of_a_partition_is_gone() {
    let (kafka, params) = start();
    let log = open(&params);
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let mut last = append(&log, 0, &[action(0, 1, "save")]).expect("it is appended");
    collected.wait_for(&last);
    for (topic, partition, leader) in [
        ("test-actions", 0, 1),
        ("test-actions", 1, 3),
        ("test-actions", 2, 1),
        ("test-control", 0, 2),
    ] {
        let leads = kafka
            .cluster
            .partition_leader(topic, partition, Some(leader));
        leads.expect("a partition");
    }
    kafka.cluster.broker_down(3).expect("a broker");
    for frame in 1..=6 {
        let began = Instant::now();
        let sent = append(&log, frame, &[action(frame.into(), 1, "save")]);
        merge(&mut last, &sent.expect("it is appended"));
        assert!(
            began.elapsed() < params.append_timeout,
            "{:?}",
            began.elapsed()
        );
    }
    let all = collected.wait_for(&last);
    let delivered: BTreeSet<u128> = ids(&all).into_iter().collect();
    assert!(delivered.into_iter().eq(0..=6));
    kafka.cluster.broker_up(3).expect("a broker");
    // Copies that wait for the broker may come now, or not any more.
    let newest = log.newest().expect("it tells");
    assert_ordered(&collected.wait_for(&newest), &Positions::default());
}

#[test]
fn an_append_that_the_brokers_refuse_for_a_moment_is_there_once() {
    let (kafka, params) = start();
    let log = open(&params);
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3];
    kafka
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &errors);
    let change = [(PinId(4), PinRecord::Deleted)];
    append_pins(&log, &change);
    assert_eq!(pins_left(&params), change);
}

#[test]
fn a_message_that_cannot_be_read_stops_its_stream_loudly() {
    let (_kafka, params) = start();
    let log = open(&params);
    put(&params, "test-actions", b"k", b"no frame");
    let (collected, _tail) = Collected::follow(&log, Positions::default());
    let condition = wait_for_condition(&log, |condition| condition.failure.is_some());
    let failure = condition.failure.expect("a failure");
    assert!(
        failure.contains("message 1 of the stream test-actions/0 cannot be read"),
        "{failure}"
    );
    // What it would never see it does not take. Others go on.
    append(&log, 9, &[action(9, 1, "save")]).expect_err("a stopped tail");
    let writer = open(&params);
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
fn a_stream_that_ends_below_what_was_read_is_read_no_further() {
    let (_kafka, params) = start();
    let log = open(&params);
    let mut after = Positions::default();
    after.advance(Position {
        stream: 1,
        sequence: 9,
    });
    let (_collected, _tail) = Collected::follow(&log, after);
    let condition = wait_for_condition(&log, |condition| condition.failure.is_some());
    let failure = condition.failure.expect("a failure");
    assert!(
        failure.contains("test-actions/1 ends at 0, and 9 was read before"),
        "{failure}"
    );
}
