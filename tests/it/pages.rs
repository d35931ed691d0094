//! Pages over the wire: they never repeat, each samples further medoids, and the token of the
//! next page is all that there is between two of them.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use crate::common::process::{Process, run, serve_command};
use crate::common::server::{Client, NOW, Server, ask, explain, recommend, save};
use crate::common::twin::Table;
use crate::common::{self, EMBEDDING_VERSION, PINS, Pin, TOPICS, USERS, World};
use crate::filters::{self, any_of, filter};
use pinnersage::index::Catalog;
use pinnersage::model::PinId;
use pinnersage::wire::v1;
use prost::Message;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Pins of a catalog that a session does not come to the end of.
const MANY_PINS: u64 = 12_000;
const SIMILAR_PINS: &str = "/pinnersage.v1.RecommendationService/SimilarPins";

fn paged(request: v1::RecommendRequest) -> v1::RecommendRequest {
    v1::RecommendRequest {
        paged: true,
        ..request
    }
}

/// The request for the page after `answer`.
fn after(request: &v1::RecommendRequest, answer: &v1::RecommendResponse) -> v1::RecommendRequest {
    v1::RecommendRequest {
        page_token: answer.next_page_token.clone(),
        ..request.clone()
    }
}

fn pins(answer: &v1::RecommendResponse) -> Vec<u64> {
    answer.candidates.iter().map(|one| one.pin_id).collect()
}

fn medoids(answer: &v1::RecommendResponse) -> Vec<u64> {
    answer.medoids.iter().map(|one| one.pin_id).collect()
}

/// A token is refused: the status says so by its field.
#[track_caller]
fn assert_refused(answer: Result<impl std::fmt::Debug, Status>, reason: &str) {
    let status = answer.expect_err(reason);
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_details_bad_request().expect("a BadRequest");
    let violation = &details.field_violations[0];
    assert_eq!(violation.field, "page_token");
    assert!(violation.description.contains(reason), "{violation:?}");
}

/// What a round of medoids lacks, by a naive twin.
struct Round {
    all: BTreeSet<u64>,
    left: BTreeSet<u64>,
}

impl Round {
    fn new(all: BTreeSet<u64>) -> Self {
        let left = all.clone();
        Self { all, left }
    }

    /// Checks the medoids of a page of `k`, and takes them.
    fn check(&mut self, page: &[v1::SampledMedoid], k: usize) {
        let pins: Vec<u64> = page.iter().map(|medoid| medoid.pin_id).collect();
        assert_eq!(pins.len(), k.min(self.all.len()));
        let taken = k.min(self.left.len());
        let (first, second) = pins.split_at(taken);
        let first: BTreeSet<u64> = first.iter().copied().collect();
        assert!(first.is_subset(&self.left), "{pins:?} {:?}", self.left);
        if taken < k {
            assert_eq!(first, self.left, "the rest of the round");
            let certain = &page[..taken];
            assert!(certain.iter().all(|one| one.inclusion_probability == 1.0));
            let second = second.iter().copied().collect();
            self.left = &self.all - &second;
        } else {
            self.left = &self.left - &first;
        }
    }
}

/// One session, and what its pages have had.
struct Session {
    request: v1::RecommendRequest,
    /// Pins that its filter selects.
    selected: BTreeSet<u64>,
    seen: BTreeSet<u64>,
}

