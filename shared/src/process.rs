//! The way of one event: load, fetch, decide, commit. `webhook` and `reconcile` walk it alike.
//!
//! Fence first, fetch second, conditional write last: what a slow fetch brings can never overwrite
//! something newer. Whatever happens, the event ends up in the table or with Stripe, which retries.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::decide::{Decision, Fetched, concerns_subscriptions, decide};
use crate::event::{Content, Envelope, Event};
use crate::ids::{CustomerId, EventId, UserId};
use crate::secrets::Secrets;
use crate::store::{self, Committed, Marker, Outcome, Store, backoff};
use crate::stripe::{Call, Stripe};

/// How often an event is decided anew because somebody else wrote the account first.
const FENCE_ATTEMPTS: u32 = 24;

/// How long the work on one event may take before it is put off instead.
const WORK_LIMIT: Duration = Duration::from_millis(6_000);

/// How long putting it off may take.
const RECORD_LIMIT: Duration = Duration::from_millis(1_500);

/// When a pending event is tried first; the wait doubles with each attempt.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(10);
const RETRY_AFTER_LIMIT: SignedDuration = SignedDuration::from_hours(1);

/// How often an event is tried before a person must look; with the waits above, about twelve hours.
const ATTEMPTS_MAX: u32 = 20;

/// What an event needs on its way.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The table.
    pub store: &'c Store,
    /// Stripe's API.
    pub stripe: &'c Stripe,
    /// The key for it.
    pub secrets: &'c Secrets,
    /// Which of Stripe's modes is ours.
    pub livemode: bool,
}

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

/// One delivery of an event.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'d> {
    /// The event.
    pub envelope: &'d Envelope,
    /// Its body as received, to be kept if need be.
    pub body: &'d [u8],
    /// The id of this invocation.
    pub invocation: &'d str,
    /// The clock when it began.
    pub now: Timestamp,
}

/// Deals again with an event that was kept. `None` when somebody else has dealt with it meanwhile, or its
/// body cannot be read.
pub async fn retry(
    context: Context<'_>,
    id: &EventId,
    invocation: &str,
    now: Timestamp,
) -> Result<Option<Answer>, store::Error> {
    let Some(marker) = context
        .store
        .marker(id)
        .await?
        .filter(|marker| !marker.is_done())
    else {
        return Ok(None);
    };
    let Some(body) = marker.kept_body() else {
        tracing::error!(stripe.event.id = %id, "the kept body cannot be read");
        return Ok(None);
    };
    match Envelope::parse(&body) {
        Ok(envelope) => {
            let delivery = Delivery {
                envelope: &envelope,
                body: &body,
                invocation,
                now,
            };
            process(context, delivery).await.map(Some)
        }
        Err(error) => park_unreadable(context, &body, &error.to_string(), invocation, now)
            .await
            .map(Some),
    }
}

/// Why an event cannot be dealt with now.
enum PutOff {
    /// It is tried again later.
    Later(String),
    /// The table is in trouble.
    Store(store::Error),
}

impl From<store::Error> for PutOff {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Deals with one delivery within a bounded time. An error means that nothing durable is known to have
/// happened, so that the sender must deliver again.
pub async fn process(context: Context<'_>, delivery: Delivery<'_>) -> Result<Answer, store::Error> {
    let reason = match tokio::time::timeout(WORK_LIMIT, work(context, delivery)).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(PutOff::Later(reason))) => reason,
        Ok(Err(PutOff::Store(error))) => error.to_string(),
        Err(_) => "out of time".to_owned(),
    };
    tracing::warn!(stripe.event.id = %delivery.envelope.id, reason, "event put off");
    match tokio::time::timeout(RECORD_LIMIT, put_off(context, delivery, reason)).await {
        Ok(recorded) => recorded,
        Err(_) => Err(store::Error::Unavailable("out of time".to_owned())),
    }
}

/// Keeps an authentic body that is no event at all; its hash stands for the id that it lacks.
pub async fn park_unreadable(
    context: Context<'_>,
    body: &[u8],
    why: &str,
    invocation: &str,
    now: Timestamp,
) -> Result<Answer, store::Error> {
    let hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body));
    let id = EventId::from(format!("unreadable_{hash}"));
    let writer = format!("{invocation}.park");
    let marker = Marker::done(Outcome::Parked, "unreadable", now, now, &writer).because(why);
    keep(context, &id, marker, body, now, 1).await
}

async fn work(context: Context<'_>, delivery: Delivery<'_>) -> Result<Answer, PutOff> {
    let envelope = delivery.envelope;
    if envelope.connected_account {
        return ignore(context, delivery, "account").await;
    }
    if envelope.livemode != context.livemode {
        return ignore(context, delivery, "mode").await;
    }
    match &envelope.content {
        Content::Other => ignore(context, delivery, "type").await,
        Content::NotUnderstood(why) => {
            let marker = done(delivery, Outcome::Parked, "park").because(why);
            Ok(keep(
                context,
                &envelope.id,
                marker,
                delivery.body,
                delivery.now,
                1,
            )
            .await?)
        }
        Content::Acted {
            customer_id,
            user_hint,
            event,
        } => act(context, delivery, customer_id, user_hint.as_ref(), event).await,
    }
}

