//! What the measuring programs share: inputs for the functions, the calls that a function cannot do without,
//! made with the bare SDK, and a client that notes what was asked.
#![expect(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "what cannot be set up is to stop"
)]

pub mod bare;
pub mod input;
pub mod recorder;
