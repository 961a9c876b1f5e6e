//! The domain of Tollgate, shared by all functions.
//!
//! Pure modules decide and parse; they never do I/O and never read the clock. The I/O modules
//! (`http`, `oidc`, `secrets`, `store`, `stripe`) import the pure ones, never the reverse, and meet
//! only in a function's `handle` and in [`process`], the way of one event that `webhook` and
//! `reconcile` share.

pub mod access;
pub mod account;
pub mod aws;
pub mod catalog;
pub mod config;
pub mod decide;
pub mod event;
pub mod http;
pub mod ids;
pub mod oidc;
pub mod problem;
pub mod process;
pub mod request;
pub mod sale;
pub mod secrets;
pub mod signature;
pub mod store;
pub mod stripe;
pub mod subscription;
pub mod telemetry;
pub mod token;
