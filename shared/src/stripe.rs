//! Every call that Tollgate makes to Stripe.
//!
//! This file sends; what is asked for is in `customers` (the ways to pay and manage), `objects` (what
//! Stripe knows) `products` (the catalogue) and `webhook_endpoints`. Requests are built by `async-stripe`'s typed builders; answers are read by our own tolerant views, so
//! that a field we never read cannot break us. What leads to a call, and what follows from its answer,
//! is not decided here. <https://docs.stripe.com/api>

use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stripe_client_core::{RequestBuilder, StripeMethod};

use crate::config::{Environment, Error as ConfigError};
use crate::http::{Endpoint, HttpClient, Response};
use crate::secrets::{Secrets, Unavailable};
use crate::telemetry::counted;

mod customers;
mod events;
mod flights;
mod objects;
mod pace;
mod products;
mod webhook_endpoints;

pub use customers::SessionStatus;
pub use events::UndeliveredEvent;
use flights::Flights;
use pace::Pace;
pub use products::{Price, Product};
pub use webhook_endpoints::WebhookEndpoint;

/// The API version that every call is pinned to: the one whose OpenAPI document judges our requests and
/// the sandbox in CI. <https://docs.stripe.com/api/versioning>
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// Where Stripe is, unless `STRIPE_API_BASE` says otherwise.
const API_BASE: &str = "https://api.stripe.com";

/// The longest that one attempt takes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);

/// How often a call is attempted: connection failures, 409, 429 and 5xx are tried again.
const ATTEMPTS: u32 = 3;

/// How often while Stripe limits our rate: it did nothing and says so.
const ATTEMPTS_WHEN_LIMITED: u32 = 6;

/// The wait before the second attempt; it doubles. `Retry-After` may lengthen it up to the limit.
const BACKOFF: Duration = Duration::from_millis(400);
const BACKOFF_LIMIT: Duration = Duration::from_secs(2);

/// The most entries of a list that Stripe gives at once.
const PAGE_SIZE: i64 = 100;

/// Who is calling, for Stripe's logs.
const USER_AGENT: &str = concat!("Tollgate/", env!("CARGO_PKG_VERSION"));

/// Calls Stripe on behalf of one account.
#[derive(Debug)]
pub struct Stripe {
    endpoint: Endpoint,
    flights: Flights,
    pace: Pace,
}

/// Why Stripe did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or an answer that says to try again later. Whether it was done is unknown; the same
    /// call under the same idempotency key finds out.
    #[error("Stripe did not answer, or asked to try again later: {0}")]
    Unavailable(String),
    /// Stripe failed, and repeats that answer for a day under the same idempotency key.
    #[error("Stripe failed with status {0}")]
    Failed(u16),
    /// Stripe refused, and would again.
    #[error("Stripe refused with status {status}, code {code}, parameter {param}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stripe's error code, or its type where there is none.
        code: String,
        /// The parameter that it is about, or nothing.
        param: String,
    },
    /// An answer that is not of the documented form.
    #[error("Stripe's answer was not understood: {0}")]
    NotUnderstood(String),
    /// Our key could not be had.
    #[error(transparent)]
    Secret(#[from] Unavailable),
}

impl Error {
    /// Whether the idempotency key is spent: another attempt needs another one.
    pub fn spends_key(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Refused { .. } | Self::NotUnderstood(_) => true,
            Self::Unavailable(_) | Self::Secret(_) => false,
        }
    }

    /// Whether the object that the parameter names does not exist at Stripe.
    pub fn is_missing(&self, parameter: &str) -> bool {
        matches!(self, Self::Refused { code, param, .. } if code == "resource_missing" && param == parameter)
    }
}

/// What a call carries beside its request.
#[derive(Clone, Copy)]
pub struct Call<'c> {
    /// Where the key comes from.
    pub secrets: &'c Secrets,
    /// The clock.
    pub now: Timestamp,
}

/// A request as it is sent, also when it is sent again.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'static str,
    /// With its query.
    path: &'a str,
    body: Option<&'a str>,
    idempotency_key: Option<&'a str>,
}

impl Asked<'_> {
    /// For the log. The query stays out: a filter may hold an address.
    fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

#[derive(Deserialize)]
struct WithId {
    id: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    r#type: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

impl Stripe {
    /// A client for Stripe, or for what `STRIPE_API_BASE` names in its place.
    pub fn new(environment: &Environment, http: &HttpClient) -> Result<Self, ConfigError> {
        let base = environment.get("STRIPE_API_BASE").unwrap_or(API_BASE);
        let parsed = url::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none() {
            return Err(ConfigError::Invalid {
                name: "STRIPE_API_BASE",
                why: "it is an http(s) address",
            });
        }
        Ok(Self {
            endpoint: http.endpoint("stripe", base, ATTEMPT_TIMEOUT),
            flights: Flights::default(),
            pace: Pace::default(),
        })
    }

