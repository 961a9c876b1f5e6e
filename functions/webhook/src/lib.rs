//! `POST /api/webhooks/stripe`: verifies one event of Stripe's and sees it through.
//! `POST /api/internal/stripe-events`: the same for an event that a trusted edge has verified, which
//! shows `INTERNAL_SECRET` as its bearer token.
//!
//! Answers 2xx only after a durable write. Everything from the load to the commit is `shared::process`;
//! here is only the edge: bytes, signature, envelope, answer.

use std::time::Duration;

use jiff::Timestamp;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use shared::config::{self, Environment};
use shared::event::Envelope;
use shared::http::HttpClient;
use shared::problem::Problem;
use shared::process::{self, Answer, Context, Delivery};
use shared::request;
use shared::secrets::{INTERNAL_SECRET, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, Secrets};
use shared::signature;
use shared::store::Store;
use shared::stripe::Stripe;

/// The longest body that is looked at; Stripe's events are far shorter.
pub const BODY_LIMIT_BYTES: usize = 512 << 10;

/// The longest that a call takes, whatever Stripe, DynamoDB and Secrets Manager do.
const CALL_LIMIT: Duration = Duration::from_millis(7_800);

/// Where a trusted edge delivers what it has verified.
const INTERNAL_PATH: &str = "/api/internal/stripe-events";

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    secrets: Secrets,
    store: Store,
    stripe: Stripe,
    livemode: bool,
}

#[derive(Serialize)]
struct Answered {
    outcome: Answer,
}

impl State {
    /// Reads the configuration; contacts nobody.
    pub fn new(environment: &Environment, http: HttpClient) -> Result<Self, config::Error> {
        Ok(Self {
            secrets: Secrets::new(
                environment,
                &http,
                &[STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, INTERNAL_SECRET],
            )?,
            store: Store::new(environment, &http)?,
            stripe: Stripe::new(environment, &http)?,
            livemode: environment.livemode()?,
        })
    }
}

/// Deals with one request.
pub async fn handle(state: &State, request: Request, now: Timestamp) -> Response<Body> {
    // What is given up here was not answered, so Stripe delivers it again.
    let received = tokio::time::timeout(CALL_LIMIT, receive(state, &request, now)).await;
    match received.unwrap_or(Err(Problem::TryAgain)) {
        Ok(outcome) => request::ok(&Answered { outcome }),
        Err(problem) => {
            if problem == Problem::TryAgain {
                tracing::error!(WebhookFailed = 1_u64, "a delivery could not be kept");
            }
            problem.into_response()
        }
    }
}

async fn receive(state: &State, request: &Request, now: Timestamp) -> Result<Answer, Problem> {
    let body = request::body_bytes(request);
    if body.len() > BODY_LIMIT_BYTES {
        return Err(Problem::TooLarge {
            limit: BODY_LIMIT_BYTES,
        });
    }
    if request.raw_http_path().ends_with(INTERNAL_PATH) {
        authenticate(state, request, now).await?;
    } else {
        verify(state, request, body, now).await?;
    }
    let context = Context {
        store: &state.store,
        stripe: &state.stripe,
        secrets: &state.secrets,
        livemode: state.livemode,
    };
    let invocation = request::invocation_id(request);
    match Envelope::parse(body) {
        Ok(envelope) => {
            let delivery = Delivery {
                envelope: &envelope,
                body,
                invocation: &invocation,
                now,
            };
            Ok(process::process(context, delivery).await?)
        }
        Err(error) => {
            tracing::error!(%error, "an authentic body is not an event and is parked");
            let why = error.to_string();
            Ok(process::park_unreadable(context, body, &why, &invocation, now).await?)
        }
    }
}

/// Refuses what Stripe did not sign. When nothing matches, the secrets are read again once: one of them
/// may have been rolled.
async fn verify(
    state: &State,
    request: &Request,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Problem> {
    let mut headers = request.headers().get_all("stripe-signature").iter();
    let (first, more) = (headers.next(), headers.next());
    let header = first.filter(|_| more.is_none()).map(http_value);
    let mut verified = signature::verify(header, body, &signing_secrets(state, now).await?, now);
    if verified == Err(signature::Error::Mismatch) && state.secrets.doubt(now).await {
        verified = signature::verify(header, body, &signing_secrets(state, now).await?, now);
    }
    verified.map_err(|error| {
        tracing::warn!(SignatureFailed = 1_u64, reason = %error, "webhook refused");
        Problem::InvalidSignature
    })
}

/// Refuses who does not show an internal secret.
async fn authenticate(state: &State, request: &Request, now: Timestamp) -> Result<(), Problem> {
    let shown = request::bearer(request).ok_or(Problem::Unauthenticated)?;
    let mut known = is_internal(state, shown, now).await?;
    if !known && state.secrets.doubt(now).await {
        known = is_internal(state, shown, now).await?;
    }
    if known {
        return Ok(());
    }
    tracing::warn!(
        AccessDenied = 1_u64,
        "an internal delivery showed no valid secret"
    );
    Err(Problem::Unauthenticated)
}

async fn is_internal(state: &State, shown: &str, now: Timestamp) -> Result<bool, Problem> {
    state
        .secrets
        .is_internal(shown, now)
        .await
        .map_err(|error| {
            tracing::error!(%error, "the internal secret cannot be had");
            Problem::TryAgain
        })
}

async fn signing_secrets(
    state: &State,
    now: Timestamp,
) -> Result<Vec<signature::SigningSecret>, Problem> {
    state.secrets.signing_secrets(now).await.map_err(|error| {
        tracing::error!(%error, "the signing secrets cannot be had");
        Problem::TryAgain
    })
}

fn http_value(value: &lambda_http::http::HeaderValue) -> &[u8] {
    value.as_bytes()
}
