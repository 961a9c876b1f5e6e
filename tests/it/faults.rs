//! Faults in the connections of a function: its n-th outgoing request is stopped before it leaves, or
//! its reply is lost on the way back.
//!
//! Stopping for ever and dropping the function's future is what SIGKILL does to it: functions keep
//! nothing in memory that matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use shared::http::HttpClient;
use tokio::sync::Notify;

use crate::tap::{tapped, target};

/// What happens to the chosen request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The process ends before the request leaves.
    EndsBefore,
    /// The process ends after the request was answered, before it knows.
    EndsAfter,
    /// The connection breaks before the request leaves.
    BreaksBefore,
    /// The request is answered, and the answer is lost.
    ReplyLost,
    /// The request is answered, and the answer arrives only when it is let through.
    ReplyHeld,
}

/// A client whose request number `at` (counted from 0) meets a fault, and which counts all requests.
#[derive(Clone, Debug)]
pub struct Faulty(Arc<State>);

#[derive(Debug)]
struct State {
    at: usize,
    fault: Fault,
    sent: AtomicUsize,
    ended: Notify,
    let_through: Notify,
}

impl Faulty {
    pub fn new(at: usize, fault: Fault) -> Self {
        let state = State {
            at,
            fault,
            sent: AtomicUsize::new(0),
            ended: Notify::new(),
            let_through: Notify::new(),
        };
        Self(Arc::new(state))
    }

    pub fn client(&self) -> HttpClient {
        let state = Arc::clone(&self.0);
        tapped(move |request, inner| Arc::clone(&state).carry(request, inner))
    }

    /// Waits until the held answer is there, and lets it through when `meanwhile` is done.
    pub async fn hold<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        self.0.ended.notified().await;
        let done = meanwhile.await;
        self.0.let_through.notify_one();
        done
    }

    /// Whether the chosen request was ever sent.
    pub fn was_met(&self) -> bool {
        self.0.sent.load(Ordering::SeqCst) > self.0.at
    }

    /// How many requests were sent.
    pub fn sent(&self) -> usize {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Runs until `work` is done, or until the process "ends".
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.0.ended.notified() => None,
        }
    }
}

impl State {
    fn carry(
        self: Arc<Self>,
        request: HttpRequest,
        inner: SharedHttpConnector,
    ) -> HttpConnectorFuture {
        let number = self.sent.fetch_add(1, Ordering::SeqCst);
        if number != self.at {
            return inner.call(request);
        }
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection broke".into());
            match self.fault {
                Fault::EndsBefore => {
                    self.ended.notify_one();
                    std::future::pending().await
                }
                Fault::EndsAfter => {
                    drop(inner.call(request).await);
                    self.ended.notify_one();
                    std::future::pending().await
                }
                Fault::BreaksBefore => Err(lost()),
                Fault::ReplyLost => {
                    drop(inner.call(request).await);
                    Err(lost())
                }
                Fault::ReplyHeld => {
                    let answer = inner.call(request).await;
                    self.ended.notify_one();
                    self.let_through.notified().await;
                    answer
                }
            }
        })
    }
}

/// A client for which some requests never arrive while it is switched on.
#[derive(Clone, Debug)]
pub struct Outage(Arc<Switch>);

#[derive(Debug)]
struct Switch {
    /// What the address or the `x-amz-target` of a request contains that does not arrive.
    of: String,
    on: AtomicBool,
    /// How many requests there were that could meet it.
    seen: AtomicUsize,
}

impl Outage {
    pub fn of(part: &str) -> Self {
        let switch = Switch {
            of: part.to_owned(),
            on: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
        };
        Self(Arc::new(switch))
    }

    pub fn client(&self) -> HttpClient {
        let switch = Arc::clone(&self.0);
        tapped(move |request, inner| {
            let is_met = |text: &str| text.contains(&switch.of);
            if !is_met(request.uri()) && !target(&request).is_some_and(is_met) {
                return inner.call(request);
            }
            switch.seen.fetch_add(1, Ordering::SeqCst);
            if switch.on.load(Ordering::SeqCst) {
                return HttpConnectorFuture::ready(Err(ConnectorError::io(
                    "nothing arrives".into(),
                )));
            }
            inner.call(request)
        })
    }

    pub fn switch(&self, on: bool) {
        self.0.on.store(on, Ordering::SeqCst);
    }

    pub fn seen(&self) -> usize {
        self.0.seen.load(Ordering::SeqCst)
    }
}
