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

/// Actions, and what was learned while they were read.
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
    let mut users: HashMap<UserId, Seen> = HashMap::new();
    let mut by_day = DayCounts::from(params.from);
    let mut latest = wanted.from;
    let popularity = params.models.iter().filter(|model| {
        model.source == Source::Popularity || model.popularity(params.popularity) > 0.0
    });
    let counts_by_day = popularity.clone().next().is_some();
    let actions = UserActions::read(files, pins, &wanted, progress, |action| {
        let seen = users.entry(action.user).or_default();
        seen.actions += 1;
        seen.in_period |= action.time >= params.from;
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
        users: chosen(&users, params.users),
        popular: by_day.rankings(moments, params.window_days as i64, pins.ids().len()),
    })
}

/// What was seen of a user.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    actions: u64,
    /// Whether there is anything to judge by.
    in_period: bool,
}

/// At most so many of `users`, by hash: the same ones whatever else is in the files, and
/// whatever is compared.
fn chosen(users: &HashMap<UserId, Seen>, most: Option<usize>) -> HashMap<UserId, u64> {
    let hash = |user: &UserId| xxhash_rust::xxh3::xxh3_64(&user.0.to_be_bytes());
    let judged = users.iter().filter(|(_, seen)| seen.in_period);
    let mut order: Vec<UserId> = judged.map(|(&user, _)| user).collect();
    order.sort_unstable_by_key(|user| (hash(user), *user));
    order.truncate(most.unwrap_or(usize::MAX));
    let actions = |user: UserId| (user, users[&user].actions);
    order.into_iter().map(actions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_users_are_among_more_and_all_acted_in_the_period() {
        let seen = |user: u64| Seen {
            actions: user,
            in_period: user < 100,
        };
        let users: HashMap<UserId, Seen> =
            (0..120).map(|user| (UserId(user), seen(user))).collect();
        let few = chosen(&users, Some(10));
        let more = chosen(&users, Some(20));
        assert_eq!((few.len(), more.len()), (10, 20));
        assert!(few.keys().all(|user| more.contains_key(user)));
        let all = chosen(&users, None);
        assert!(all.len() == 100 && all.iter().all(|(user, &actions)| user.0 == actions));
        assert_eq!(chosen(&users, Some(200)), all);
    }
}
