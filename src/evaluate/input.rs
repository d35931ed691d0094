//! What a replay reads: days, actions by user, and what all users did.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::models::Source;
use super::popularity::{DayCounts, Ranking};
use super::{EvaluateError, EvaluateParams};
use crate::batch::{ActionsWanted, UserActions};
use crate::index::PinTable;
use crate::model::{Timestamp, UserId};
use crate::progress::Progress;

/// Actions, and what was learnt while they were read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) actions: UserActions,
    /// Number of actions of each user who is replayed.
    pub(super) users: HashMap<UserId, u64>,
    /// By the moment before which they are counted.
    pub(super) popular: BTreeMap<Timestamp, Ranking>,
}

/// First moments of the days that are judged.
pub(super) fn days(params: &EvaluateParams) -> Result<Vec<Timestamp>, EvaluateError> {
    let (from, to) = (params.from, params.to);
    let day = |number: u32| from.minus_days(-f64::from(number) * f64::from(params.every_days));
    let days: Vec<Timestamp> = (0..).map(day).take_while(|&day| day < to).collect();
    match days.is_empty() {
        true => Err(EvaluateError::Period { from, to }),
        false => Ok(days),
    }
}

/// Reads all that is needed to judge `days`.
pub(super) fn read(
    files: &[PathBuf],
    pins: &PinTable,
    params: &EvaluateParams,
    days: &[Timestamp],
    progress: Progress,
) -> Result<Input, EvaluateError> {
    let stale = params.models.iter().map(|model| model.stale_days).max();
    let before = params.window_days + f64::from(stale.unwrap_or(0));
    let last = days.last().copied().unwrap_or(params.from);
    let wanted = ActionsWanted {
        from: params.from.minus_days(before),
        to: last.minus_days(-f64::from(params.horizon_days)),
        names: params.action_weights.keys().map(String::as_str).collect(),
        memory: params.memory,
    };
    let mut users: HashMap<UserId, u64> = HashMap::new();
    let mut by_day = DayCounts::from(params.from);
    let mut latest = wanted.from;
    let popularity = params
        .models
        .iter()
        .filter(|model| model.source == Source::Popularity);
    let counts_by_day = popularity.clone().next().is_some();
    let actions = UserActions::read(files, pins, &wanted, progress, |action| {
        *users.entry(action.user).or_default() += 1;
        latest = latest.max(action.time);
        if counts_by_day {
            by_day.add(action);
        }
    })?;
    // A period may end long after the actions do.
    let judged = days.partition_point(|&day| day <= latest);
    let moments = popularity.flat_map(|model| {
        let before = f64::from(model.stale_days);
        let days = days[..judged].iter();
        days.map(move |day| day.minus_days(before))
    });
    Ok(Input {
        actions,
        users: chosen(users, params.users),
        popular: by_day.rankings(moments, params.window_days as i64, pins.ids().len()),
    })
}

/// At most so many of `users`, by hash: the same ones whatever else is in the files.
fn chosen(mut users: HashMap<UserId, u64>, most: Option<usize>) -> HashMap<UserId, u64> {
    let hash = |user: &UserId| xxhash_rust::xxh3::xxh3_64(&user.0.to_be_bytes());
    if let Some(most) = most {
        let mut order: Vec<UserId> = users.keys().copied().collect();
        order.sort_unstable_by_key(|user| (hash(user), *user));
        order[most.min(order.len())..].iter().for_each(|user| {
            users.remove(user);
        });
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_users_are_among_more() {
        let users: HashMap<UserId, u64> = (0..100).map(|user| (UserId(user), 1)).collect();
        let few = chosen(users.clone(), Some(10));
        let more = chosen(users.clone(), Some(20));
        assert_eq!((few.len(), more.len()), (10, 20));
        assert!(few.keys().all(|user| more.contains_key(user)));
        assert_eq!(chosen(users.clone(), Some(200)), users);
        assert_eq!(chosen(users.clone(), None), users);
    }
}
