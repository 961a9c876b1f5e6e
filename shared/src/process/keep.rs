//! Keeping an event that cannot be dealt with now: pending, parked, or waiting for its customer.
//!
//! The waits and how often an event is tried are here.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::report::report;
use super::{Answer, Context, Delivery, PutOff, done};
use crate::ids::{CustomerId, EventId};
use crate::store::{self, Committed, Marker, Outcome, Queue};

/// When a pending event is tried first; the wait doubles with each attempt.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(10);
const RETRY_AFTER_LIMIT: SignedDuration = SignedDuration::from_hours(1);

/// How often an event is tried before a person must look; with the waits above, about twelve hours.
const ATTEMPTS_MAX: u32 = 20;

/// When an event about an unclaimed customer is looked at again without a claim, and how often; the wait
/// doubles, so that the last time is a month later.
const UNCLAIMED_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);
const UNCLAIMED_ATTEMPTS_MAX: u32 = 5;

/// Where and until when an event is kept.
struct Place {
    queue: Queue,
    due_at: Timestamp,
    attempts: u32,
}

/// Keeps an authentic body that is no event at all; its hash stands for the id that it lacks.
pub async fn park_unreadable(
    context: Context<'_>,
    body: &[u8],
    why: &str,
    invocation: &str,
    now: Timestamp,
) -> Result<Answer, store::Error> {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let id = EventId::from(format!("unreadable_{}", hex::encode(hash)));
    let writer = format!("{invocation}.park");
    let marker = Marker::done(Outcome::Parked, "unreadable", now, now, &writer).because(why);
    let place = Place {
        queue: Queue::Parked,
        due_at: now,
        attempts: 1,
    };
    let begun = Instant::now();
    let kept = keep(context, &id, marker, body, place).await;
    kept.inspect(|answer| report(*answer, None, begun))
}

/// Keeps an event for a person to look at.
pub(super) async fn park(
    context: Context<'_>,
    delivery: Delivery<'_>,
    why: &str,
) -> Result<Answer, store::Error> {
    let marker = done(delivery, Outcome::Parked, "park").because(why);
    let place = Place {
        queue: Queue::Parked,
        due_at: delivery.now,
        attempts: 1,
    };
    keep(context, &delivery.envelope.id, marker, delivery.body, place).await
}

/// Keeps an event to be tried again, or after too many attempts for a person to look at.
pub(super) async fn put_off(
    context: Context<'_>,
    delivery: Delivery<'_>,
    reason: String,
) -> Result<Answer, store::Error> {
    let id = &delivery.envelope.id;
    let attempts = attempts_after(context.store.marker(id).await?.as_ref());
    let wait = doubled(RETRY_AFTER, attempts).min(RETRY_AFTER_LIMIT);
    let queue = if attempts < ATTEMPTS_MAX {
        Queue::Pending
    } else {
        Queue::Parked
    };
    let place = Place {
        queue,
        due_at: after(delivery.now, wait),
        attempts,
    };
    let marker = done(delivery, Outcome::Pending, "put_off").because(reason);
    let kept = keep(context, id, marker, delivery.body, place).await?;
    if kept != Answer::Duplicate {
        return Ok(kept);
    }
    // What was given up may have been written all the same.
    let found = context.store.marker(id).await?;
    Ok(answer_of(found.as_ref(), delivery.invocation))
}

/// What became of an event that is done with: our own write, unless another invocation's.
fn answer_of(marker: Option<&Marker>, invocation: &str) -> Answer {
    let own = marker.filter(|marker| {
        let step = marker.writer.strip_prefix(invocation);
        step.is_some_and(|step| step.starts_with('.'))
    });
    match own.map(|marker| marker.outcome) {
        None => Answer::Duplicate,
        Some(Outcome::Applied) => Answer::Applied,
        Some(Outcome::NoChange) => Answer::NoChange,
        Some(Outcome::Ignored) => Answer::Ignored,
        Some(Outcome::Pending) => Answer::Pending,
        Some(Outcome::Parked) => Answer::Parked,
    }
}

/// Keeps an event whose customer nobody has claimed. `None` when somebody has by now.
pub(super) async fn park_unclaimed(
    context: Context<'_>,
    delivery: Delivery<'_>,
    customer_id: &CustomerId,
    earlier: Option<&Marker>,
) -> Result<Option<Answer>, PutOff> {
    let attempts = attempts_after(earlier);
    let queue = if attempts <= UNCLAIMED_ATTEMPTS_MAX {
        Queue::Unclaimed
    } else {
        Queue::Parked
    };
    let due_at = after(delivery.now, doubled(UNCLAIMED_RETRY_AFTER, attempts));
    let marker = done(delivery, Outcome::Parked, "unclaimed")
        .because("no such user: nobody has claimed the customer")
        .kept(delivery.body, queue, due_at, attempts);
    let Some(marker) = marker else {
        return Err(PutOff::Later("the body is too long to keep".to_owned()));
    };
    let id = &delivery.envelope.id;
    match context
        .store
        .park_unclaimed(id, customer_id, &marker)
        .await?
    {
        Committed::Committed => Ok(Some(Answer::Parked)),
        Committed::Duplicate => Ok(Some(Answer::Duplicate)),
        Committed::FenceLost => Ok(None),
    }
}

fn attempts_after(earlier: Option<&Marker>) -> u32 {
    earlier
        .and_then(|marker| marker.attempts)
        .unwrap_or_default()
        .saturating_add(1)
}

fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(now)
}

/// The wait after that many attempts: twice as long each time.
fn doubled(first: SignedDuration, attempts: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(attempts.min(16).saturating_sub(1));
    first.checked_mul(factor).unwrap_or(SignedDuration::MAX)
}

async fn keep(
    context: Context<'_>,
    id: &EventId,
    marker: Marker,
    body: &[u8],
    place: Place,
) -> Result<Answer, store::Error> {
    let Some(marker) = marker.kept(body, place.queue, place.due_at, place.attempts) else {
        return Err(store::Error::Unavailable(
            "the body is too long to keep".to_owned(),
        ));
    };
    match context.store.record(id, &marker).await? {
        Committed::Committed if place.queue == Queue::Pending => Ok(Answer::Pending),
        Committed::Committed => Ok(Answer::Parked),
        Committed::Duplicate | Committed::FenceLost => Ok(Answer::Duplicate),
    }
}