async fn act(
    context: Context<'_>,
    delivery: Delivery<'_>,
    customer_id: &CustomerId,
    user_hint: Option<&UserId>,
    event: &Event,
) -> Result<Answer, PutOff> {
    let id = &delivery.envelope.id;
    let catalog = context.store.catalog(delivery.now).await?;
    for attempt in 0..FENCE_ATTEMPTS {
        let loaded = context
            .store
            .load(id, customer_id, user_hint, event)
            .await?;
        if loaded.marker.as_ref().is_some_and(Marker::is_done) {
            return Ok(Answer::Duplicate);
        }
        let Some(known) = &loaded.known else {
            return Err(PutOff::Later("the customer is not known yet".to_owned()));
        };
        let needed =
            concerns_subscriptions(event) && !known.account.contains(delivery.envelope.created);
        let fetched = if needed {
            Some(fetch(context, delivery, customer_id).await?)
        } else {
            None
        };
        let writer = attempt.to_string();
        let (committed, answer) = match decide(known, event, fetched, &catalog) {
            Decision::NoChange => {
                let marker = done(delivery, Outcome::NoChange, &writer);
                (context.store.record(id, &marker).await?, Answer::NoChange)
            }
            Decision::Change(changes) => {
                let marker = done(delivery, Outcome::Applied, &writer);
                (
                    context.store.commit(id, &marker, &changes, &loaded).await?,
                    Answer::Applied,
                )
            }
        };
        match committed {
            Committed::Committed => return Ok(answer),
            Committed::Duplicate => return Ok(Answer::Duplicate),
            Committed::FenceLost => tokio::time::sleep(backoff(delivery.invocation, attempt)).await,
        }
    }
    Err(PutOff::Later("the account is too busy".to_owned()))
}

/// The customer's subscriptions, asked for after the account was read. A customer whom Stripe does not
/// know any more has none.
async fn fetch(
    context: Context<'_>,
    delivery: Delivery<'_>,
    customer_id: &CustomerId,
) -> Result<Fetched, PutOff> {
    let call = Call {
        secrets: context.secrets,
        now: delivery.now,
    };
    match context.stripe.subscriptions(call, customer_id).await {
        Ok(subscriptions) => Ok(Fetched {
            at: delivery.now,
            subscriptions,
        }),
        Err(error) if error.is_missing("customer") => Ok(Fetched {
            at: delivery.now,
            subscriptions: Vec::new(),
        }),
        Err(error) => Err(PutOff::Later(error.to_string())),
    }
}

async fn ignore(
    context: Context<'_>,
    delivery: Delivery<'_>,
    reason: &str,
) -> Result<Answer, PutOff> {
    let marker = done(delivery, Outcome::Ignored, "ignore").because(reason);
    match context.store.record(&delivery.envelope.id, &marker).await? {
        Committed::Committed => Ok(Answer::Ignored),
        Committed::Duplicate | Committed::FenceLost => Ok(Answer::Duplicate),
    }
}

fn done(delivery: Delivery<'_>, outcome: Outcome, step: &str) -> Marker {
    let envelope = delivery.envelope;
    let writer = format!("{}.{step}", delivery.invocation);
    Marker::done(
        outcome,
        &envelope.r#type,
        envelope.created,
        delivery.now,
        &writer,
    )
}

async fn put_off(
    context: Context<'_>,
    delivery: Delivery<'_>,
    reason: String,
) -> Result<Answer, store::Error> {
    let id = &delivery.envelope.id;
    let earlier = context.store.marker(id).await?;
    let attempts = earlier
        .and_then(|marker| marker.attempts)
        .unwrap_or_default()
        .saturating_add(1);
    let doubled = RETRY_AFTER.checked_mul(2_i32.saturating_pow(attempts.min(16).saturating_sub(1)));
    let wait = doubled.unwrap_or(RETRY_AFTER_LIMIT).min(RETRY_AFTER_LIMIT);
    let due_at = delivery.now.saturating_add(wait).unwrap_or(delivery.now);
    let outcome = if attempts < ATTEMPTS_MAX {
        Outcome::Pending
    } else {
        Outcome::Parked
    };
    let marker = done(delivery, outcome, "put_off").because(reason);
    keep(context, id, marker, delivery.body, due_at, attempts).await
}

async fn keep(
    context: Context<'_>,
    id: &EventId,
    marker: Marker,
    body: &[u8],
    due_at: Timestamp,
    attempts: u32,
) -> Result<Answer, store::Error> {
    let answer = if marker.outcome == Outcome::Parked {
        Answer::Parked
    } else {
        Answer::Pending
    };
    let Some(marker) = marker.kept(body, due_at, attempts) else {
        return Err(store::Error::Unavailable(
            "the body is too long to keep".to_owned(),
        ));
    };
    match context.store.record(id, &marker).await? {
        Committed::Committed => Ok(answer),
        Committed::Duplicate | Committed::FenceLost => Ok(Answer::Duplicate),
    }
}
