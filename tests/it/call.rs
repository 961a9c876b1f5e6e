//! Functions called as Lambda calls them, with connections of the test's own choice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use local::invocation;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;

use crate::harness::{World, captured};

/// How the ids of these invocations begin; they are as long as Lambda's.
pub const ID_PREFIX: &str = "00000000-0000-0000-0000-";

/// What a function answers: status and body. `None` when it ended before.
pub type Answered = Option<(u16, Value)>;

fn event(path: &str, header: (&str, &str), body: &str) -> Value {
    let headers = [header, ("content-type", "application/json")];
    local::event::http_api(
        &captured(&headers, path, body.as_bytes()),
        &format!("POST {path}"),
    )
}

async fn invoke<H, F>(event: Value, now: Timestamp, handler: H) -> Answered
where
    H: FnOnce(Request) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = format!("{ID_PREFIX}{number:012}");
    let response = invocation::invoke(event, &id, now, handler).await.ok()?;
    let body = serde_json::from_slice(response.body()).unwrap_or_default();
    Some((response.status().as_u16(), body))
}

/// Asks for a Checkout of the starter plan.
pub async fn checkout(world: &World, user: &str, http: HttpClient) -> Answered {
    let state = checkout::State::new(&world.environment(), http).unwrap();
    let authorization = format!("Bearer {}", world.token(user));
    let body = json!({"plan": "starter", "interval": "month"}).to_string();
    let path = "/api/billing/checkout-session";
    let event = event(path, ("authorization", &authorization), &body);
    let now = world.now();
    let handler = move |request| async move { checkout::handle(&state, request, now).await };
    invoke(event, now, handler).await
}

/// Asks that profile function what a user has.
pub async fn profile(world: &World, state: &Arc<profile::State>, user: &str) -> Answered {
    profile_with(world, state, &world.token(user)).await
}

/// The same with that token.
pub async fn profile_with(world: &World, state: &Arc<profile::State>, token: &str) -> Answered {
    let authorization = format!("Bearer {token}");
    let event = event("/api/user/me", ("authorization", &authorization), "");
    let (state, now) = (Arc::clone(state), world.now());
    let handler = move |request| async move { profile::handle(&state, request, now).await };
    invoke(event, now, handler).await
}

/// Delivers an event to a webhook function of its own.
pub async fn webhook(world: &World, stripe_event: &Value, http: HttpClient) -> Answered {
    webhook_in(world, &world.environment(), stripe_event, http).await
}

/// The same with an environment of its own.
pub async fn webhook_in(
    world: &World,
    environment: &Environment,
    stripe_event: &Value,
    http: HttpClient,
) -> Answered {
    let state = webhook::State::new(environment, http).unwrap();
    webhook_by(world, &Arc::new(state), stripe_event).await
}

/// Delivers an event to that webhook function.
pub async fn webhook_by(
    world: &World,
    state: &Arc<webhook::State>,
    stripe_event: &Value,
) -> Answered {
    let state = Arc::clone(state);
    let body = stripe_event.to_string();
    let now = world.now();
    let signature = world.signature(body.as_bytes(), now);
    let event = event(
        "/api/webhooks/stripe",
        ("stripe-signature", &signature),
        &body,
    );
    let handler = move |request| async move { webhook::handle(&state, request, now).await };
    invoke(event, now, handler).await
}
