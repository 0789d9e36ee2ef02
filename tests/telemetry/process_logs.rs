//! process logs.
