//! Actions of users on pins.

use std::collections::BTreeMap;
use std::fmt;

use bytemuck::{Pod, Zeroable};

use super::{PinId, Timestamp, UserId};

/// The name of the action that says that a pin was shown.
pub const IMPRESSION: &str = "impression";
/// Maximum length of the name of an action, in bytes.
pub const MAX_ACTION_NAME: usize = 64;

/// Identifies an action: 16 bytes that the recorder assigns, so that the action counts
/// once however often it is delivered.
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
    /// Identifies the action.
    pub id: ActionId,
    /// The user who acted.
    pub user: UserId,
    /// The pin acted on.
    pub pin: PinId,
    /// Name of the kind of action.
    pub name: String,
    /// Time of the action.
    pub time: Timestamp,
    /// The medoid that found the pin, if the pin was recommended.
    pub medoid: Option<PinId>,
    /// What the caller calls user and pins; none where all of them are numbers.
    pub keys: Option<Box<ActionKeys>>,
}

/// The keys whose hashes are the ids of an action; none for an id that the caller gave as
/// a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionKeys {
    /// Key of the user.
    pub user: Option<String>,
    /// Key of the pin.
    pub pin: Option<String>,
    /// Key of the medoid.
    pub medoid: Option<String>,
}

impl ActionKeys {
    /// The keys, if there is any.
    pub fn some(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Meaning of an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActionKind {
    /// The user likes the pin. Adds this much to the importance of its cluster; above 0.
    Positive(f64),
    /// The user does not want the pin. Takes this much away; above 0.
    Negative(f64),
    /// The user was shown the pin.
    Impression,
}

/// One positive or negative action, as it is kept for a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedAction {
    /// Time of the action.
    pub time: Timestamp,
    /// The pin acted on.
    pub pin: PinId,
    /// Importance that it adds, or takes away, at its own moment; above 0.
    pub weight: f64,
}

impl RecordedAction {
    /// By time, then by pin, then by weight. Actions that compare equal are
    /// interchangeable.
    pub fn by_time(a: &Self, b: &Self) -> std::cmp::Ordering {
        let weight = || a.weight.total_cmp(&b.weight);
        (a.time, a.pin).cmp(&(b.time, b.pin)).then_with(weight)
    }
}

/// The weights of actions by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionWeights(BTreeMap<String, f64>);

impl ActionWeights {
    /// Weights below 0 are those of negative actions.
    pub fn new(weights: BTreeMap<String, f64>) -> Self {
        Self(weights)
    }

    /// The kind of actions with this name; none when the name is not known.
    pub fn kind(&self, name: &str) -> Option<ActionKind> {
        if name == IMPRESSION {
            return Some(ActionKind::Impression);
        }
        self.0.get(name).map(|&weight| {
            if weight > 0.0 {
                ActionKind::Positive(weight)
            } else {
                ActionKind::Negative(-weight)
            }
        })
    }
}
