//! macos.