    async fn send<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        request: RequestBuilder,
        idempotency_key: Option<&str>,
    ) -> Result<T, Error> {
        let (method, path, body) = parts(request);
        let asked = Asked {
            method,
            path: &path,
            body: body.as_deref(),
            idempotency_key,
        };
        let mut response = self.attempt_until_answered(call, asked).await?;
        // The key may have been rolled since it was read.
        if response.status == 401 && call.secrets.doubt(call.now).await {
            response = self.attempt_until_answered(call, asked).await?;
        }
        if (200..300).contains(&response.status) {
            return serde_json::from_slice(&response.body)
                .map_err(|error| Error::NotUnderstood(error.to_string()));
        }
        let refused = match serde_json::from_slice::<ErrorBody>(&response.body) {
            Ok(ErrorBody { error }) => Error::Refused {
                status: response.status,
                code: error.code.or(error.r#type).unwrap_or_default(),
                param: error.param.unwrap_or_default(),
            },
            Err(error) => Error::NotUnderstood(error.to_string()),
        };
        // Most refusals are answers that we expect: something does not exist, or is done already.
        let is_ours = matches!(response.status, 401 | 403);
        tracing::info!(
            StripeErrors = counted(is_ours),
            stripe.request = asked.shown(),
            stripe.request_id = response.request_id,
            error = %refused,
            "Stripe refused a call"
        );
        Err(refused)
    }

    async fn attempt_until_answered(
        &self,
        call: Call<'_>,
        asked: Asked<'_>,
    ) -> Result<Response, Error> {
        let key = call.secrets.stripe_secret_key(call.now).await?;
        let authorization = format!("Bearer {}", key.expose_secret());
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("stripe-version", API_VERSION),
            ("user-agent", USER_AGENT),
        ];
        if asked.body.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        if let Some(key) = asked.idempotency_key {
            headers.push(("idempotency-key", key));
        }
        let mut last = Error::Unavailable("not attempted".to_owned());
        let mut attempts = ATTEMPTS;
        let mut attempt = 0;
        while attempt < attempts {
            let turn = self.pace.turn().await;
            let body = asked.body.map(str::to_owned);
            let sent = self
                .endpoint
                .send(asked.method, asked.path, &headers, body)
                .await;
            drop(turn);
            let mut wait = backoff(asked.path, attempt);
            match sent {
                Ok(response) if !is_worth_another(&response) => return Ok(response),
                Ok(response) => {
                    last = match response.status {
                        status @ 500.. => Error::Failed(status),
                        status => Error::Unavailable(format!("status {status}")),
                    };
                    let seconds = response.retry_after_seconds.unwrap_or_default();
                    wait = wait.max(Duration::from_secs(seconds)).min(BACKOFF_LIMIT);
                    let is_limited = response.status == 429;
                    if is_limited {
                        attempts = ATTEMPTS_WHEN_LIMITED;
                        self.pace.slow_down(wait);
                    }
                    tracing::warn!(
                        StripeThrottled = counted(is_limited),
                        StripeErrors = counted(!is_limited),
                        stripe.request = asked.shown(),
                        stripe.request_id = response.request_id,
                        status = response.status,
                        reason = response.rate_limited_reason,
                        "Stripe did not do what was asked"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        StripeErrors = 1_u64,
                        stripe.request = asked.shown(),
                        %error,
                        "Stripe did not answer"
                    );
                    last = Error::Unavailable(error.to_string());
                }
            }
            attempt += 1;
            if attempt < attempts {
                tokio::time::sleep(wait).await;
            }
        }
        Err(last)
    }
}

/// Doubling, and spread by what is asked for, so that callers who were refused together do not return
/// together.
fn backoff(path: &str, attempt: u32) -> Duration {
    let spread = digest::digest(&digest::SHA256, format!("{path}#{attempt}").as_bytes());
    let share = spread.as_ref().first().copied().map_or(0, u32::from);
    let doubled = BACKOFF * 2_u32.saturating_pow(attempt);
    doubled / 2 + doubled * share / 256
}

/// Stripe says so itself, or the status does. <https://docs.stripe.com/error-low-level>
fn is_worth_another(response: &Response) -> bool {
    let by_status = matches!(response.status, 409 | 429 | 500..=599);
    let failed = !(200..300).contains(&response.status);
    failed && response.should_retry.unwrap_or(by_status)
}

/// Method, path with query, and body. The builders write maps in a random order; sorted, a repeat under
/// the same idempotency key is the same body to the letter.
fn parts(request: RequestBuilder) -> (&'static str, String, Option<String>) {
    let method = match request.method {
        StripeMethod::Get => "GET",
        StripeMethod::Post => "POST",
        StripeMethod::Delete => "DELETE",
    };
    let query = request
        .query
        .filter(|query| !query.is_empty())
        .map(|query| format!("?{query}"));
    let path = format!("/v1{}{}", request.path, query.unwrap_or_default());
    let body = request.body.map(|body| {
        let mut pairs: Vec<&str> = body.split('&').collect();
        pairs.sort_unstable();
        pairs.join("&")
    });
    (method, path, body)
}

/// Derived from what is asked for, so that a repeat by anyone, also after a crash, is known to Stripe as
/// the same. <https://docs.stripe.com/api/idempotent_requests>
fn idempotency_key(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    format!("tollgate-{}", hex::encode(context.finish()))
}

fn currency(code: &str) -> stripe_types::Currency {
    // Parsing cannot fail: a code that the builders do not list stays as it is.
    code.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests;
