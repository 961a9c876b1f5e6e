//! Carries deliveries out: waits until one is due, sends it, and records or reschedules it.
//!
//! Deliveries start in the order of their events and overlap up to a bound, so that, as with Stripe, a receiver must
//! not rely on any order.

use std::sync::{Arc, Weak};

use serde_json::Value;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant};

use super::job::{self, Answer, DEFAULT_TARGET, Job};
use super::{CliMessage, envelope, target};
use crate::stripe_cli;
use crate::{Inner, Sandbox};

const AT_ONCE: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(20);

/// A session of the CLI forwards and tells the answer, or filters the event and tells nothing.
const CLI_TIMEOUT: Duration = Duration::from_secs(3);

/// How often to look whether the default receiver has become known.
const WITHOUT_TARGET: Duration = Duration::from_millis(250);

/// Delivers events until the last handle of the sandbox is gone, or this one is aborted; attempts that are under way
/// end with it.
pub(super) fn start(sandbox: &Sandbox) -> JoinHandle<()> {
    let wake = Arc::clone(&sandbox.deliveries().wake);
    tokio::spawn(run(
        Arc::downgrade(&sandbox.inner),
        sandbox.newest_event(),
        wake,
    ))
}

async fn run(inner: Weak<Inner>, mut newest: watch::Receiver<u64>, wake: Arc<Notify>) {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .no_proxy()
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks cannot be sent"),
    };
    if let Some(inner) = inner.upgrade() {
        resume(&Sandbox { inner });
    }
    let mut running = JoinSet::new();
    loop {
        newest.borrow_and_update();
        let due = match inner.upgrade() {
            Some(inner) => send_due(&Sandbox { inner }, &client, &mut running),
            None => return,
        };
        let idle = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = wake.notified() => {}
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep_until(due.unwrap_or(idle)) => {}
        }
    }
}

/// Starts what is due, and says when to look again.
fn send_due(
    sandbox: &Sandbox,
    client: &reqwest::Client,
    running: &mut JoinSet<()>,
) -> Option<Instant> {
    super::take_events(sandbox);
    while running.len() < AT_ONCE {
        let Some(job) = sandbox.deliveries().take_due() else {
            break;
        };
        running.spawn(attempt(sandbox.clone(), client.clone(), job));
    }
    sandbox
        .deliveries()
        .next_due()
        .filter(|_| running.len() < AT_ONCE)
}

/// Takes up what was owed when the process ended.
fn resume(sandbox: &Sandbox) {
    for (key, value) in sandbox.world().kv_scan(job::PREFIX) {
        match serde_json::from_value::<Job>(value) {
            Ok(job) => sandbox.deliveries().push(job, Duration::ZERO),
            Err(error) => tracing::warn!(%error, %key, "a kept delivery cannot be read"),
        }
    }
}

/// Everything that one attempt needs, read at one moment.
struct Letter {
    url: String,
    body: String,
    signature: String,
}

async fn attempt(sandbox: Sandbox, client: reqwest::Client, job: Job) {
    if job.target == DEFAULT_TARGET && sandbox.webhook().is_none() {
        return finish(&sandbox, Some((job, WITHOUT_TARGET)));
    }
    let Some(letter) = letter(&sandbox, &job) else {
        // The endpoint was deleted or switched off, or the session has ended.
        sandbox.world().kv_delete(&job.key());
        return finish(&sandbox, None);
    };
    let url = letter.url.clone();
    let answer = match job.cli_session() {
        Some(session) => forward(&sandbox, session, &job, letter).await,
        None => post(&client, letter).await,
    };
    let now = sandbox.clock().now();
    let retry = if answer.is_success() {
        None
    } else {
        job.retry_after(now)
    };
    let next_retry_at =
        retry.map(|after| now.saturating_add(i64::try_from(after.as_secs()).unwrap_or(i64::MAX)));
    sandbox
        .deliveries()
        .remember(job.attempt_json(&url, &answer, now, next_retry_at));
    let key = job.key();
    let next = retry.map(|after| {
        (
            Job {
                attempt: job.attempt.saturating_add(1),
                ..job
            },
            after,
        )
    });
    match &next {
        Some((job, _)) => super::keep(&mut sandbox.world(), job),
        None => sandbox.world().kv_delete(&key),
    }
    finish(&sandbox, next);
}

fn letter(sandbox: &Sandbox, job: &Job) -> Option<Letter> {
    let world = sandbox.world();
    let (url, secret, api_version) = match job.cli_session() {
        Some(session) => (
            format!("{}{session}", job::CLI_PREFIX),
            stripe_cli::secret(sandbox),
            crate::API_VERSION.to_owned(),
        ),
        None => {
            let target = target::target(sandbox, &world, &job.target)?;
            (target.url, target.secret, target.api_version)
        }
    };
    let event: &Value = world.event(&job.event)?;
    let version = job.api_version.as_deref().unwrap_or(&api_version);
    let body = envelope::body(&world, event, version, job.same_second);
    let signature = envelope::signature(&secret, sandbox.clock().now(), &body);
    Some(Letter {
        url,
        body,
        signature,
    })
}

async fn post(client: &reqwest::Client, letter: Letter) -> Answer {
    let request = client
        .post(&letter.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept", "*/*; q=0.5, application/xml")
        .header("Cache-Control", "no-cache")
        .header("Stripe-Signature", letter.signature)
        .body(letter.body);
    match request.send().await {
        Ok(response) => {
            let status = Some(response.status().as_u16());
            Answer {
                status,
                body: response.text().await.unwrap_or_default(),
            }
        }
        Err(error) => Answer::none(error.without_url().to_string()),
    }
}

async fn forward(sandbox: &Sandbox, session: &str, job: &Job, letter: Letter) -> Answer {
    let sender = sandbox.deliveries().state().sessions.get(session).cloned();
    let (answer, answered) = oneshot::channel();
    let message = CliMessage {
        event: job.event.clone(),
        body: letter.body,
        signature: letter.signature,
        answer,
    };
    if sender.is_none_or(|sender| sender.send(message).is_err()) {
        return Answer::none("the session has ended");
    }
    match tokio::time::timeout(CLI_TIMEOUT, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::none("the session has ended"),
        Err(_) => Answer::none("no answer was reported; the session may filter this event"),
    }
}

/// Ends an attempt, and starts the wait for the next.
fn finish(sandbox: &Sandbox, next: Option<(Job, Duration)>) {
    let deliveries = sandbox.deliveries();
    if let Some((job, after)) = next {
        deliveries.push(job, after);
    }
    {
        let mut state = deliveries.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
    deliveries.changed();
}
