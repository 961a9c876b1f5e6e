//! Runs on a schedule: tries pending events again when they are due, finds those that no delivery brought,
//! and measures what waits.
//!
//! It walks the same way as `webhook`, `shared::process`, and may run beside it and beside itself.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::ids::EventId;
use shared::process::{self, Answer, Context};
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::store::{self, Queue, Store};
use shared::stripe::Stripe;
use shared::telemetry::milliseconds_since;
use tokio::time::Instant;

mod missed;

/// The most events that are read at once, and the most batches of them in one run.
const BATCH: i32 = 25;
const BATCHES_MAX: u32 = 40;

/// How long one run may take; the schedule starts the next one soon after.
const TIME_LIMIT: Duration = Duration::from_secs(50);

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    secrets: Secrets,
    store: Store,
    stripe: Stripe,
    livemode: bool,
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Events that are done with now.
    pub done: u32,
    /// Events that are still to be tried again.
    pub pending: u32,
    /// Events that a person must look at, or whose customer nobody has claimed yet.
    pub parked: u32,
    /// Events that changed something and that no delivery had brought.
    pub missed: u32,
}

impl State {
    /// Reads the configuration; contacts nobody.
    pub fn new(environment: &Environment, http: HttpClient) -> Result<Self, config::Error> {
        Ok(Self {
            secrets: Secrets::new(environment, &http, &[STRIPE_SECRET_KEY])?,
            store: Store::new(environment, &http)?,
            stripe: Stripe::new(environment, &http)?,
            livemode: environment.livemode()?,
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            store: &self.store,
            stripe: &self.stripe,
            secrets: &self.secrets,
            livemode: self.livemode,
        }
    }
}

/// Does one run: the events that are due, batch after batch, until none is left or the time is over.
/// What fails stays due and is tried by the next run.
pub async fn handle(
    state: &State,
    invocation: &str,
    now: Timestamp,
) -> Result<Report, store::Error> {
    let begun = Instant::now();
    let mut report = Report::default();
    let retries = async {
        for queue in [Queue::Pending, Queue::Unclaimed] {
            for batch in 0..BATCHES_MAX {
                let due = state.store.due_events(queue, now, BATCH).await?;
                if due.is_empty() {
                    break;
                }
                let attempt = format!("{invocation}.{queue:?}.{batch}");
                retry(state, &due, &attempt, now, &mut report).await?;
            }
        }
        Ok::<(), store::Error>(())
    };
    // Out of time is no failure: the next run goes on.
    if let Ok(ended) = tokio::time::timeout(TIME_LIMIT, retries).await {
        ended?;
    }
    let time_left = TIME_LIMIT.saturating_sub(begun.elapsed());
    let compared = missed::compare(state, invocation, now, &mut report.missed);
    match tokio::time::timeout(time_left, compared).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "Stripe's events could not be compared"),
        Err(_) => tracing::warn!("there was no time to compare Stripe's events to the end"),
    }
    measure(state, report, now, begun).await?;
    Ok(report)
}

/// What is still there when all was done that can be done now.
async fn measure(
    state: &State,
    report: Report,
    now: Timestamp,
    begun: Instant,
) -> Result<(), store::Error> {
    let pending = state.store.waiting(Queue::Pending).await?;
    let parked = state.store.waiting(Queue::Parked).await?;
    let age = pending.oldest.map(|oldest| now.duration_since(oldest));
    tracing::info!(
        EventsRetried = u64::from(report.done + report.pending + report.parked),
        EventsPending = pending.count,
        EventsParked = parked.count,
        Drift = report.missed,
        PendingAge = age.map_or(0, |age| age.as_secs().max(0)),
        ReconcileLatency = milliseconds_since(begun),
        "scheduled run"
    );
    Ok(())
}

async fn retry(
    state: &State,
    due: &[EventId],
    attempt: &str,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), store::Error> {
    for (number, id) in due.iter().enumerate() {
        let invocation = format!("{attempt}.{number}");
        match process::retry(state.context(), id, &invocation, now).await? {
            Some(Answer::Applied | Answer::Duplicate | Answer::NoChange | Answer::Ignored) => {
                report.done += 1;
            }
            Some(Answer::Pending) => report.pending += 1,
            Some(Answer::Parked) => report.parked += 1,
            None => {}
        }
    }
    Ok(())
}
