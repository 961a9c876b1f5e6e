//! The way of one event: load, fetch, decide, commit. `webhook` and `reconcile` walk it alike.
//!
//! Fence first, fetch second, conditional write last: what a slow fetch brings can never overwrite
//! something newer. Whatever happens, the event ends up in the table or with Stripe, which retries.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Instrument;

use crate::account::Account;
use crate::decide::{Changes, Decision, Fetched, Known, concerns_subscriptions, decide, sale_of};
use crate::event::{Acted, Charge, Content, Envelope, Event, RelatedObject};
use crate::ids::{CustomerId, EventId};
use crate::secrets::Secrets;
use crate::store::{self, Committed, Marker, Outcome, RecordKey, Store, backoff};
use crate::stripe::{self, Call, Stripe};
use crate::subscription::Subscription;

mod keep;
mod report;

pub use keep::park_unreadable;
pub use report::Answer;
use report::report;

/// How often an event is decided anew because somebody else wrote the account first.
const FENCE_ATTEMPTS: u32 = 24;

/// How long the work on one event may take before it is put off instead.
const WORK_LIMIT: Duration = Duration::from_millis(6_000);

/// How long putting it off may take.
const RECORD_LIMIT: Duration = Duration::from_millis(1_500);

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

impl From<stripe::Error> for PutOff {
    fn from(error: stripe::Error) -> Self {
        Self::Later(error.to_string())
    }
}

/// Deals with one delivery within a bounded time. An error means that nothing durable is known to have
/// happened, so that the sender must deliver again.
pub async fn process(context: Context<'_>, delivery: Delivery<'_>) -> Result<Answer, store::Error> {
    let envelope = delivery.envelope;
    let span = tracing::info_span!(
        "event",
        stripe.event.id = %envelope.id,
        "stripe.event.type" = envelope.r#type,
        stripe.api_version = envelope.api_version,
    );
    within_limits(context, delivery).instrument(span).await
}

async fn within_limits(
    context: Context<'_>,
    delivery: Delivery<'_>,
) -> Result<Answer, store::Error> {
    let begun = Instant::now();
    let reason = match tokio::time::timeout(WORK_LIMIT, work(context, delivery)).await {
        Ok(Ok((answer, event))) => {
            report(answer, event.as_ref(), begun);
            return Ok(answer);
        }
        Ok(Err(PutOff::Later(reason))) => reason,
        Ok(Err(PutOff::Store(error))) => error.to_string(),
        Err(_) => "out of time".to_owned(),
    };
    tracing::warn!(reason, "event put off");
    let put_off = keep::put_off(context, delivery, reason);
    match tokio::time::timeout(RECORD_LIMIT, put_off).await {
        Ok(recorded) => recorded.inspect(|answer| report(*answer, None, begun)),
        Err(_) => Err(store::Error::Unavailable("out of time".to_owned())),
    }
}

/// Deals again with an event that was kept. `None` when somebody else has dealt with it meanwhile, or its
/// body cannot be read.
pub async fn retry(
    context: Context<'_>,
    id: &EventId,
    invocation: &str,
    now: Timestamp,
) -> Result<Option<Answer>, store::Error> {
    let marker = context.store.marker(id).await?;
    let Some(marker) = marker.filter(|marker| !marker.is_done()) else {
        return Ok(None);
    };
    let body = marker.kept_body().unwrap_or_default();
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
        Err(error) => {
            tracing::error!(stripe.event.id = %id, %error, "the kept body cannot be read");
            Ok(None)
        }
    }
}

/// What became of the delivery, and what it said happened, if it is about us.
async fn work(
    context: Context<'_>,
    delivery: Delivery<'_>,
) -> Result<(Answer, Option<Event>), PutOff> {
    let envelope = delivery.envelope;
    if envelope.connected_account {
        return Ok((ignore(context, delivery, "account").await?, None));
    }
    if envelope.livemode != context.livemode {
        return Ok((ignore(context, delivery, "mode").await?, None));
    }
    let content = match &envelope.content {
        Content::Thin(related) => content_of_thin(context, delivery, related).await?,
        known @ (Content::Acted(_) | Content::Other | Content::NotUnderstood(_)) => known.clone(),
    };
    Ok(match content {
        Content::Other | Content::Thin(_) => (ignore(context, delivery, "type").await?, None),
        Content::NotUnderstood(why) => (keep::park(context, delivery, &why).await?, None),
        Content::Acted(acted) => (act(context, delivery, &acted).await?, Some(acted.event)),
    })
}

async fn content_of_thin(
    context: Context<'_>,
    delivery: Delivery<'_>,
    related: &RelatedObject,
) -> Result<Content, PutOff> {
    let call = Call {
        secrets: context.secrets,
        now: delivery.now,
    };
    let object = context.stripe.related_object(call, related).await?;
    Ok(object.map_or(Content::Other, |object| {
        delivery.envelope.content_of(object.get())
    }))
}

