//! flow logs.
