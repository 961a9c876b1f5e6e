//! An HTTP client that notes which DynamoDB operations were asked for, with their bodies.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use shared::http::HttpClient;

/// Operations and bodies, in the order in which they were sent.
type Asked = Vec<(String, Vec<u8>)>;

#[derive(Clone, Debug)]
pub struct Recorder {
    inner: SharedHttpClient,
    asked: Arc<Mutex<Asked>>,
}

impl Recorder {
    #[expect(
        clippy::new_without_default,
        reason = "making one begins a group of connections"
    )]
    pub fn new() -> Self {
        Self {
            inner: HttpClient::new().for_sdk(),
            asked: Arc::default(),
        }
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::over(SharedHttpClient::new(self.clone()))
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Asked {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SdkHttpClient for Recorder {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            inner: self.inner.http_connector(settings, components),
            asked: Arc::clone(&self.asked),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    asked: Arc<Mutex<Asked>>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.rsplit('.').next());
        if let Some(operation) = operation {
            let body = request.body().bytes().unwrap_or_default().to_vec();
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((operation.to_owned(), body));
        }
        self.inner.call(request)
    }
}