impl Session {
    /// A session of a random kind by one of the users 0 to 41, of whom nobody knows the last two.
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let medoids = rng.random_range(1..=6);
        let german = rng.random_range(0..3) == 0;
        let language = german.then(|| filter(vec![any_of("language", &["de"])]));
        let is_selected = |pin: &u64| !german || (pin.is_multiple_of(3) && !pin.is_multiple_of(11));
        let mut request = v1::RecommendRequest {
            medoids,
            top_medoids: rng.random_range(0..=medoids),
            seed: Some(rng.random()),
            merge_strategy: rng.random_range(0..=2),
            filter: language,
            ..paged(ask(rng.random_range(0..USERS + 2)))
        };
        match rng.random_range(0..4) {
            0 => {
                request.context_pin_id = Some(rng.random_range(0..PINS));
                request.context_medoids = rng.random_range(1..=5);
            }
            1 => {
                let seed = |pin| v1::Seed {
                    pin_id: Some(pin),
                    ..Default::default()
                };
                let pins = [0; 2].map(|_| rng.random_range(0..PINS));
                request.seeds = pins.map(seed).to_vec();
                request.seed_mode = rng.random_range(0..=2);
            }
            _ => {}
        }
        Self {
            request,
            selected: (0..PINS).filter(is_selected).collect(),
            seen: BTreeSet::new(),
        }
    }

    /// The medoids of a round, of those that are the user's `own`.
    fn sampled_from(&self, own: &BTreeSet<u64>, table: &Table) -> BTreeSet<u64> {
        if self.request.seed_mode() == v1::SeedMode::Replace {
            return BTreeSet::new();
        }
        let Some(context) = self.request.context_pin_id else {
            return own.clone();
        };
        let near = table.sorted(&table.0[&context], &[]).into_iter();
        let near = near.map(|next| next.pin.0).filter(|pin| own.contains(pin));
        near.take(self.request.context_medoids as usize).collect()
    }

    /// Asks for all pages. Each has exclusions and a limit of its own.
    async fn run(&mut self, client: &mut Client, table: &Table, rng: &mut ChaCha8Rng) {
        let user = self.request.user_id.expect("a user");
        let own = explain(client, user).await.interests;
        let own: BTreeSet<u64> = own.iter().map(|one| one.pin_id).collect();
        let mut round = Round::new(self.sampled_from(&own, table));
        loop {
            let limit = rng.random_range(20..200);
            let excluded: Vec<u64> = (0..rng.random_range(0..40))
                .map(|_| rng.random_range(0..PINS + 100))
                .collect();
            let request = v1::RecommendRequest {
                limit,
                exclude_pin_ids: excluded.clone(),
                ..self.request.clone()
            };
            let answer = recommend(client, request).await;
            let sampled = &answer.medoids[self.request.seeds.len()..];
            round.check(sampled, self.request.medoids as usize);
            let mut blocked: BTreeSet<u64> = medoids(&answer).into_iter().collect();
            // The popular medoids of a user whom nobody knows may come while they are not drawn.
            if user < USERS {
                blocked.extend(&own);
            }
            blocked.extend(excluded.into_iter().chain(self.request.context_pin_id));
            let eligible = &(&self.selected - &self.seen) - &blocked;
            let found: BTreeSet<u64> = pins(&answer).into_iter().collect();
            assert_eq!(found.len(), answer.candidates.len(), "no pin twice");
            assert!(found.is_subset(&eligible), "{:?}", &found - &eligible);
            assert_eq!(found.len(), eligible.len().min(limit as usize));
            assert!(!answer.versions_changed);
            self.seen.extend(&found);
            if found.len() < limit as usize {
                assert_eq!(found, eligible, "all that there are");
                assert!(answer.next_page_token.is_empty());
                return;
            }
            self.request = after(&self.request, &answer);
        }
    }
}

