//! Where models come from: files in several parts, and the hub.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test program: what is wrong should stop it"
)]

#[cfg(feature = "hub")]
mod hub;
mod shards;
