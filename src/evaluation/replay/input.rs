//! The input of a replay: days, actions by user, and the popularity of pins.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::batch::{ActionSelection, UserActions};
use crate::evaluation::error::EvaluateError;
use crate::evaluation::models::{DayCounts, Model, Ranking, Source};
use crate::evaluation::params::EvaluateParams;
use crate::index::PinTable;
use crate::model::{Timestamp, UserId};
use crate::progress::Progress;

/// Actions, and what was counted while they were read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) actions: UserActions,
    /// Number of actions of each user who is replayed.
    pub(super) users: HashMap<UserId, u64>,
    /// By the moment before which actions are counted.
    pub(super) rankings: BTreeMap<Timestamp, Ranking>,
}

/// First moments of the days that are judged.
pub(super) fn days(params: &EvaluateParams) -> Result<Vec<Timestamp>, EvaluateError> {
    let (from, to) = (params.from, params.to);
    let day = |number: u32| from.minus_days(-f64::from(number) * f64::from(params.every_days));
    let days: Vec<Timestamp> = (0..).map(day).take_while(|&day| day < to).collect();
    if days.is_empty() {
        return Err(EvaluateError::Period { from, to });
    }
    Ok(days)
}

/// Reads all actions that are needed to judge `days`.
pub(super) fn read(
    files: &[PathBuf],
    pins: &PinTable,
    params: &EvaluateParams,
    days: &[Timestamp],
    progress: Progress,
) -> Result<Input, EvaluateError> {
    let wanted = needed_actions(params, days);
    let mut users: HashMap<UserId, UserActivity> = HashMap::new();
    let mut counts = DayCounts::new(params.from);
    let mut latest = wanted.from;
    let counts_popularity = params
        .models
        .iter()
        .any(|model| needs_popularity(model, params));
    let actions = UserActions::read(files, pins, &wanted, progress, |action| {
        let user = users.entry(action.user).or_default();
        user.actions += 1;
        user.is_in_period |= action.time >= params.from;
        latest = latest.max(action.time);
        if counts_popularity {
            counts.add(action);
        }
    })?;
    // A period may end long after the actions do.
    let judged = &days[..days.partition_point(|&day| day <= latest)];
    let moments = popularity_moments(params, judged);
    Ok(Input {
        actions,
        users: choose(&users, params.users),
        rankings: counts.rankings(moments, params.window_days as i64, pins.ids().len()),
    })
}

/// The actions of all windows, and of the days that are judged.
fn needed_actions<'a>(params: &'a EvaluateParams, days: &[Timestamp]) -> ActionSelection<'a> {
    let stale_days = params.models.iter().map(|model| model.stale_days).max();
    let before = params.window_days + f64::from(stale_days.unwrap_or(0));
    let last = days.last().copied().unwrap_or(params.from);
    ActionSelection {
        from: params.from.minus_days(before),
        to: last.minus_days(-f64::from(params.horizon_days)),
        names: params.action_weights.keys().map(String::as_str).collect(),
        memory: params.memory,
    }
}

fn needs_popularity(model: &Model, params: &EvaluateParams) -> bool {
    model.source == Source::Popularity || params.popularity_of(model) > 0.0
}

/// The moments as of which popularity is needed to judge `days`.
fn popularity_moments(params: &EvaluateParams, days: &[Timestamp]) -> Vec<Timestamp> {
    let models = params.models.iter();
    let models = models.filter(|model| needs_popularity(model, params));
    let moments = models.flat_map(|model| {
        let age = f64::from(model.stale_days);
        days.iter().map(move |day| day.minus_days(age))
    });
    moments.collect()
}

/// The actions of a user, counted.
#[derive(Clone, Copy, Debug, Default)]
struct UserActivity {
    actions: u64,
    /// Whether any action is in the period that is judged.
    is_in_period: bool,
}

/// At most `max_users` of `users`, chosen by hash, each with the number of actions. The
/// choice does not depend on what else is in the files or on what is compared.
fn choose(users: &HashMap<UserId, UserActivity>, max_users: Option<usize>) -> HashMap<UserId, u64> {
    let hash = |user: &UserId| xxhash_rust::xxh3::xxh3_64(&user.0.to_be_bytes());
    let judged = users.iter().filter(|(_, activity)| activity.is_in_period);
    let mut order: Vec<UserId> = judged.map(|(&user, _)| user).collect();
    order.sort_unstable_by_key(|user| (hash(user), *user));
    order.truncate(max_users.unwrap_or(usize::MAX));
    let actions = |user: UserId| (user, users[&user].actions);
    order.into_iter().map(actions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_users_are_among_more_and_all_acted_in_the_period() {
        let activity = |user: u64| UserActivity {
            actions: user,
            is_in_period: user < 100,
        };
        let users: HashMap<UserId, UserActivity> = (0..120)
            .map(|user| (UserId(user), activity(user)))
            .collect();
        let few = choose(&users, Some(10));
        let more = choose(&users, Some(20));
        assert_eq!((few.len(), more.len()), (10, 20));
        assert!(few.keys().all(|user| more.contains_key(user)));
        let all = choose(&users, None);
        assert!(all.len() == 100 && all.iter().all(|(user, &actions)| user.0 == actions));
        assert_eq!(choose(&users, Some(200)), all);
    }
}