#[tokio::test]
async fn pages_never_repeat_and_have_all_that_is_eligible_in_the_end() {
    let world = filters::world();
    // The history is not blocked, so that the test knows what is.
    world.build_profiles("catalog", "profiles", false);
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    for _ in 0..80 {
        Session::new(rng).run(&mut client, &table, rng).await;
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_page_is_the_same_each_time_and_the_first_is_the_answer_without_pages() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for user in 0..USERS {
        let alone = v1::RecommendRequest {
            limit: 50,
            seed: Some(user),
            ..ask(user)
        };
        let without = recommend(&mut client, alone.clone()).await;
        assert!(without.next_page_token.is_empty() && !without.versions_changed);
        let first = recommend(&mut client, paged(alone.clone())).await;
        let next_page_token = first.next_page_token.clone();
        assert!(!next_page_token.is_empty());
        let expected = v1::RecommendResponse {
            next_page_token,
            ..without
        };
        assert_eq!(first, expected);

        // With the token, neither `paged` nor the seed is needed.
        let second = v1::RecommendRequest {
            seed: None,
            ..after(&alone, &first)
        };
        let bytes = second.encode_to_vec();
        let once = server.call_raw(&bytes).await.expect("an answer");
        assert_eq!(once, server.call_raw(&bytes).await.expect("an answer"));
        let once = v1::RecommendResponse::decode(once).expect("an answer");
        assert_eq!(once.seed, user);
        let again = recommend(&mut client, paged(after(&alone, &first))).await;
        assert_eq!(once, again);
        assert!(!once.next_page_token.is_empty());

        // The form of an answer, and what is asked to be left out, may change.
        let excluded = pins(&once)[..10].to_vec();
        let mut other = v1::RecommendRequest {
            limit: 20,
            include_titles: true,
            exclude_pin_ids: excluded.clone(),
            ..after(&alone, &first)
        };
        other.set_response_format(v1::ResponseFormat::Columns);
        let other = recommend(&mut client, other).await;
        let columns = other.columns.as_ref().expect("columns");
        assert_eq!((columns.pin_ids.len(), columns.titles.len()), (20, 20));
        let seen: HashSet<u64> = excluded.into_iter().chain(pins(&first)).collect();
        assert!(!columns.pin_ids.iter().any(|pin| seen.contains(pin)));
        assert_eq!(medoids(&other), medoids(&once));
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_forged_token_and_one_of_another_request_are_refused_by_field() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let request = v1::RecommendRequest {
        limit: 60,
        seed: Some(9),
        ..ask(1)
    };
    let first = recommend(&mut client, paged(request.clone())).await;
    let second = after(&request, &first);
    let token = &second.page_token;
    for bit in 0..token.len() * 8 {
        let mut forged = second.clone();
        forged.page_token[bit / 8] ^= 1 << (bit % 8);
        assert_refused(client.recommend(forged).await, "not as a server gave it");
    }
    let with_token = |page_token: Vec<u8>| v1::RecommendRequest {
        page_token,
        ..request.clone()
    };
    for length in 1..token.len() {
        let cut = with_token(token[..length].to_vec());
        assert_refused(client.recommend(cut).await, "not as a server gave it");
    }
    let longer = with_token([&token[..], &[0]].concat());
    assert_refused(client.recommend(longer).await, "not as a server gave it");
    let too_long = with_token(vec![1; (64 << 10) + 1]);
    assert_refused(client.recommend(too_long).await, "at most 65536 may be");

    let others = [
        v1::RecommendRequest {
            user_id: Some(2),
            ..second.clone()
        },
        v1::RecommendRequest {
            seed: Some(8),
            ..second.clone()
        },
        v1::RecommendRequest {
            medoids: 4,
            ..second.clone()
        },
        v1::RecommendRequest {
            context_pin_id: Some(5),
            ..second.clone()
        },
    ];
    for other in others {
        assert_refused(client.recommend(other).await, "belongs to another request");
    }
    let similar = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        page_token: token.clone(),
        ..Default::default()
    };
    let refused = client.similar_pins(similar).await;
    assert_refused(refused, "belongs to another request");
    let answer = recommend(&mut client, second).await;
    assert_eq!(answer.candidates.len(), 60);
    server.stop().await.expect("a clean end");
}

/// The name of the current version in a directory of versions.
fn version(root: &Path) -> String {
    let directory = common::version_directory(root);
    let name = directory.file_name().expect("a name");
    name.to_str().expect("a text").to_owned()
}

#[tokio::test]
async fn a_page_after_a_swap_of_versions_says_so_and_repeats_nothing() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut admin = server.admin_client().await;
    let request = v1::RecommendRequest {
        limit: 80,
        ..paged(ask(3))
    };
    let similar = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        limit: 80,
        paged: true,
        ..Default::default()
    };
    let first = recommend(&mut client, request.clone()).await;
    let first_similar = client.similar_pins(similar.clone()).await;
    let first_similar = first_similar.expect("an answer").into_inner();

    let mut fewer = common::pins();
    fewer.truncate(500);
    common::files::pins(&world.path("pins.parquet"), &fewer);
    world.build_catalog("catalog", EMBEDDING_VERSION);
    let versions = v1::Versions {
        catalog_version: version(&world.path("catalog")),
        profile_version: version(&world.path("profiles")),
    };
    let load = v1::LoadVersionsRequest {
        versions: Some(versions.clone()),
    };
    admin.load_versions(load).await.expect("another catalog");

    let second = recommend(&mut client, after(&request, &first)).await;
    assert!(second.versions_changed && !first.versions_changed);
    assert_eq!(second.catalog_version, versions.catalog_version);
    let third = recommend(&mut client, after(&request, &second)).await;
    assert!(!third.versions_changed);
    let all: Vec<u64> = [&first, &second, &third].map(pins).concat();
    let distinct: HashSet<u64> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (240, 240));
    assert!(pins(&second).iter().all(|&pin| pin < 500));

    let second_similar = v1::SimilarPinsRequest {
        page_token: first_similar.next_page_token,
        ..similar
    };
    let second_similar = client.similar_pins(second_similar).await;
    let second_similar = second_similar.expect("an answer").into_inner();
    assert!(second_similar.versions_changed && !first_similar.versions_changed);
    let seen: HashSet<u64> = first_similar.candidates.iter().map(|c| c.pin_id).collect();
    let mut found = second_similar.candidates.iter();
    assert!(found.all(|one| !seen.contains(&one.pin_id)));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_pages_of_pins_like_one_are_the_list_of_all() {
    let world = World::built();
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut request = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        limit: 90,
        exclude_pin_ids: vec![37, 38],
        paged: true,
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let answer = client.similar_pins(request.clone()).await;
        let answer = answer.expect("an answer").into_inner();
        found.extend(answer.candidates.iter().map(|c| (c.pin_id, c.score)));
        if answer.next_page_token.is_empty() {
            assert!(answer.candidates.len() < 90);
            break;
        }
        request.page_token = answer.next_page_token;
    }
    let sorted = table.sorted(&table.0[&7], &[7, 37, 38]);
    let expected: Vec<_> = sorted.iter().map(|next| (next.pin.0, next.score)).collect();
    assert_eq!(found, expected);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn each_request_of_a_batch_has_pages_of_its_own() {
    use v1::batch_recommend_result::Outcome;
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let of_user = |user| v1::RecommendRequest {
        limit: 30,
        seed: Some(user),
        ..paged(ask(user))
    };
    let first = [
        recommend(&mut client, of_user(1)).await,
        recommend(&mut client, of_user(2)).await,
    ];
    let second = [after(&of_user(1), &first[0]), after(&of_user(2), &first[1])];
    let swapped = after(&of_user(1), &first[1]);
    let batch = v1::BatchRecommendRequest {
        requests: vec![second[0].clone(), swapped, second[1].clone(), of_user(1)],
    };
    let results = client.batch_recommend(batch).await.expect("an answer");
    let outcomes = results.into_inner().results.into_iter();
    let outcomes: Vec<Outcome> = outcomes.filter_map(|result| result.outcome).collect();
    let alone = recommend(&mut client, second[0].clone()).await;
    assert_eq!(outcomes[0], Outcome::Response(alone));
    let Outcome::Error(error) = &outcomes[1] else {
        panic!("{:?}", outcomes[1])
    };
    assert!(
        error.message.starts_with("page_token: belongs"),
        "{error:?}"
    );
    let alone = recommend(&mut client, second[1].clone()).await;
    assert_eq!(outcomes[2], Outcome::Response(alone));
    assert_eq!(outcomes[3], Outcome::Response(first[0].clone()));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_page_reflects_what_the_user_did_since_the_page_before() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    let request = v1::RecommendRequest {
        limit: 60,
        medoids: 20,
        ..paged(ask(3))
    };
    let first = recommend(&mut client, request.clone()).await;
    let topics: HashSet<u64> = medoids(&first).iter().map(|pin| pin % 30).collect();
    let new = (0..TOPICS as u64).find(|topic| !topics.contains(topic));
    let new = new.expect("a topic that the user does not know");
    let saves = (0..3).map(|at| save(at, 3, new + 30 * at as u64, NOW - 60));
    let recorded = v1::RecordActionsRequest {
        actions: saves.collect(),
    };
    let recorded = server.action_client().await.record_actions(recorded).await;
    let second = v1::RecommendRequest {
        freshness_token: recorded.expect("a record").into_inner().freshness_token,
        ..after(&request, &first)
    };
    let second = recommend(&mut client, second).await;
    let of_topic = |pin: &u64| pin % 30 == new;
    assert!(medoids(&second).iter().any(of_topic), "{second:?}");
    assert!(!medoids(&first).iter().any(of_topic));
    let seen: HashSet<u64> = pins(&first).into_iter().collect();
    assert!(!pins(&second).iter().any(|pin| seen.contains(pin)));
    server.stop().await.expect("a clean end");
}

