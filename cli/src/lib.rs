//! The `tollgate` command line.
//!
//! Each command is a module; `main.rs` reads arguments and environment, and prints what goes wrong.

pub mod catalog;
pub mod demo;
pub mod dev;
pub mod environment;
pub mod sign;
pub mod start;
pub mod token;
pub mod webhook_endpoint;
