//! Workers, shards, windows, accounting: what turns blocks of frames into
//! flow records and per-second windows.

pub mod window;
