//! What becomes of a delivery, and what is logged and counted of it.

use serde::Serialize;
use tokio::time::Instant;

use crate::event::Event;
use crate::telemetry::{counted, milliseconds_since};

/// What became of one delivery of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It changed something, and that is written.
    Applied,
    /// It was dealt with before.
    Duplicate,
    /// There was nothing to change.
    NoChange,
    /// It is not for us.
    Ignored,
    /// It is kept and will be tried again.
    Pending,
    /// It is kept, and a person must look.
    Parked,
}

/// The one line that every delivery leaves in the log, with what is counted of it.
pub(super) fn report(answer: Answer, event: Option<&Event>, begun: Instant) {
    let is = |other: Answer| counted(answer == other);
    let is_news = matches!(answer, Answer::Applied | Answer::NoChange);
    let event = event.filter(|_| is_news);
    tracing::info!(
        WebhookApplied = is(Answer::Applied),
        WebhookDuplicate = is(Answer::Duplicate),
        WebhookNoChange = is(Answer::NoChange),
        WebhookIgnored = is(Answer::Ignored),
        WebhookPending = is(Answer::Pending),
        WebhookParked = is(Answer::Parked),
        WebhookLatency = milliseconds_since(begun),
        CheckoutCompleted = counted(event.is_some_and(Event::is_completed_checkout)),
        PaymentFailed = counted(event.is_some_and(Event::is_failed_payment)),
        "event received"
    );
}
