//! connection logs.
