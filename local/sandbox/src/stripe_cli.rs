//! What the real Stripe CLI talks to: `stripe listen` opens a session, then a web socket over which webhooks go out
//! and their answers come back; `stripe trigger` pays Checkout pages through an API of its own.
//!
//! The CLI takes an address on 127.0.0.1, not `localhost`, and a key of at least 12 characters:
//! `stripe listen --api-base http://127.0.0.1:12111 --api-key sk_test_local --forward-to localhost:3000/api/webhooks/stripe`.
//! Learnt from <https://github.com/stripe/stripe-cli> (`pkg/stripeauth`, `pkg/websocket`, `pkg/proxy`).

mod payment_pages;
mod session;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use crate::json::Fields;
use crate::{API_VERSION, ApiError, Sandbox, delivery, form};

/// Given out when no receiver has a secret of its own; one for all sessions, as Stripe keeps it per device.
const SECRET: &str = "whsec_of_the_sandbox_when_no_receiver_has_one";

/// The CLI renews its connection after so many seconds, and misses what happens meanwhile: never, then.
const RECONNECT_SECONDS: u32 = 30 * 24 * 60 * 60;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/v1/stripecli/sessions", post(create_session))
        .route("/stripecli/subscribe/{session}", any(session::subscribe))
        .route("/v1/payment_pages/{id}", get(payment_pages::retrieve))
        .route(
            "/v1/payment_pages/{id}/confirm",
            post(payment_pages::confirm),
        )
        .route("/v1/events/{id}/retry", post(retry))
}

/// The secret that signs what goes to the CLI: that of the receiver that `dev` configures, so that Tollgate accepts
/// events on either way.
pub(crate) fn secret(sandbox: &Sandbox) -> String {
    sandbox
        .webhook()
        .map_or_else(|| SECRET.to_owned(), |webhook| webhook.secret)
}

async fn create_session(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: String,
) -> Result<Json<Value>, Refusal> {
    authenticate(&headers)?;
    let forwards = !form::parse(&body).text("forward_to_url").is_empty();
    let id = session::new_id(forwards);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let base = match host {
        Some(host) => format!("ws://{host}"),
        None => sandbox.world().public_url().replacen("http", "ws", 1),
    };
    Ok(Json(json!({
        "display_connect_filter_warning": false,
        "reconnect_delay": RECONNECT_SECONDS,
        "secret": secret(&sandbox),
        "websocket_authorized_feature": "webhooks",
        "websocket_id": id,
        "websocket_url": format!("{base}/stripecli/subscribe/{id}"),
        "default_version": API_VERSION,
        "latest_version": API_VERSION,
        "device_token": "",
    })))
}

/// `stripe events resend`: to the sessions of the CLI, or to the endpoint that is named.
async fn retry(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<Json<Value>, Refusal> {
    authenticate(&headers)?;
    let missing = || Refusal(Box::new(ApiError::missing("event", &id, "id")));
    let form = form::parse(&body);
    let wanted = |target: &str| match form.text("webhook_endpoint") {
        "" => target.starts_with(delivery::CLI_PREFIX),
        endpoint => target == endpoint,
    };
    delivery::deliver_again(&sandbox, &id, wanted).ok_or_else(missing)?;
    Ok(Json(
        sandbox.world().event(&id).cloned().unwrap_or_default(),
    ))
}

fn authenticate(headers: &HeaderMap) -> Result<(), Refusal> {
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let key = header.strip_prefix("Bearer ").unwrap_or_default();
    if key.starts_with("sk_test_") || key.starts_with("rk_test_") {
        return Ok(());
    }
    Err(Refusal(Box::new(ApiError {
        status: 401,
        ..ApiError::invalid("Invalid API Key provided")
    })))
}

/// A refusal in Stripe's error shape.
pub(crate) struct Refusal(Box<ApiError>);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0.to_json("req_sandbox"))).into_response()
    }
}
