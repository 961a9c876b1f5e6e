//! Tollgate on one machine: everything that AWS, Stripe and an identity provider do for it, in one
//! process.
//!
//! [`stack::Stack`] starts all of it. Nothing here is deployed, and nothing here decides about
//! billing: requests reach the functions' own `handle` in the shape in which Lambda delivers them.

pub mod client;
pub mod clock;
pub mod cors;
pub mod data;
pub mod dynamodb;
pub mod env_file;
pub mod event;
pub mod functions;
pub mod gateway;
pub mod invocation;
pub mod issuer;
pub mod listeners;
pub mod other_events;
pub mod page;
pub mod stack;
pub mod stripe;
