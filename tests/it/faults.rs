//! Faults in the connections of a function: its n-th outgoing request is stopped before it leaves, or
//! its reply is lost on the way back.
//!
//! Stopping for ever and dropping the function's future is what SIGKILL does to it: functions keep
//! nothing in memory that matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
}

impl Faulty {
    pub fn new(at: usize, fault: Fault) -> Self {
        let state = State {
            at,
            fault,
            sent: AtomicUsize::new(0),
            ended: Notify::new(),
        };
        Self {
            inner: HttpClient::new().for_sdk(),
            state: Arc::new(state),
        }
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::over(SharedHttpClient::new(self.clone()))
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
            if matches!(state.fault, Fault::EndsAfter | Fault::ReplyLost) {
                // Wait for the whole answer, so that the server has surely done it.
                let answered = inner.call(request).await;
                drop(answered);
            }
            match state.fault {
                Fault::EndsBefore | Fault::EndsAfter => {
                    state.ended.notify_one();
                    std::future::pending().await
                }
                Fault::BreaksBefore | Fault::ReplyLost => {
                    Err(ConnectorError::io("the connection broke".into()))
                }
            }
        })
    }
}
