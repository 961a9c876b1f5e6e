//! Integration tests: the whole system on free ports, each test with a stack of its own.
//!
//! Requests go over real HTTP through the gateway; events are signed; the table is the one that the
//! functions write. Faults are put into the functions' own connections, never into their code.

mod access;
mod bad_input;
mod burst;
mod call;
mod checkout;
mod cost;
mod crash;
mod drift;
mod edge;
mod events;
mod failures;
mod faults;
mod harness;
mod logs;
mod meter;
mod money;
mod numbers;
mod order;
mod policy;
mod rotation;
mod shapes;
mod start;
mod storm;
mod tap;
mod template;
mod tidy;
mod webhook_endpoint;
