//! Sends events as webhooks: to the receiver given at the start, to endpoints created over the API, and to sessions of
//! the Stripe CLI.
//!
//! What is owed is kept with the sandbox's data before anything is sent. This file is the desk where deliveries wait
//! and are looked up; `dispatch` carries them out.

mod dispatch;
mod envelope;
mod job;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Duration, Instant};

use crate::chaos::{Chaos, Plan};
use crate::json::Fields;
use crate::{Sandbox, World};

use self::job::Job;
use self::target::receivers;

pub(crate) use self::job::{Answer, CLI_PREFIX, DEFAULT_TARGET};

const CURSOR: &str = "delivery/cursor";
const SWITCHED_OFF: &str = "delivery/off";

/// Set once there was a default receiver: after a restart it comes back, and events must wait for it.
const HAS_DEFAULT: &str = "delivery/has_default";

/// How many attempts are remembered.
const KEPT_ATTEMPTS: usize = 20_000;

/// The desk of a sandbox.
pub(crate) struct Deliveries {
    state: Mutex<State>,
    /// Tells the dispatcher to look again.
    wake: Arc<Notify>,
    started: AtomicBool,
    /// Counts up whenever something was settled or taken.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    in_flight: usize,
    attempts: VecDeque<Value>,
    chaos: Option<Chaos>,
    /// Events since the chaos began.
    ordinal: u64,
    sessions: BTreeMap<String, mpsc::UnboundedSender<CliMessage>>,
    /// The default receiver was known at some time since the start.
    default_seen: bool,
}

struct Waiting {
    due: Instant,
    job: Job,
}

/// A webhook on its way to a session of the Stripe CLI.
pub(crate) struct CliMessage {
    pub(crate) event: String,
    pub(crate) body: String,
    pub(crate) signature: String,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            wake: Arc::new(Notify::new()),
            started: AtomicBool::new(false),
            changes: watch::channel(0).0,
        }
    }
}

impl Deliveries {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Shapes the deliveries of the events that follow; `None` ends it.
    pub(crate) fn set_chaos(&self, chaos: Option<Chaos>) {
        let mut state = self.state();
        state.chaos = chaos;
        state.ordinal = 0;
    }

    /// Attempts, oldest first, of those events that the filter accepts.
    pub(crate) fn attempts(&self, accepts: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.state()
            .attempts
            .iter()
            .filter(|attempt| accepts(attempt))
            .cloned()
            .collect()
    }

    /// Deliveries that wait for their first or next attempt.
    pub(crate) fn waiting(&self) -> Vec<Value> {
        self.state()
            .waiting
            .iter()
            .map(|waiting| waiting.job.to_json())
            .collect()
    }

    /// How many deliveries wait or are under way.
    pub(crate) fn pending(&self) -> usize {
        let state = self.state();
        state.waiting.len().saturating_add(state.in_flight)
    }

    /// Connects a session of the Stripe CLI.
    pub(crate) fn connect(&self, session: &str, sender: mpsc::UnboundedSender<CliMessage>) {
        self.state().sessions.insert(session.to_owned(), sender);
    }

    /// Forgets a session, unless it has connected again in the meantime.
    pub(crate) fn disconnect(&self, session: &str, sender: &mpsc::UnboundedSender<CliMessage>) {
        let mut state = self.state();
        if state
            .sessions
            .get(session)
            .is_some_and(|current| current.same_channel(sender))
        {
            state.sessions.remove(session);
        }
    }

    /// Keeps a delivery until it is due.
    fn push(&self, job: Job, after: Duration) {
        self.state().waiting.push(Waiting {
            due: Instant::now() + after,
            job,
        });
    }

    /// The delivery that is due first, if it is due by now.
    fn take_due(&self) -> Option<Job> {
        let mut state = self.state();
        let first = state
            .waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, waiting)| (waiting.due, waiting.job.seq))?;
        if first.1.due > Instant::now() {
            return None;
        }
        let position = first.0;
        state.in_flight = state.in_flight.saturating_add(1);
        Some(state.waiting.swap_remove(position).job)
    }

    fn next_due(&self) -> Option<Instant> {
        self.state().waiting.iter().map(|waiting| waiting.due).min()
    }

    fn remember(&self, attempt: Value) {
        let mut state = self.state();
        if state.attempts.len() >= KEPT_ATTEMPTS {
            state.attempts.pop_front();
        }
        state.attempts.push_back(attempt);
    }
}

/// Delivers events for as long as the sandbox lives; the first call starts it, further ones do nothing. What was owed
/// when the process ended is delivered first.
pub(crate) fn spawn(sandbox: &Sandbox) {
    let deliveries = sandbox.deliveries();
    // Without a runtime there is nobody to deliver, and nobody to receive.
    let runtime = tokio::runtime::Handle::try_current().is_ok();
    if runtime && !deliveries.started.swap(true, Ordering::SeqCst) {
        dispatch::start(sandbox);
    }
}