async fn act(
    context: Context<'_>,
    delivery: Delivery<'_>,
    acted: &Acted,
) -> Result<Answer, PutOff> {
    let Acted {
        customer_id,
        user_hint,
        event,
    } = acted;
    let id = &delivery.envelope.id;
    let catalog = context.store.catalog(delivery.now).await?;
    let charge = charge_of(context, delivery, event).await?;
    let of_charge = charge
        .as_ref()
        .and_then(|charge| charge.customer_id.as_ref());
    let Some(customer_id) = customer_id.as_ref().or(of_charge) else {
        return ignore(context, delivery, "nobody").await;
    };
    let record = record_key(event, charge.as_ref());
    let mut answered: Option<Vec<Subscription>> = None;
    for attempt in 0..FENCE_ATTEMPTS {
        let loaded = context
            .store
            .load(id, customer_id, user_hint.as_ref(), &record)
            .await?;
        if loaded.marker.as_ref().is_some_and(Marker::is_done) {
            return Ok(Answer::Duplicate);
        }
        let Some(known) = &loaded.known else {
            match keep::park_unclaimed(context, delivery, customer_id, loaded.marker.as_ref())
                .await?
            {
                Some(answer) => return Ok(answer),
                None => continue,
            }
        };
        let mut fetched = None;
        if is_fetch_needed(known, customer_id, delivery, event, answered.as_deref()) {
            let fresh = fetch(context, delivery, customer_id).await?;
            answered = Some(fresh.subscriptions.clone());
            fetched = Some(fresh);
        }
        let step = attempt.to_string();
        let decision = decide(
            known,
            customer_id,
            event,
            charge.as_ref(),
            fetched,
            &catalog,
        );
        let (committed, answer) = match decision {
            Decision::NoChange => {
                let marker = done(delivery, Outcome::NoChange, &step);
                (context.store.record(id, &marker).await?, Answer::NoChange)
            }
            Decision::Change(changes) => {
                report_second_subscription(known, &changes);
                let marker = done(delivery, Outcome::Applied, &step);
                let user_id = &known.account.user_id;
                let committed = context
                    .store
                    .commit(id, &marker, &changes, &loaded, user_id);
                (committed.await?, Answer::Applied)
            }
        };
        match committed {
            Committed::Committed => return Ok(answer),
            Committed::Duplicate => return Ok(Answer::Duplicate),
            Committed::FenceLost => {
                tokio::time::sleep(backoff(delivery.invocation, attempt)).await;
            }
        }
    }
    Err(PutOff::Later("the account is too busy".to_owned()))
}

/// A second live subscription is not ours to cancel; a person must decide which one was meant.
fn report_second_subscription(known: &Known, changes: &Changes) {
    let is_billed_twice = changes
        .account
        .as_ref()
        .is_some_and(Account::is_billed_twice);
    if is_billed_twice && !known.account.is_billed_twice() {
        let customer = known.account.customer_id.as_ref();
        tracing::error!(
            stripe.customer.id = customer.map(CustomerId::as_str),
            "a customer has two live subscriptions"
        );
    }
}

/// A fetch is needed unless what it would tell is known: the account contains the event, or it says what
/// Stripe has answered since the event arrived, written meanwhile by somebody else.
fn is_fetch_needed(
    known: &Known,
    customer_id: &CustomerId,
    delivery: Delivery<'_>,
    event: &Event,
    answered: Option<&[Subscription]>,
) -> bool {
    concerns_subscriptions(event)
        && known.account.customer_id.as_ref() == Some(customer_id)
        && !known.account.contains(delivery.envelope.created)
        && !answered.is_some_and(|answered| known.account.agrees_with(answered))
}

/// The charge that a refund or dispute is of, with the invoice that it paid. Only until 2025-03-31.basil
/// did a charge name its invoice.
async fn charge_of(
    context: Context<'_>,
    delivery: Delivery<'_>,
    event: &Event,
) -> Result<Option<Charge>, PutOff> {
    let call = Call {
        secrets: context.secrets,
        now: delivery.now,
    };
    let mut charge = match event {
        Event::Refund(charge) => charge.clone(),
        Event::Dispute(dispute) => context.stripe.charge(call, &dispute.charge).await?,
        Event::CheckoutSession(_)
        | Event::Subscription
        | Event::Invoice(..)
        | Event::Payment(_)
        | Event::PaymentMethod(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => return Ok(None),
    };
    if let (None, false, Some(payment)) = (
        &charge.invoice_id,
        charge.is_of_pack,
        &charge.payment_intent_id,
    ) {
        charge.invoice_id = context.stripe.invoice_paid_by(call, payment).await?;
    }
    Ok(Some(charge))
}

fn record_key(event: &Event, charge: Option<&Charge>) -> RecordKey {
    match event {
        Event::PaymentMethod(method) => RecordKey::PaymentMethod(method.id.clone()),
        Event::CheckoutSession(_)
        | Event::Subscription
        | Event::Invoice(..)
        | Event::Payment(_)
        | Event::Refund(_)
        | Event::Dispute(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => sale_of(event, charge).map_or(RecordKey::None, RecordKey::Sale),
    }
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
        Ok((at, subscriptions)) => Ok(Fetched { at, subscriptions }),
        Err(error) if error.is_missing("customer") => Ok(Fetched {
            at: delivery.now,
            subscriptions: Vec::new(),
        }),
        Err(error) => Err(error.into()),
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
