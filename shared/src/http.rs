//! One HTTP client for everything that leaves a function: DynamoDB, Secrets Manager, Stripe and the
//! identity provider share its connections and its TLS roots.
//!
//! It is the SDK's own client, so that a test or a simulator replaces a single thing to own the whole
//! network. It knows no service; callers bring their addresses, headers and time limits.

use std::time::Duration;

use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;

/// The longest response that is read; a longer one is an error, whoever sent it.
const RESPONSE_LIMIT_BYTES: usize = 8 << 20;

/// The client that all outgoing connections of a function share. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct HttpClient(SharedHttpClient);

impl HttpClient {
    /// A client with the system's TLS roots.
    pub fn new() -> Self {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Self(Builder::new().tls_provider(provider).build_https())
    }

    /// A client over connections of the caller's own making, as a simulator has them.
    pub fn over(client: SharedHttpClient) -> Self {
        Self(client)
    }

    /// The client in the form that an AWS SDK's configuration takes.
    pub fn for_sdk(&self) -> SharedHttpClient {
        self.0.clone()
    }

    /// A client for one service at `base_url`, each of whose calls ends within `timeout`.
    pub fn endpoint(&self, service: &'static str, base_url: &str, timeout: Duration) -> Endpoint {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(timeout)
            .connect_timeout(timeout)
            .build();
        let operation = Operation::builder()
            .service_name(service)
            .operation_name("request")
            .http_client(self.0.clone())
            .endpoint_url(base_url.trim_end_matches('/'))
            .no_auth()
            .no_retry()
            .timeout_config(timeouts)
            .serializer(|request: HttpRequest| Ok(request))
            .deserializer(read_response)
            .build();
        Endpoint(operation)
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// One service at one address, called over the shared client.
#[derive(Clone, Debug)]
pub struct Endpoint(Operation<HttpRequest, Response, Error>);

/// A response that arrived whole, whatever its status.
#[derive(Debug)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// Body as received.
    pub body: Vec<u8>,
    /// `Retry-After` in whole seconds, where the server sent one.
    pub retry_after_seconds: Option<u64>,
    /// `Stripe-Should-Retry` or nothing.
    pub should_retry: Option<bool>,
}

/// Why no response arrived. What the server did with the request is unknown in either case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The time limit passed.
    #[error("no answer within the time limit")]
    Timeout,
    /// The connection could not be made, broke, or carried something that is not HTTP.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The request could not be built; nothing was sent.
    #[error("the request could not be built: {0}")]
    Request(String),
    /// The response was longer than `RESPONSE_LIMIT_BYTES`.
    #[error("the response is too long")]
    TooLong,
}

impl Endpoint {
    /// Sends one request; `path` starts with a slash and may carry a query.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<String>,
    ) -> Result<Response, Error> {
        let mut request = HttpRequest::new(body.map_or_else(SdkBody::empty, SdkBody::from));
        let build = |error: &dyn std::fmt::Display| Error::Request(error.to_string());
        request.set_method(method).map_err(|e| build(&e))?;
        request.set_uri(path).map_err(|e| build(&e))?;
        for (name, value) in headers {
            request
                .headers_mut()
                .try_insert(*name, (*value).to_owned())
                .map_err(|e| build(&e))?;
        }
        self.0.invoke(request).await.map_err(from_sdk_error)
    }
}

fn read_response(response: &HttpResponse) -> Result<Response, OrchestratorError<Error>> {
    let body = response.body().bytes().unwrap_or_default();
    if body.len() > RESPONSE_LIMIT_BYTES {
        return Err(OrchestratorError::operation(Error::TooLong));
    }
    let header = |name: &str| response.headers().get(name);
    Ok(Response {
        status: response.status().as_u16(),
        body: body.to_vec(),
        retry_after_seconds: header("retry-after").and_then(|seconds| seconds.parse().ok()),
        should_retry: header("stripe-should-retry").and_then(|answer| answer.parse().ok()),
    })
}

fn from_sdk_error(error: SdkError<Error, HttpResponse>) -> Error {
    match error {
        SdkError::TimeoutError(_) => Error::Timeout,
        SdkError::ServiceError(service) => service.into_err(),
        SdkError::ConstructionFailure(_) => Error::Request("refused by the HTTP client".to_owned()),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Error::Timeout,
        SdkError::DispatchFailure(failure) => Error::Connection(
            failure
                .as_connector_error()
                .map_or_else(|| "dispatch failed".to_owned(), ToString::to_string),
        ),
        other @ (SdkError::ResponseError(_) | _) => Error::Connection(other.to_string()),
    }
}