/// A page that is short because its medoids have no pins near enough is not the last while
/// other medoids may have some.
#[tokio::test]
async fn a_least_score_ends_a_session_only_when_all_medoids_had_their_turn() {
    const LEAST: f32 = 0.9;
    let world = World::built();
    world.build_profiles("catalog", "profiles", false);
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for user in 0..USERS {
        let own = explain(&mut client, user).await.interests;
        let own: Vec<u64> = own.iter().map(|one| one.pin_id).collect();
        let is_near = |pin: &u64| {
            let near = |medoid| pinnersage::kernel::dot(&table.0[medoid], &table.0[pin]) >= LEAST;
            own.iter().any(near)
        };
        let blocked = |pin: &u64| own.contains(pin);
        let expected: BTreeSet<u64> = (0..PINS).filter(|p| is_near(p) && !blocked(p)).collect();
        let mut request = v1::RecommendRequest {
            medoids: 2,
            min_score: Some(LEAST),
            ..paged(ask(user))
        };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let answer = recommend(&mut client, request.clone()).await;
            found.extend(pins(&answer));
            pages += 1;
            if answer.next_page_token.is_empty() {
                assert!(answer.candidates.is_empty());
                break;
            }
            request = after(&request, &answer);
        }
        // Two rounds at most: one that finds something, one that finds nothing more.
        assert!(pages <= 2 * own.len().div_ceil(2) + 1, "{pages}");
        let distinct: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len());
        assert_eq!(distinct, expected);
    }
    // The same pins are searched from on each page, so a short one is the last.
    let similar = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        min_score: Some(LEAST),
        paged: true,
        ..Default::default()
    };
    let similar = client.similar_pins(similar).await.expect("an answer");
    let similar = similar.into_inner();
    assert!(!similar.candidates.is_empty() && similar.next_page_token.is_empty());
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn spacing_holds_within_a_page_and_the_next_goes_on() {
    let world = filters::world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let rule = v1::SpacingRule {
        attribute: "language".to_owned(),
        max: 2,
        places: 5,
    };
    let mut request = v1::RecommendRequest {
        filter: Some(filter(vec![any_of("language", &["de"])])),
        spacing: vec![rule],
        ..paged(ask(1))
    };
    let mut found = HashSet::new();
    for page in 1..=5 {
        let answer = recommend(&mut client, request.clone()).await;
        assert_eq!(answer.exhausted_reason(), v1::ExhaustedReason::Spacing);
        found.extend(pins(&answer));
        assert_eq!(found.len(), 2 * page);
        request = after(&request, &answer);
        assert!(!request.page_token.is_empty());
    }
    server.stop().await.expect("a clean end");
}

