//! Runs on a schedule: tries pending events again when they are due.
//!
//! It walks the same way as `webhook`, `shared::process`, and may run beside it and beside itself.

use jiff::Timestamp;
use serde::Serialize;
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::process::{self, Answer, Context};
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::store::{self, Store};
use shared::stripe::Stripe;

/// The most events that one run tries.
const BATCH: i32 = 25;

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    secrets: Secrets,
    store: Store,
    stripe: Stripe,
    livemode: bool,
}

/// What one run did.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Events that are done with now.
    pub done: u32,
    /// Events that are still to be tried again.
    pub pending: u32,
    /// Events that a person must look at.
    pub parked: u32,
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
}

/// Does one run. What fails stays due and is tried by the next one.
pub async fn handle(
    state: &State,
    invocation: &str,
    now: Timestamp,
) -> Result<Report, store::Error> {
    let context = Context {
        store: &state.store,
        stripe: &state.stripe,
        secrets: &state.secrets,
        livemode: state.livemode,
    };
    let mut report = Report::default();
    for (number, id) in state.store.due_events(now, BATCH).await?.iter().enumerate() {
        let attempt = format!("{invocation}.{number}");
        match process::retry(context, id, &attempt, now).await? {
            Some(Answer::Applied | Answer::Duplicate | Answer::NoChange | Answer::Ignored) => {
                report.done += 1
            }
            Some(Answer::Pending) => report.pending += 1,
            Some(Answer::Parked) => {
                tracing::error!(stripe.event.id = %id, "event parked: it was tried often enough");
                report.parked += 1;
            }
            None => {}
        }
    }
    Ok(report)
}
