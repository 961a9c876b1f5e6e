//! A client whose every request passes through a test's hands, which watches, refuses or breaks it.
//!
//! It sits where the network begins: the function's own code and the SDK's are not touched.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use shared::http::HttpClient;

/// What is done with a request, given the connection that it would go over.
type Hands = dyn Fn(HttpRequest, SharedHttpConnector) -> HttpConnectorFuture + Send + Sync;

/// A client that gives its requests to `hands`.
pub fn tapped(
    hands: impl Fn(HttpRequest, SharedHttpConnector) -> HttpConnectorFuture + Send + Sync + 'static,
) -> HttpClient {
    HttpClient::over(SharedHttpClient::new(Tap {
        inner: HttpClient::new().for_sdk(),
        hands: Arc::new(hands),
    }))
}

struct Tap {
    inner: SharedHttpClient,
    hands: Arc<Hands>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

impl SdkHttpClient for Tap {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Tapped {
            inner: self.inner.http_connector(settings, components),
            hands: Arc::clone(&self.hands),
        })
    }
}

struct Tapped {
    inner: SharedHttpConnector,
    hands: Arc<Hands>,
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tapped")
    }
}

impl HttpConnector for Tapped {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        (self.hands)(request, self.inner.clone())
    }
}

/// DynamoDB and Secrets Manager name the operation in this header, behind the service's name.
pub fn target(request: &HttpRequest) -> Option<&str> {
    request.headers().get("x-amz-target")
}
