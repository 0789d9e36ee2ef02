//! access logs.
