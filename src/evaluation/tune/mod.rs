//! Proposing settings: the values of one parameter after the other are compared by a replay
//! of a validation period.
//!
//! A value is judged by all candidates in one list, as in the paper, and by as many in five
//! parts, as a home feed asks for them: page after page, each with a draw of its own and
//! without what was shown before. The first favors few and large interests, the second many
//! small ones. The best value has the greatest geometric mean of relevance and recall over
//! both, so that no measure is bought with another. A value is proposed only on evidence:
//! among all values whose lag behind the best one may be chance, by the bootstrap over the
//! same users, the one nearest to the present setting is taken.

mod choose;
mod compare;
mod step;
mod tuned;
mod validate;

pub use step::{Step, Trial};
pub use tuned::Tuned;
pub use validate::{Grid, tune};
