//! The HTTP clients for everything that leaves a function: DynamoDB, Secrets Manager, Stripe and the
//! identity provider share connections and TLS configuration.
//!
//! They are the SDK's own client, so that a test or a simulator replaces a single thing to own the whole
//! network. This module knows no service; callers bring their addresses, headers and time limits.

use std::time::Duration;

use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{self, Environment};

/// The longest response that is read; a longer one is an error, whoever sent it.
const RESPONSE_LIMIT_BYTES: usize = 8 << 20;

/// Who signs the certificates of AWS's endpoints.
/// <https://aws.amazon.com/blogs/security/how-to-prepare-for-aws-move-to-its-own-certificate-authority/>
const AMAZON_ROOTS: &[u8] = include_bytes!("http/amazon_roots.pem");

/// The variable by which AWS's own tools are told of other roots, for a private endpoint or a proxy.
const AWS_CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// The clients that all outgoing connections of a function share. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct HttpClient {
    aws: SharedHttpClient,
    others: SharedHttpClient,
}

impl HttpClient {
    /// The system's TLS roots for everybody.
    pub fn new() -> Self {
        Self::over(connections(TlsContext::default()))
    }

    /// For a deployed function: AWS is known by Amazon's five roots or by those of the file that
    /// `AWS_CA_BUNDLE` names. The system's roots, which take milliseconds to read, are read when
    /// somebody else is called first.
    pub fn deployed(environment: &Environment) -> Result<Self, config::Error> {
        let roots = match environment.get(AWS_CA_BUNDLE) {
            None => AMAZON_ROOTS.to_vec(),
            Some(path) => std::fs::read(path)
                .ok()
                .filter(|bundle| is_usable(bundle))
                .ok_or(config::Error::Invalid {
                    name: AWS_CA_BUNDLE,
                    why: "it is the path of a PEM file, and each certificate in it must be readable",
                })?,
        };
        let roots = TrustStore::empty().with_pem_certificate(roots);
        let aws = TlsContext::builder().with_trust_store(roots).build();
        Ok(Self {
            aws: connections(aws.map_err(|_| config::Error::Invalid {
                name: AWS_CA_BUNDLE,
                why: "TLS does not take it",
            })?),
            others: connections(TlsContext::default()),
        })
    }

    /// A client over connections of the caller's own making, as a simulator has them.
    pub fn over(client: SharedHttpClient) -> Self {
        Self {
            aws: client.clone(),
            others: client,
        }
    }

    /// The client in the form that an AWS SDK's configuration takes.
    pub fn for_sdk(&self) -> SharedHttpClient {
        self.aws.clone()
    }

    /// A client for one service that is not AWS's, at `base_url`; each of its calls, connecting
    /// included, ends within `timeout`.
    pub fn endpoint(&self, service: &'static str, base_url: &str, timeout: Duration) -> Endpoint {
        // Without a time limit of their own for connecting, all endpoints share one connector.
        let timeouts = TimeoutConfig::builder().operation_timeout(timeout).build();
        let operation = Operation::builder()
            .service_name(service)
            .operation_name("request")
            .http_client(self.others.clone())
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

/// Connections whose TLS configuration is made when the first of them is.
///
/// The SDK's client would build one more for every `Client::from_conf`, to see whether it can, and drop
/// it again. It keeps one for each set of time limits.
#[derive(Debug)]
struct WhenNeeded(SharedHttpClient);

impl SdkHttpClient for WhenNeeded {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

fn connections(context: TlsContext) -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(provider)
        .tls_context(context);
    SharedHttpClient::new(WhenNeeded(client.build_https()))
}

/// Whether the SDK can use the certificates: it panics at the first one that it cannot.
fn is_usable(bundle: &[u8]) -> bool {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    let count = |certificates: Vec<CertificateDer<'_>>| {
        RootCertStore::empty().add_parsable_certificates(certificates)
    };
    certificates.is_ok_and(|certificates| matches!(count(certificates), (1.., 0)))
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
    /// `Request-Id`, by which Stripe's support finds the request.
    pub request_id: Option<String>,
    /// `Stripe-Rate-Limited-Reason`: which of Stripe's limits was met.
    pub rate_limited_reason: Option<String>,
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
        request_id: header("request-id").map(str::to_owned),
        rate_limited_reason: header("stripe-rate-limited-reason").map(str::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of each certificate. <https://www.amazontrust.com/repository/> has them to be compared.
    const FINGERPRINTS: [&str; 5] = [
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
        "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
        "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
        "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
    ];

    #[test]
    fn amazons_roots_are_the_five_that_it_publishes() {
        let fingerprints: Vec<String> = CertificateDer::pem_slice_iter(AMAZON_ROOTS)
            .map(|root| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root.unwrap()))
            .map(hex::encode)
            .collect();
        assert_eq!(fingerprints, FINGERPRINTS);
        assert!(is_usable(AMAZON_ROOTS));
    }

    #[test]
    fn a_bundle_that_tls_cannot_use_stops_the_start() {
        let text = String::from_utf8(AMAZON_ROOTS.to_vec()).unwrap();
        let broken = text.replacen("MIID", "AAAA", 1);
        for bundle in ["", "no certificate", &broken, &text[..text.len() - 80]] {
            assert!(!is_usable(bundle.as_bytes()), "{bundle}");
        }
        let environment = |path: &str| [(AWS_CA_BUNDLE.to_owned(), path.to_owned())];
        for path in ["/nonexistent", "/dev/null", "/"] {
            let refused = HttpClient::deployed(&environment(path).into_iter().collect());
            assert!(
                matches!(refused, Err(config::Error::Invalid { name, .. }) if name == AWS_CA_BUNDLE),
                "{path}"
            );
        }
        assert!(HttpClient::deployed(&Environment::default()).is_ok());
    }
}
