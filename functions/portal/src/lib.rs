//! `POST /api/billing/portal-session`: opens Stripe's Customer Portal for the caller, where they change
//! the plan, cancel, undo that, replace the card and see invoices.

use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::config::{self, AllowedUrls, Environment};
use shared::http::HttpClient;
use shared::oidc::Authenticator;
use shared::problem::Problem;
use shared::request;
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::store::Store;
use shared::stripe::{Call, Stripe};
use shared::telemetry::{counted, milliseconds_since};
use tokio::time::Instant;

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    authenticator: Authenticator,
    secrets: Secrets,
    store: Store,
    stripe: Stripe,
    urls: AllowedUrls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortalRequest {
    return_url: Option<String>,
}

#[derive(Serialize)]
struct PortalSession {
    url: String,
}

impl State {
    /// Reads the configuration; contacts nobody.
    pub fn new(environment: &Environment, http: HttpClient) -> Result<Self, config::Error> {
        Ok(Self {
            authenticator: Authenticator::new(environment, &http)?,
            secrets: Secrets::new(environment, &http, &[STRIPE_SECRET_KEY])?,
            store: Store::new(environment, &http)?,
            stripe: Stripe::new(environment, &http)?,
            urls: AllowedUrls::from_environment(environment)?,
        })
    }
}

/// Deals with one request.
pub async fn handle(state: &State, request: Request, now: Timestamp) -> Response<Body> {
    let begun = Instant::now();
    let opened = open(state, &request, now).await;
    tracing::info!(
        PortalCreated = counted(opened.is_ok()),
        PortalLatency = milliseconds_since(begun),
        code = opened.as_ref().err().map(Problem::code),
        "portal session asked for"
    );
    match opened {
        Ok(session) => request::ok(&session),
        Err(problem) => problem.into_response(),
    }
}

async fn open(state: &State, request: &Request, now: Timestamp) -> Result<PortalSession, Problem> {
    let caller = state.authenticator.authenticate(request, now).await?;
    let wanted: PortalRequest = request::json(request)?;
    let return_url = match wanted.return_url {
        None => state.urls.default_url("portal=return"),
        Some(url) if state.urls.allows(&url) => url,
        Some(_) => {
            return Err(Problem::invalid(
                "return_url",
                "this address is not on the allowlist (ALLOWED_URLS)",
            ));
        }
    };
    let account = state.store.account(&caller.user_id).await?;
    let customer_id = account.customer_id.ok_or(Problem::NoCustomer)?;
    let call = Call {
        secrets: &state.secrets,
        now,
    };
    match state
        .stripe
        .portal_url(call, &customer_id, &return_url)
        .await
    {
        Ok(url) => Ok(PortalSession { url }),
        // Deleted at Stripe by hand; the next Checkout makes a new one.
        Err(error) if error.is_missing("customer") => Err(Problem::NoCustomer),
        Err(error) => Err(error.into()),
    }
}
