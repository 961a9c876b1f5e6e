//! Events that happened at Stripe and never arrived: the endpoint was switched off, refused them for three
//! days, or did not exist yet. They are found in Stripe's own list and walk the same way as all others, so
//! that one which does arrive later is a duplicate.

use jiff::{SignedDuration, Timestamp};
use shared::event::{Content, Envelope};
use shared::ids::EventId;
use shared::process::{self, Answer, Delivery};
use shared::store;
use shared::stripe::{self, Call};

use super::State;

/// How long an event may be on its way before it counts as missed. Stripe delivers within seconds.
const MISSED_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How far back Stripe's list goes; a longer standstill is closed to here.
const LISTED_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How many stretches of time one run compares at most.
const STRETCHES_MAX: u32 = 20;

/// What keeps the lists from being compared now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Stripe(#[from] stripe::Error),
}

/// Goes through what happened since the last time, and counts in `missed` the events that changed something
/// and that no delivery had brought. The first time there is nothing to look back at.
pub(crate) async fn compare(
    state: &State,
    invocation: &str,
    now: Timestamp,
    missed: &mut u32,
) -> Result<(), Error> {
    let end = now - MISSED_AFTER;
    let Some(compared) = state.store.compared_until().await? else {
        state.store.set_compared_until(end).await?;
        return Ok(());
    };
    let mut from = compared.max(now - LISTED_FOR);
    let mut to = end;
    for stretch in 0..STRETCHES_MAX {
        if from.as_second() >= to.as_second() {
            break;
        }
        let call = Call {
            secrets: &state.secrets,
            now,
        };
        match state.stripe.events(call, from, to).await? {
            Some(bodies) => {
                let attempt = format!("{invocation}.missed.{stretch}");
                process_unknown(state, &bodies, &attempt, now, missed).await?;
                state.store.set_compared_until(to).await?;
                (from, to) = (to, end);
            }
            // Too many for one look: half of the time.
            None => to = from + (to.duration_since(from) / 2).max(SignedDuration::from_secs(1)),
        }
    }
    Ok(())
}

async fn process_unknown(
    state: &State,
    bodies: &[Box<serde_json::value::RawValue>],
    attempt: &str,
    now: Timestamp,
    missed: &mut u32,
) -> Result<(), Error> {
    let envelopes: Vec<(Envelope, &[u8])> = bodies
        .iter()
        .filter_map(|body| {
            let body = body.get().as_bytes();
            let envelope = Envelope::parse(body).ok()?;
            (envelope.content != Content::Other).then_some((envelope, body))
        })
        .collect();
    let ids: Vec<EventId> = envelopes
        .iter()
        .map(|(envelope, _)| envelope.id.clone())
        .collect();
    let unknown = state.store.unknown_events(&ids).await?;
    let never_came = envelopes
        .iter()
        .filter(|(envelope, _)| unknown.contains(&envelope.id));
    for (number, (envelope, body)) in never_came.enumerate() {
        tracing::warn!(
            stripe.event.id = %envelope.id,
            "an event that no delivery brought was found at Stripe"
        );
        let invocation = format!("{attempt}.{number}");
        let delivery = Delivery {
            envelope,
            body,
            invocation: &invocation,
            now,
        };
        if process::process(state.context(), delivery).await? == Answer::Applied {
            *missed += 1;
        }
    }
    Ok(())
}