/// Waits until nothing is owed; false when the time is over first.
pub(crate) async fn settle(sandbox: &Sandbox, timeout: Duration) -> bool {
    let deliveries = sandbox.deliveries();
    let mut changes = deliveries.changes.subscribe();
    let settled = async {
        loop {
            changes.borrow_and_update();
            let taken = sandbox
                .world()
                .kv_get(CURSOR)
                .and_then(Value::as_u64)
                .unwrap_or_default();
            if taken >= *sandbox.newest_event().borrow() && deliveries.pending() == 0 {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(timeout, settled).await.is_ok()
}

/// How many deliveries of the event with that sequence number are owed over HTTP; one before anybody has looked at it.
pub(crate) fn owed(world: &World, seq: u64) -> usize {
    let taken = world.kv_get(CURSOR).and_then(Value::as_u64);
    if seq > taken.unwrap_or_default() {
        return 1;
    }
    world.kv_scan(&job::prefix_of(seq)).len()
}

/// Whether the default receiver gets webhooks from here.
pub(crate) fn is_enabled(sandbox: &Sandbox) -> bool {
    sandbox.world().kv_get(SWITCHED_OFF).is_none()
}

/// Switches deliveries to the default receiver on or off. Switching off forgets what still waits for it: somebody else
/// delivers now.
pub(crate) fn set_enabled(sandbox: &Sandbox, enabled: bool) {
    let mut world = sandbox.world();
    if enabled {
        world.kv_delete(SWITCHED_OFF);
    } else {
        world.kv_put(SWITCHED_OFF, json!(true));
        let mut state = sandbox.deliveries().state();
        let (forgotten, kept) = state
            .waiting
            .drain(..)
            .partition(|waiting| waiting.job.target == DEFAULT_TARGET);
        state.waiting = kept;
        let forgotten: Vec<Waiting> = forgotten;
        for waiting in forgotten {
            world.kv_delete(&waiting.job.key());
        }
    }
    sandbox.deliveries().changed();
}

/// Delivers an event again to those of its receivers whose id is wanted; says to how many, or `None` without such an
/// event.
pub(crate) fn deliver_again(
    sandbox: &Sandbox,
    event_id: &str,
    wanted: impl Fn(&str) -> bool,
) -> Option<usize> {
    let mut world = sandbox.world();
    let event = world.event(event_id)?.clone();
    let targets = receivers(sandbox, &world, event.text("type"));
    let targets: Vec<String> = targets.into_iter().filter(|id| wanted(id)).collect();
    let deliveries = sandbox.deliveries();
    for target in &targets {
        // The number of an event is not looked up: a job that was asked for sorts before those that wait.
        let job = Job::new(&event, 0, target, world.now());
        let copy = fastrand::u64(2..);
        let job = Job { copy, ..job };
        keep(&mut world, &job);
        deliveries.push(job, Duration::ZERO);
    }
    deliveries.wake.notify_one();
    Some(targets.len())
}

/// Turns events that happened since the last time into jobs.
fn take_events(sandbox: &Sandbox) {
    let mut world = sandbox.world();
    let cursor = world
        .kv_get(CURSOR)
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let events = world.events_after(cursor);
    let Some((newest, _)) = events.last() else {
        return;
    };
    let newest = *newest;
    if sandbox.webhook().is_some() {
        sandbox.deliveries().state().default_seen = true;
        if world.kv_get(HAS_DEFAULT).is_none() {
            world.kv_put(HAS_DEFAULT, json!(true));
        }
    }
    for (seq, event) in &events {
        let ordinal_and_chaos = {
            let mut state = sandbox.deliveries().state();
            let ordinal = state.ordinal;
            state.ordinal = ordinal.wrapping_add(1);
            state.chaos.clone().map(|chaos| (ordinal, chaos))
        };
        let plan = ordinal_and_chaos
            .map_or_else(Plan::undisturbed, |(ordinal, chaos)| chaos.plan(ordinal));
        for target in receivers(sandbox, &world, event.text("type")) {
            let job = Job::new(event, *seq, &target, world.now()).planned(&plan);
            enqueue(sandbox, &mut world, job, &plan);
        }
    }
    world.kv_put(CURSOR, json!(newest));
    drop(world);
    sandbox.deliveries().changed();
}

fn enqueue(sandbox: &Sandbox, world: &mut World, job: Job, plan: &Plan) {
    let deliveries = sandbox.deliveries();
    if plan.dropped {
        deliveries.remember(job.attempt_json(
            "",
            &Answer::none("dropped on request"),
            world.now(),
            None,
        ));
        return;
    }
    for (copy, delay) in (0..).zip(&plan.copies) {
        let job = Job {
            copy,
            ..job.clone()
        };
        keep(world, &job);
        deliveries.push(job, Duration::from_millis(*delay));
    }
}

fn keep(world: &mut World, job: &Job) {
    if job.cli_session().is_none()
        && let Ok(value) = serde_json::to_value(job)
    {
        world.kv_put(&job.key(), value);
    }
}
