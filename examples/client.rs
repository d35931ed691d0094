//! A client to copy: asks for recommendations, records what the user did with one of them.
//!
//! ```text
//! cargo run --release -- demo
//! cargo run --release --example client -- 2
//! ```
//!
//! It shows what a caller in production needs: a deadline for each call, a second try where
//! the server allows one, after the delay that the server names, and an id for each action,
//! so that a repeated call counts once.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use pinnersage::wire::v1::{Action, RecommendRequest, RecommendResponse, RecordActionsRequest};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

const SERVER: &str = "http://127.0.0.1:50051";
/// Time for one attempt. The server gives up a call whose deadline is over.
const DEADLINE: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 3;
/// Delay before the second attempt where the server names none; it doubles.
const FIRST_DELAY: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> Result<()> {
    let user = std::env::args().nth(1).unwrap_or_else(|| "2".to_owned());
    let user: u64 = user.parse().context("the argument is the id of a user")?;
    // One channel for the whole process: its clones share a connection, which is made
    // again when it breaks.
    let channel = Channel::from_static(SERVER)
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .with_context(|| format!("no server at {SERVER}"))?;

    let answer = recommend(&channel, user).await?;
    for candidate in &answer.candidates {
        let medoid = &answer.medoids[candidate.medoid_index as usize];
        println!(
            "pin {:>8}  score {:.3}  near pin {:>8}  {}",
            candidate.pin_id, candidate.score, medoid.pin_id, candidate.title
        );
    }
    if let Some(first) = answer.candidates.first() {
        let medoid = &answer.medoids[first.medoid_index as usize];
        record_save(&channel, user, first.pin_id, medoid.pin_id).await?;
    }
    Ok(())
}

async fn recommend(channel: &Channel, user: u64) -> Result<RecommendResponse> {
    let request = RecommendRequest {
        user_id: Some(user),
        limit: 10,
        include_titles: true,
        ..Default::default()
    };
    let answer = with_retries(async || {
        let mut client = RecommendationServiceClient::new(channel.clone());
        client.recommend(with_deadline(request.clone())).await
    });
    Ok(answer.await?)
}

async fn record_save(channel: &Channel, user: u64, pin: u64, medoid: u64) -> Result<()> {
    let now = SystemTime::now();
    let request = RecordActionsRequest {
        actions: vec![Action {
            // Drawn once, outside of the retries: with the same id the action counts once.
            action_id: rand::random::<[u8; 16]>().to_vec(),
            user_id: Some(user),
            pin_id: Some(pin),
            action: "save".to_owned(),
            time: Some(now.into()),
            medoid_pin_id: Some(medoid),
            ..Default::default()
        }],
    };
    let answer = with_retries(async || {
        let mut client = ActionServiceClient::new(channel.clone());
        client.record_actions(with_deadline(request.clone())).await
    });
    let statuses: Vec<_> = answer.await?.results().collect();
    println!("saved pin {pin}: {statuses:?}");
    Ok(())
}

fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Calls again while the server says that a later call may succeed. Both methods above
/// can be repeated: one only reads, and the other has ids of actions.
async fn with_retries<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T, Status> {
    let mut delay = FIRST_DELAY;
    let mut attempt = 1;
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let is_temporary = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
        if !is_temporary || attempt == ATTEMPTS {
            return Err(status);
        }
        // An overloaded server says how long it wants to be left alone.
        let named = status.get_details_retry_info();
        let named = named.and_then(|details| details.retry_delay);
        // Some randomness keeps clients from coming back all at once.
        let jitter = 1.0 + rand::random::<f64>();
        tokio::time::sleep(named.unwrap_or(delay).mul_f64(jitter)).await;
        delay *= 2;
        attempt += 1;
    }
}
