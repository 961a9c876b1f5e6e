//! `GET /api/user/me` and `GET /api/billing/plans`: what the caller has and may use, and what is for sale.
//!
//! Read-only; never asks Stripe.

use jiff::Timestamp;
use lambda_http::{Body, Request, RequestExt, Response};
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::oidc::Authenticator;
use shared::problem::Problem;
use shared::request;
use shared::store::Store;
use shared::telemetry::milliseconds_since;
use tokio::time::Instant;

mod me;
mod plans;

pub use me::Me;
pub use plans::Plans;

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    authenticator: Authenticator,
    store: Store,
}

impl State {
    /// Reads the configuration; contacts nobody.
    pub fn new(environment: &Environment, http: HttpClient) -> Result<Self, config::Error> {
        Ok(Self {
            authenticator: Authenticator::new(environment, &http)?,
            store: Store::new(environment, &http)?,
        })
    }
}

/// Deals with one request. A stage name before the path is API Gateway's and does not matter.
pub async fn handle(state: &State, request: Request, now: Timestamp) -> Response<Body> {
    let begun = Instant::now();
    let path = request.raw_http_path();
    let answered = if path.ends_with("/api/user/me") {
        me(state, &request, now).await.map(|me| request::ok(&me))
    } else if path.ends_with("/api/billing/plans") {
        plans(state, now).await.map(|plans| request::ok(&plans))
    } else {
        Err(Problem::NotFound)
    };
    tracing::info!(
        ProfileLatency = milliseconds_since(begun),
        code = answered.as_ref().err().map(Problem::code),
        "profile read"
    );
    answered.unwrap_or_else(Problem::into_response)
}

async fn me(state: &State, request: &Request, now: Timestamp) -> Result<Me, Problem> {
    let caller = state.authenticator.authenticate(request, now).await?;
    let account = state.store.account(&caller.user_id).await?;
    let catalog = state.store.catalog(now).await?;
    Ok(Me::of(&account, &catalog, now))
}

/// What is for sale is no secret: a pricing page needs it before anyone signs in.
async fn plans(state: &State, now: Timestamp) -> Result<Plans, Problem> {
    let catalog = state.store.catalog(now).await?;
    Ok(Plans::of(&catalog))
}
