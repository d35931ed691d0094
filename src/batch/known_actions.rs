//! What a batch notes of the actions of one partition beside those that it clusters: their
//! identities, and the negative ones.

use super::action_reader::ActionRecord;
use crate::model::{ActionIdentity, Timestamp, UserId};

/// The identity of an action of a user.
type UserIdentity = (UserId, ActionIdentity);

/// Notes of the actions of one partition.
pub(super) struct KnownActions {
    identified_from: Timestamp,
    /// Least [`ActionRecord::action`] of a negative one.
    first_negative: u32,
    identities: Vec<UserIdentity>,
    negative: Vec<ActionRecord>,
}

/// All that the input has of one user.
#[derive(Clone, Copy)]
pub(super) struct UserInput<'a> {
    pub(super) user: UserId,
    /// The actions to cluster, by time and then by pin.
    pub(super) positive: &'a [ActionRecord],
    /// The negative actions, by time and then by pin.
    pub(super) negative: &'a [ActionRecord],
    /// Ascending; some may be there twice.
    pub(super) identities: &'a [UserIdentity],
}

impl KnownActions {
    pub(super) fn new(identified_from: Timestamp, first_negative: u32) -> Self {
        Self {
            identified_from,
            first_negative,
            identities: Vec::new(),
            negative: Vec::new(),
        }
    }

    /// Notes `record`, and tells whether it is positive.
    pub(super) fn note(&mut self, record: &ActionRecord) -> bool {
        let is_positive = record.action < self.first_negative;
        if !is_positive || record.time >= self.identified_from {
            self.identities.push((record.user, record.identity));
        }
        if !is_positive {
            self.negative.push(*record);
        }
        is_positive
    }

    /// Number of negative actions.
    pub(super) fn negative_count(&self) -> u64 {
        self.negative.len() as u64
    }

    /// What is known of each user, by ascending user. The `positive` actions are sorted.
    pub(super) fn by_user<'a>(
        &'a mut self,
        positive: &'a [ActionRecord],
    ) -> impl Iterator<Item = UserInput<'a>> {
        self.identities.sort_unstable();
        self.negative.sort_unstable();
        let (mut positive, mut negative) = (positive, &*self.negative);
        let mut identities = &*self.identities;
        std::iter::from_fn(move || {
            let user_of = |record: &ActionRecord| record.user;
            let heads = [positive.first(), negative.first()];
            let user = heads.into_iter().flatten().map(user_of).min()?;
            Some(UserInput {
                user,
                positive: take_while(&mut positive, |record| record.user == user),
                negative: take_while(&mut negative, |record| record.user == user),
                identities: take_while(&mut identities, |&(of, _)| of == user),
            })
        })
    }
}

/// Takes the first of the `rest` that belong to it off.
fn take_while<'a, T>(rest: &mut &'a [T], belongs: impl Fn(&T) -> bool) -> &'a [T] {
    let (own, others) = rest.split_at(rest.partition_point(belongs));
    *rest = others;
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PinId;

    fn record(user: u64, time: i64, action: u32) -> ActionRecord {
        let (user, time) = (UserId(user), Timestamp::from_micros(time * 1_000));
        ActionRecord {
            user,
            time,
            pin: 0,
            action,
            identity: ActionIdentity::from_content(user, PinId(0), time, "save"),
        }
    }

    #[test]
    fn each_user_has_what_the_input_has_of_it_and_old_saves_are_not_noted() {
        let mut known = KnownActions::new(Timestamp::from_micros(50_000), 1);
        let all = [
            record(1, 10, 0),
            record(1, 60, 0),
            record(2, 5, 1),
            record(3, 70, 0),
            record(3, 20, 1),
        ];
        let kept: Vec<ActionRecord> = all.into_iter().filter(|one| known.note(one)).collect();
        assert_eq!((kept.len(), known.negative_count()), (3, 2));
        let users = known.by_user(&kept).map(|one| {
            let (positive, negative) = (one.positive.len(), one.negative.len());
            (one.user.0, positive, negative, one.identities.len())
        });
        let users: Vec<(u64, usize, usize, usize)> = users.collect();
        assert_eq!(users, [(1, 2, 0, 1), (2, 0, 1, 1), (3, 1, 1, 2)]);
    }
}
