//! What several test programs share.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod adapters;
pub mod affine;
pub mod backends;
#[path = "../../src/bin/wginfer/cache.rs"]
pub mod cache;
pub mod demo_model;
pub mod heap;
pub mod live;
pub mod loras;
pub mod recipe;
pub mod resident;
pub mod spared;
pub mod tiny_model;
