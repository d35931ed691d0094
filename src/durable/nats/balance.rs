//! Spreads the leaders of the streams over the nodes again after a node was away: a node that
//! leads all streams would hold up every append when it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::api::{Done, Replica, StreamInfo, call, info_of_leader};
use super::shared::Shared;

/// Time between two looks. Replicas look at different times, so that one of them moves.
const INTERVAL: Duration = Duration::from_secs(3);
const MAX_EXTRA_MILLIS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(1);

/// Who leads a stream, and who could at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Led {
    leader: String,
    ready: Vec<String>,
}

/// A stream that another node is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    stream: u8,
    to: String,
}

/// Looks for ever, and moves a leader where two looks in a row say so.
pub(super) async fn balance(shared: Arc<Shared>) {
    let mut last = None;
    let mut is_refused = false;
    loop {
        let extra = rand::random::<u64>() % MAX_EXTRA_MILLIS;
        sleep(INTERVAL + Duration::from_millis(extra)).await;
        let Some(streams) = look(&shared).await else {
            last = None;
            continue;
        };
        let now = next_move(&streams);
        match &now {
            Some(step) if last == now => {
                lead(&shared, step, &mut is_refused).await;
                last = None;
            }
            _ => last = now,
        }
    }
}

async fn look(shared: &Shared) -> Option<Vec<Led>> {
    let mut streams = Vec::new();
    for stream in 0..shared.names.actions {
        let name = shared.names.stream(stream);
        let info = info_of_leader(&shared.links, &name, PATIENCE).await;
        streams.push(led(&info.ok()?)?);
    }
    Some(streams)
}

fn led(info: &StreamInfo) -> Option<Led> {
    let cluster = info.cluster.as_ref()?;
    let is_ready = |replica: &&Replica| replica.current && !replica.offline;
    let ready = cluster.replicas.iter().filter(is_ready);
    Some(Led {
        leader: cluster.leader.clone()?,
        ready: ready.map(|replica| replica.name.clone()).collect(),
    })
}

/// The first move that makes the numbers of streams that nodes lead more equal.
fn next_move(streams: &[Led]) -> Option<Move> {
    let mut leads: BTreeMap<&str, usize> = BTreeMap::new();
    for led in streams {
        *leads.entry(&led.leader).or_default() += 1;
    }
    let count = |node: &str| leads.get(node).copied().unwrap_or(0);
    let mut moves = (0..).zip(streams).filter_map(|(stream, led)| {
        let to = led.ready.iter().min_by_key(|node| (count(node), *node))?;
        let is_better = count(to) + 2 <= count(&led.leader);
        is_better.then(|| Move {
            stream,
            to: to.clone(),
        })
    });
    moves.next()
}

/// Moves a leader. That it cannot is said once, until it can: an account may not be allowed to.
async fn lead(shared: &Shared, Move { stream, to }: &Move, is_refused: &mut bool) {
    let name = shared.names.stream(*stream);
    let method = format!("STREAM.LEADER.STEPDOWN.{name}");
    let body = json!({ "placement": { "preferred": to } });
    let moved: Result<Done, _> = call(&shared.links, &method, &body, PATIENCE).await;
    match moved {
        Ok(_) => {
            *is_refused = false;
            tracing::info!(stream = %name, leader = %to, "moved the leader of a stream");
        }
        Err(error) => {
            if !std::mem::replace(is_refused, true) {
                tracing::warn!(
                    stream = %name, leader = %to, %error,
                    "a node leads several streams of the action log, and none of them can be moved"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(leader: &str, ready: &[&str]) -> Led {
        Led {
            leader: leader.to_owned(),
            ready: ready.iter().map(|&node| node.to_owned()).collect(),
        }
    }

    #[test]
    fn leaders_move_until_they_are_spread_over_the_nodes_that_are_ready() {
        let nodes = ["a", "b", "c"];
        let others = |leader: &str| -> Vec<&str> {
            nodes.into_iter().filter(|node| *node != leader).collect()
        };
        let mut streams: Vec<Led> = (0..3).map(|_| led("c", &others("c"))).collect();
        let mut moves = Vec::new();
        while let Some(Move { stream, to }) = next_move(&streams) {
            streams[usize::from(stream)] = led(&to, &others(&to));
            moves.push((stream, to));
        }
        assert_eq!(moves, [(0, "a".to_owned()), (1, "b".to_owned())]);
    }

    #[test]
    fn nothing_moves_to_a_node_that_is_not_ready_or_leads_as_many() {
        assert_eq!(next_move(&[led("a", &[]), led("a", &[])]), None);
        assert_eq!(
            next_move(&[led("a", &["b"]), led("b", &["a"]), led("a", &["b"])]),
            None
        );
    }
}
