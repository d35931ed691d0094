//! What a user does on a pin.

use std::collections::BTreeMap;
use std::fmt;

use bytemuck::{Pod, Zeroable};

use super::{PinId, Timestamp, UserId};

/// The name of the action that says that a pin was shown.
pub const IMPRESSION: &str = "impression";
/// Most bytes in the name of an action.
pub const MAX_ACTION_NAME: usize = 64;

/// Identifies an action: 16 bytes that whoever records it assigns, so that it
/// counts once however often it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct ActionId(pub [u8; 16]);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which.
    pub id: ActionId,
    /// Who acted.
    pub user: UserId,
    /// On what.
    pub pin: PinId,
    /// What kind of action, by its name.
    pub name: String,
    /// When.
    pub time: Timestamp,
    /// The medoid that found the pin, when it was recommended.
    pub medoid: Option<PinId>,
}

/// What an action says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActionKind {
    /// The user likes the pin: adds this much to the importance of its cluster,
    /// above 0.
    Positive(f64),
    /// The user does not want the pin: takes this much, above 0.
    Negative(f64),
    /// The user was shown the pin.
    Impression,
}

/// What is held of one action of a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// When.
    pub time: Timestamp,
    /// On what.
    pub pin: PinId,
    /// How much it adds to importance, or takes from it, at its own moment; above 0.
    pub weight: f64,
}

impl Held {
    /// By time, then by pin; by weight, so that equal ones can stand for each other.
    pub fn by_time(a: &Self, b: &Self) -> std::cmp::Ordering {
        let weight = || a.weight.total_cmp(&b.weight);
        (a.time, a.pin).cmp(&(b.time, b.pin)).then_with(weight)
    }
}

/// What actions say, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionWeights(BTreeMap<String, f64>);

impl ActionWeights {
    /// From weights by name: those below 0 are of what people do not want.
    pub fn new(weights: BTreeMap<String, f64>) -> Self {
        Self(weights)
    }

    /// What actions of this name say; none when the name is not known.
    pub fn kind(&self, name: &str) -> Option<ActionKind> {
        if name == IMPRESSION {
            return Some(ActionKind::Impression);
        }
        let kind = |&weight: &f64| match weight > 0.0 {
            true => ActionKind::Positive(weight),
            false => ActionKind::Negative(-weight),
        };
        self.0.get(name).map(kind)
    }
}
