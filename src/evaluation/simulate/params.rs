//! The parameters of a world.

use crate::model::{EmbeddingError, Timestamp, check_dimension};

/// How many actions users have: a lognormal distribution with bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// Median number of actions of a user.
    pub median_actions: f64,
    /// Standard deviation of the logarithm of that number; 0 makes all users alike.
    pub spread: f64,
    /// Minimum number of actions of a user.
    pub min_actions: u32,
    /// Maximum number of actions of a user.
    pub max_actions: u32,
}

/// The parameters of a world.
#[derive(Clone, Debug)]
pub struct WorldParams {
    /// Number of pins.
    pub pins: u32,
    /// Number of topics.
    pub topics: u32,
    /// Dimension of the embeddings.
    pub dimension: usize,
    /// Number of days in which users act.
    pub days: u32,
    /// First moment after these days.
    pub until: Timestamp,
    /// Share of actions on pins at random, from 0 to 1.
    pub noise: f64,
    /// Number of actions of users.
    pub activity: Activity,
}

/// Why there can be no such world.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum WorldError {
    /// Some topics would be empty, or there are none.
    #[error("{pins} pins cannot be in {topics} topics: each has at least one, and one there is")]
    Topics {
        /// Number of pins.
        pins: u32,
        /// Number of topics.
        topics: u32,
    },
    /// There is no day to act on.
    #[error("there must be at least one day")]
    Days,
    /// The noise is not a share.
    #[error("the noise must be a share from 0 to 1, not {0}")]
    Noise(f64),
    /// The numbers of actions have no distribution.
    #[error(
        "users cannot have {min} to {max} actions, {median} in the median, with a spread of \
         {spread}: all must be at least 0, the greatest number at least the smallest"
    )]
    Activity {
        /// Median number of actions.
        median: f64,
        /// Standard deviation of its logarithm.
        spread: f64,
        /// Minimum number of actions.
        min: u32,
        /// Maximum number of actions.
        max: u32,
    },
    /// No catalog has vectors of this dimension.
    #[error(transparent)]
    Dimension(#[from] EmbeddingError),
}

impl WorldParams {
    /// Refuses parameters of which there can be no world. Nothing behind it checks again.
    pub fn check(&self) -> Result<(), WorldError> {
        let &Self { pins, topics, .. } = self;
        if topics == 0 || pins < topics {
            return Err(WorldError::Topics { pins, topics });
        }
        if self.days == 0 {
            return Err(WorldError::Days);
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return Err(WorldError::Noise(self.noise));
        }
        self.activity.check()?;
        Ok(check_dimension(self.dimension)?)
    }

    /// First moment at which users act.
    pub fn from(&self) -> Timestamp {
        self.until.minus_days(f64::from(self.days))
    }
}

impl Activity {
    fn check(&self) -> Result<(), WorldError> {
        let &Self {
            median_actions: median,
            spread,
            min_actions: min,
            max_actions: max,
        } = self;
        let is_number = |number: f64| number.is_finite() && number >= 0.0;
        if !is_number(median) || !is_number(spread) || min > max {
            return Err(WorldError::Activity {
                median,
                spread,
                min,
                max,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The parameters of a small world.
    pub(in super::super) fn params() -> WorldParams {
        WorldParams {
            pins: 20_000,
            topics: 200,
            dimension: 64,
            days: 180,
            until: "2026-01-01".parse().expect("a date"),
            noise: 0.1,
            activity: Activity {
                median_actions: 130.0,
                spread: 0.95,
                min_actions: 30,
                max_actions: 3_000,
            },
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |params: WorldParams| params.check().expect_err("a bad world").to_string();
        let topics = refused(WorldParams {
            topics: 20_001,
            ..params()
        });
        assert!(topics.contains("20000 pins") && topics.contains("20001 topics"));
        assert!(
            refused(WorldParams {
                topics: 0,
                ..params()
            })
            .contains("0 topics")
        );
        assert!(
            refused(WorldParams {
                days: 0,
                ..params()
            })
            .contains("one day")
        );
        assert!(
            refused(WorldParams {
                dimension: 1,
                ..params()
            })
            .contains("dimension 1")
        );
        assert!(
            refused(WorldParams {
                noise: f64::NAN,
                ..params()
            })
            .contains("NaN")
        );
        let activity = Activity {
            min_actions: 3_001,
            ..params().activity
        };
        let activity = refused(WorldParams {
            activity,
            ..params()
        });
        assert!(activity.contains("3001 to 3000 actions"), "{activity}");
        assert_eq!(params().check(), Ok(()));
    }
}