/// Servers of different versions share sessions: what one gave out, the next one reads.
#[tokio::test]
async fn a_token_that_was_kept_is_still_read() {
    const SHOWN: [u64; 7] = [3, 33, 63, 93, 123, 600, 700_000];
    let world = World::built();
    let server = Server::start(&world).await;
    let request = |name: &str| {
        let kept = common::corpus().join("requests").join(name);
        fs::read(kept).expect("a kept request")
    };
    let bytes = request("recommend_paged.bin");
    let answer = server.call_raw(&bytes).await.expect("an answer");
    let answer = v1::RecommendResponse::decode(answer).expect("an answer");
    assert_eq!((answer.seed, answer.candidates.len()), (9, 5));
    assert!(answer.versions_changed && !answer.next_page_token.is_empty());
    assert!(!pins(&answer).iter().any(|pin| SHOWN.contains(pin)));

    let bytes = request("similar_pins_paged.bin");
    let answer = server.call_method_raw(SIMILAR_PINS, &bytes).await;
    let answer = v1::SimilarPinsResponse::decode(answer.expect("an answer"));
    let answer = answer.expect("an answer");
    assert_eq!(answer.candidates.len(), 5);
    assert!(answer.versions_changed && !answer.next_page_token.is_empty());
    let mut found = answer.candidates.iter();
    assert!(!found.any(|one| SHOWN.contains(&one.pin_id)));
    server.stop().await.expect("a clean end");
}

/// A world of many pins around the usual topics.
fn world_of_many() -> World {
    let world = World::files();
    let mut pins = common::pins();
    let rng = &mut ChaCha8Rng::seed_from_u64(7);
    for id in PINS..MANY_PINS {
        let near = pins[id as usize % PINS as usize].embedding.clone();
        let embedding = near.iter().map(|x| x + rng.random_range(-0.1..0.1));
        pins.push(Pin {
            id: id as i64,
            embedding: embedding.collect(),
            title: String::new(),
        });
    }
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", EMBEDDING_VERSION);
    world.build_profiles("catalog", "profiles", false);
    world
}

