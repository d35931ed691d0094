//! Candidates as columns, in place of a message each, over the wire.

use crate::common::server::{Server, ask, recommend};
use crate::common::{USERS, World, strings};
use pinnersage::wire::v1;
use prost::Message;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tonic::Code;

/// The same answer with a message a candidate, from its columns.
fn with_messages(mut answer: v1::RecommendResponse) -> v1::RecommendResponse {
    assert!(answer.candidates.is_empty());
    let columns = answer.columns.take().expect("columns");
    let count = columns.pin_ids.len();
    assert_eq!(
        (columns.scores.len(), columns.medoid_indices.len()),
        (count, count)
    );
    let texts = |texts: &[String]| match texts {
        [] => vec![String::new(); count],
        all => all.to_vec(),
    };
    let (keys, titles) = (texts(&columns.pin_keys), texts(&columns.titles));
    assert_eq!((keys.len(), titles.len()), (count, count));
    let candidates = (0..count).map(|at| v1::Candidate {
        pin_id: columns.pin_ids[at],
        score: columns.scores[at],
        medoid_index: columns.medoid_indices[at],
        title: titles[at].clone(),
        pin_key: keys[at].clone(),
    });
    v1::RecommendResponse {
        candidates: candidates.collect(),
        ..answer
    }
}

fn in_columns(request: &v1::RecommendRequest) -> v1::RecommendRequest {
    let mut request = request.clone();
    request.set_response_format(v1::ResponseFormat::Columns);
    request
}

/// Requests of all kinds by the users 0 to 39 and by some whom nobody knows.
fn requests(count: usize) -> Vec<v1::RecommendRequest> {
    let rng = &mut ChaCha8Rng::seed_from_u64(16);
    let mut request = || v1::RecommendRequest {
        limit: rng.random_range(0..=600),
        medoids: rng.random_range(0..=20),
        seed: Some(rng.random()),
        include_titles: rng.random(),
        merge_strategy: rng.random_range(0..=2),
        exclude_pin_ids: (0..rng.random_range(0..600)).collect(),
        ..ask(rng.random_range(0..USERS + 5))
    };
    (0..count).map(|_| request()).collect()
}

#[tokio::test]
async fn columns_hold_what_messages_hold() {
    let (numbers, keys) = (World::built(), strings::built());
    for world in [&numbers, &keys] {
        let server = Server::start(world).await;
        let mut client = server.client().await;
        for request in requests(60) {
            let messages = recommend(&mut client, request.clone()).await;
            assert_eq!(messages.columns, None);
            let columns = recommend(&mut client, in_columns(&request)).await;
            let lists = columns.columns.as_ref().expect("columns");
            let has_titles = request.include_titles && !messages.candidates.is_empty();
            assert_eq!(!lists.titles.is_empty(), has_titles);
            if messages.candidates.iter().all(|one| one.pin_key.is_empty()) {
                assert!(lists.pin_keys.is_empty());
            }
            assert_eq!(with_messages(columns), messages, "{request:?}");
        }
        server.stop().await.expect("a clean end");
    }
}

#[tokio::test]
async fn each_request_of_a_batch_has_its_format() {
    use v1::batch_recommend_result::Outcome;
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let plain = v1::RecommendRequest {
        seed: Some(4),
        ..ask(3)
    };
    let unknown = v1::RecommendRequest {
        response_format: 9,
        ..plain.clone()
    };
    let requests = vec![plain.clone(), in_columns(&plain), unknown.clone()];
    let batch = v1::BatchRecommendRequest { requests };
    let answer = client.batch_recommend(batch).await.expect("an answer");
    let outcomes = answer.into_inner().results.into_iter();
    let outcomes: Vec<Outcome> = outcomes.filter_map(|result| result.outcome).collect();
    let [
        Outcome::Response(messages),
        Outcome::Response(columns),
        Outcome::Error(error),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!(with_messages(columns.clone()), *messages);
    assert_eq!(error.code, Code::InvalidArgument as i32);
    assert!(
        error.message.starts_with("response_format: 9 "),
        "{}",
        error.message
    );
    let refused = client.recommend(unknown).await.expect_err("no such format");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("response_format: 9 "),
        "{refused}"
    );

    // Who asks for messages gets the bytes of who asks for nothing.
    let mut named = plain.clone();
    named.set_response_format(v1::ResponseFormat::Messages);
    let bytes = |request: v1::RecommendRequest| {
        let server = &server;
        async move {
            server
                .call_raw(&request.encode_to_vec())
                .await
                .expect("an answer")
        }
    };
    assert_eq!(bytes(named).await, bytes(plain).await);
    server.stop().await.expect("a clean end");
}
