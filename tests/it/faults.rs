//! Faults in the connections of a function: its n-th outgoing request is stopped before it leaves, or
//! its reply is lost on the way back.
//!
//! Stopping for ever and dropping the function's future is what SIGKILL does to it: functions keep
//! nothing in memory that matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use shared::http::HttpClient;
use tokio::sync::Notify;

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
pub struct Faulty {
    inner: SharedHttpClient,
    state: Arc<State>,
}

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
        Self {
            inner: HttpClient::new().for_sdk(),
            state: Arc::new(state),
        }
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::over(SharedHttpClient::new(self.clone()))
    }

    /// Waits until the held answer is there, and lets it through when `meanwhile` is done.
    pub async fn hold<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        self.state.ended.notified().await;
        let done = meanwhile.await;
        self.state.let_through.notify_one();
        done
    }

    /// Whether the chosen request was ever sent.
    pub fn was_met(&self) -> bool {
        self.state.sent.load(Ordering::SeqCst) > self.state.at
    }

    /// How many requests were sent.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Runs until `work` is done, or until the process "ends".
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.state.ended.notified() => None,
        }
    }
}

impl SdkHttpClient for Faulty {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector {
            inner,
            state: Arc::clone(&self.state),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    state: Arc<State>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let number = self.state.sent.fetch_add(1, Ordering::SeqCst);
        if number != self.state.at {
            return self.inner.call(request);
        }
        let (inner, state) = (self.inner.clone(), Arc::clone(&self.state));
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection broke".into());
            match state.fault {
                Fault::EndsBefore => {
                    state.ended.notify_one();
                    std::future::pending().await
                }
                Fault::EndsAfter => {
                    drop(inner.call(request).await);
                    state.ended.notify_one();
                    std::future::pending().await
                }
                Fault::BreaksBefore => Err(lost()),
                Fault::ReplyLost => {
                    drop(inner.call(request).await);
                    Err(lost())
                }
                Fault::ReplyHeld => {
                    let answer = inner.call(request).await;
                    state.ended.notify_one();
                    state.let_through.notified().await;
                    answer
                }
            }
        })
    }
}

/// A client for which some requests never arrive while it is switched on.
#[derive(Clone, Debug)]
pub struct Outage {
    inner: SharedHttpClient,
    switch: Arc<Switch>,
}

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
        Self {
            inner: HttpClient::new().for_sdk(),
            switch: Arc::new(switch),
        }
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::over(SharedHttpClient::new(self.clone()))
    }

    pub fn switch(&self, on: bool) {
        self.switch.on.store(on, Ordering::SeqCst);
    }

    pub fn seen(&self) -> usize {
        self.switch.seen.load(Ordering::SeqCst)
    }
}

impl SdkHttpClient for Outage {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Switched {
            inner,
            switch: Arc::clone(&self.switch),
        })
    }
}

#[derive(Debug)]
struct Switched {
    inner: SharedHttpConnector,
    switch: Arc<Switch>,
}

impl HttpConnector for Switched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if !request.uri().contains(&self.switch.of) && !target.contains(&self.switch.of) {
            return self.inner.call(request);
        }
        self.switch.seen.fetch_add(1, Ordering::SeqCst);
        if self.switch.on.load(Ordering::SeqCst) {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("nothing arrives".into())));
        }
        self.inner.call(request)
    }
}