#[tokio::test]
async fn sessions_are_long_and_ten_thousand_exclusions_shorten_no_list() {
    let world = world_of_many();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start(&world).await;
    let mut client = server.client().await;

    // The token of the fourth page would have 6,000 candidates.
    let request = v1::RecommendRequest {
        limit: 2_000,
        ..paged(ask(3))
    };
    let first = recommend(&mut client, request.clone()).await;
    let second = recommend(&mut client, after(&request, &first)).await;
    let third = recommend(&mut client, after(&request, &second)).await;
    assert!(third.next_page_token.is_empty());
    let all: HashSet<u64> = [&first, &second, &third]
        .map(pins)
        .concat()
        .into_iter()
        .collect();
    assert_eq!(all.len(), 6_000);
    // With 5,000 the session goes on.
    let shorter = v1::RecommendRequest {
        limit: 1_000,
        ..after(&request, &second)
    };
    let shorter = recommend(&mut client, shorter).await;
    assert!((5_000..16_000).contains(&shorter.next_page_token.len()));
    let beyond = v1::RecommendRequest {
        limit: 1,
        ..after(&request, &shorter)
    };
    let beyond = recommend(&mut client, beyond).await;
    assert_eq!(beyond.candidates.len(), 1);
    assert!(beyond.next_page_token.is_empty());

    // The excluded pins are the very nearest.
    let vector = |pin: u64| catalog.pins.vector(PinId(pin)).expect("a pin").to_vec();
    let table = Table((0..MANY_PINS).map(|pin| (pin, vector(pin))).collect());
    for pin in [7, 300] {
        let sorted = table.sorted(&table.0[&pin], &[pin]);
        let (nearest, rest) = sorted.split_at(10_000);
        for limit in [1usize, 20, 400, 2_000] {
            let request = v1::SimilarPinsRequest {
                pin_ids: vec![pin],
                limit: limit as u32,
                exclude_pin_ids: nearest.iter().map(|next| next.pin.0).collect(),
                ..Default::default()
            };
            let answer = client.similar_pins(request).await.expect("an answer");
            let found = answer.into_inner().candidates;
            let expected = &rest[..limit.min(rest.len())];
            assert_eq!(found.len(), expected.len());
            let expected: HashSet<u64> = expected.iter().map(|next| next.pin.0).collect();
            let right = found
                .iter()
                .filter(|one| expected.contains(&one.pin_id))
                .count();
            assert!(right * 20 >= found.len() * 19, "{right} of {limit}");
        }
    }
    server.stop().await.expect("a clean end");
}

#[test]
fn the_command_line_shows_pages_one_after_the_other() {
    let world = World::built();
    let server = Process::start(&mut serve_command(&world));
    let to = ["--server", server.url.as_str()];
    let recommend = ["recommend", "--user", "1", "--limit", "5", "--seed", "9"];
    let text = run([&recommend[..], &["--pages", "2"], &to].concat());
    for page in [
        "user 1, page 1: 5 candidates (seed 9)",
        "user 1, page 2: 5 candidates (seed 9)",
    ] {
        assert!(text.contains(page), "{text}");
    }
    let json = |arguments: &[&str]| -> Vec<Value> {
        let said = run([arguments, &["--json"], &to].concat());
        serde_json::from_str(&said).expect("a list of JSON")
    };
    let check = |pages: &[Value], total: usize| {
        let candidates = pages.iter().flat_map(|page| page["candidates"].as_array());
        let candidates: Vec<u64> = candidates
            .flatten()
            .map(|one| one["pin_id"].as_u64().expect("a pin"))
            .collect();
        let distinct: HashSet<&u64> = candidates.iter().collect();
        assert_eq!((candidates.len(), distinct.len()), (total, total));
        for (at, page) in pages.iter().enumerate() {
            assert_eq!(page["page"], at + 1);
            assert_eq!(page["versions_changed"], false);
        }
    };
    let pages = json(&[&recommend[..], &["--pages", "3"]].concat());
    assert_eq!(pages.len(), 3);
    check(&pages, 15);
    assert_eq!(pages[2]["is_last_page"], false);

    let similar = ["similar", "--pin", "7", "--limit", "250", "--pages", "9"];
    let pages = json(&similar);
    assert_eq!(pages.len(), 3);
    check(&pages, PINS as usize - 1);
    assert_eq!(pages[2]["is_last_page"], true);
    let text = run([&similar[..], &to].concat());
    assert!(
        text.contains("page 3: 99 candidates like\n  [a] 7\n  the last page\n"),
        "{text}"
    );
    server.stop();
}
