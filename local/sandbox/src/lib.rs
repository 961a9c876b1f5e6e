//! A stateful stand-in for Stripe's API at version 2026-08-26.dahlia, for tests and for one machine.
//!
//! `World` is the synchronous state machine: objects, events, clock. `api` is its HTTP face in Stripe's shapes,
//! `delivery` sends its events as webhooks, `pages` are the hosted Checkout and Portal. It shares no code with Tollgate,
//! so that a mistake there cannot be repeated by its judge.

// Whole Stripe objects are written as one `json!` each.
#![recursion_limit = "256"]

mod api;
mod calendar;
mod chaos;
mod clock;
mod control;
mod delivery;
mod error;
mod form;
mod journal;
mod json;
mod pages;
mod record;
mod resources;
mod spec;
mod stripe_cli;
mod versions;
mod world;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use axum::Router;
use tokio::sync::watch;

pub use crate::clock::Clock;
pub use crate::error::ApiError;
pub use crate::world::{CardInput, PayOutcome, World};

/// The API version whose shapes the sandbox speaks.
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// Where events are sent, with the secret that signs them.
#[derive(Clone, Debug)]
pub struct WebhookTarget {
    /// The receiver's address.
    pub url: String,
    /// A `whsec_…` signing secret.
    pub secret: String,
}

/// How a sandbox is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// SQLite file that keeps everything; without it the data lives in memory.
    pub data: Option<PathBuf>,
    /// A receiver of webhooks besides the endpoints created through the API.
    pub webhook: Option<WebhookTarget>,
    /// Base of the hosted pages' addresses, e.g. `http://localhost:12111`.
    pub public_url: String,
    /// Directory that receives `requests.jsonl`, `objects.jsonl` and `events.jsonl`.
    pub record: Option<PathBuf>,
}

/// What keeps a sandbox from opening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data file cannot be opened, read or written.
    #[error("the sandbox's data file: {0}")]
    Journal(#[from] rusqlite::Error),
    /// The data file holds something that is not JSON.
    #[error("the sandbox's data file holds malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The directory for recordings cannot be used.
    #[error("the sandbox's recording: {0}")]
    Record(#[from] std::io::Error),
}

/// One running sandbox; clones share everything.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    world: Mutex<World>,
    clock: Clock,
    webhook: RwLock<Option<WebhookTarget>>,
    newest_event: watch::Sender<u64>,
    record: Option<record::Record>,
    deliveries: delivery::Deliveries,
}

impl Sandbox {
    /// Opens the data and continues where it ended.
    ///
    /// # Errors
    /// When the data file or the recording directory cannot be used.
    pub fn open(options: Options) -> Result<Self, Error> {
        let clock = Clock::default();
        let world = World::open(
            options.data.as_deref(),
            clock.clone(),
            options.public_url.trim_end_matches('/').to_owned(),
        )?;
        let (newest_event, _) = watch::channel(world.newest_event());
        let record = options
            .record
            .as_deref()
            .map(record::Record::open)
            .transpose()?;
        Ok(Self {
            inner: Arc::new(Inner {
                world: Mutex::new(world),
                clock,
                webhook: RwLock::new(options.webhook),
                newest_event,
                record,
                deliveries: delivery::Deliveries::default(),
            }),
        })
    }

    /// The whole HTTP surface: API, hosted pages, the Stripe CLI's endpoints and the control routes. Asking for it
    /// inside a Tokio runtime also starts the delivery of webhooks.
    pub fn router(&self) -> Router {
        delivery::spawn(self);
        self.keep_ticking();
        Router::new()
            .merge(api::router())
            .merge(pages::router())
            .merge(stripe_cli::router())
            .merge(control::router())
            .with_state(self.clone())
    }

    /// The clock that the sandbox lives by.
    pub fn clock(&self) -> Clock {
        self.inner.clock.clone()
    }

    /// Exclusive access to the state. What was changed is written to the data file when the guard is dropped, and new
    /// events are announced. Never hold it across an await.
    pub fn world(&self) -> WorldGuard<'_> {
        WorldGuard {
            // A panic in one request must not end the sandbox: its state is only ever replaced object by object.
            guard: self
                .inner
                .world
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            inner: &self.inner,
        }
    }

    /// Lets happen what is due as real time passes, also while nobody asks for anything.
    fn keep_ticking(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let inner = Arc::downgrade(&self.inner);
        runtime.spawn(async move {
            while let Some(inner) = inner.upgrade() {
                Self { inner }.world().tick();
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
    }

    /// Announces the sequence number of the newest event.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.inner.newest_event.subscribe()
    }

    /// The receiver given at the start or by `set_webhook`.
    pub fn webhook(&self) -> Option<WebhookTarget> {
        self.inner
            .webhook
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the receiver; ports are only known after the start.
    pub fn set_webhook(&self, target: Option<WebhookTarget>) {
        *self
            .inner
            .webhook
            .write()
            .unwrap_or_else(PoisonError::into_inner) = target;
    }

    fn deliveries(&self) -> &delivery::Deliveries {
        &self.inner.deliveries
    }

    fn record(&self) -> Option<&record::Record> {
        self.inner.record.as_ref()
    }
}

/// Exclusive access to the `World`; commits when dropped.
pub struct WorldGuard<'a> {
    guard: MutexGuard<'a, World>,
    inner: &'a Inner,
}

impl Deref for WorldGuard<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.guard
    }
}

impl DerefMut for WorldGuard<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.guard
    }
}

impl Drop for WorldGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guard.commit() {
            tracing::error!(%error, "the sandbox could not write its data file");
        }
        let newest = self.guard.newest_event();
        let before = *self.inner.newest_event.borrow();
        if newest == before {
            return;
        }
        if let Some(record) = &self.inner.record {
            for (_, event) in self.guard.events_after(before) {
                record.event(&event);
            }
        }
        self.inner.newest_event.send_replace(newest);
    }
}
