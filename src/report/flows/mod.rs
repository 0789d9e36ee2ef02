//! Looking over recorded flows: which of them, by what, how much.
//!
//! Works on the lines of `flows.ndjson`. [`Expression`] chooses, [`Groups`] sums up,
//! [`Owner`] tells whose a flow is. Start at [`Expression::parse`].

mod compare;
mod expression;
mod field;
mod group;
mod kind;
mod owner;
mod token;

pub use expression::{Expression, Mistake};
pub use field::{Field, Side};
pub use group::{Groups, Measure, Sums};
pub use owner::Owner;
