//! The time that everything on one machine agrees on.
//!
//! With the Stripe sandbox it is the sandbox's clock, which a test advances; against Stripe itself it
//! is the machine's.

use jiff::Timestamp;

/// A source of the current time. Cloning it gives the same clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// The sandbox's clock: the machine's and what it was advanced by.
    Sandbox(sandbox::Clock),
}

impl Clock {
    /// What time it is.
    #[expect(
        clippy::disallowed_methods,
        reason = "here the local stack reads the machine's clock"
    )]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Sandbox(clock) => Timestamp::from_second(clock.now()).unwrap_or(Timestamp::MAX),
        }
    }
}
