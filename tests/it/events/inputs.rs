//! `events/<function>*.json`: what Lambda gives to each function, made by the gateway's own code.

use jiff::{SignedDuration, Timestamp};
use lambda_http::{Body, Request, Response};
use local::event::{Captured, http_api};
use local::invocation;
use local::other_events::{function_url, rest_api};
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::signature::{SigningSecret, sign};

use super::{SIGNING_SECRET, START, read, write_if_asked};
use crate::harness::World;

/// Where a token belongs; `tollgate token` prints one.
const NO_TOKEN: &str = "Bearer TOKEN";

/// The payload that the webhooks carry, byte for byte.
const PAYLOAD: &str = "stripe/2026-08-26.dahlia/customer.subscription.updated.json";

const WEBHOOK: &str = "/api/webhooks/stripe";

/// Where a trusted edge delivers; it shows the internal secret in place of a user's token.
const INTERNAL: &str = "/api/internal/stripe-events";

fn start() -> Timestamp {
    Timestamp::from_second(START).unwrap()
}

fn captured(method: http::Method, path: &str, headers: &[(&str, &str)], body: &str) -> Captured {
    let headers = headers.iter().chain(&[("host", "localhost:3000")]);
    let headers = headers.map(|(name, value)| {
        (
            http::HeaderName::try_from(*name).unwrap(),
            http::HeaderValue::try_from(*value).unwrap(),
        )
    });
    Captured {
        method,
        path: path.to_owned(),
        query: String::new(),
        headers: headers.collect(),
        body: body.as_bytes().to_vec(),
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 3000,
        received_at: start(),
        request_id: "JKJaXmPLvHcESHA=".to_owned(),
    }
}

fn get(path: &str, headers: &[(&str, &str)]) -> Value {
    let request = captured(http::Method::GET, path, headers, "");
    http_api(&request, &format!("GET {path}"))
}

fn post(path: &str, body: &Value) -> Value {
    let headers = [
        ("authorization", NO_TOKEN),
        ("content-type", "application/json"),
    ];
    let request = captured(http::Method::POST, path, &headers, &body.to_string());
    http_api(&request, &format!("POST {path}"))
}

/// Stripe's request: the payload as it stands in its file, signed at that moment.
fn webhook(secret: &str, at: Timestamp) -> Captured {
    let body = read(PAYLOAD);
    let secret = SigningSecret::new(secret).unwrap();
    let signature = sign(body.as_bytes(), &secret, at);
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("stripe-signature", signature.as_str()),
        (
            "user-agent",
            "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        ),
    ];
    captured(http::Method::POST, WEBHOOK, &headers, &body)
}

/// EventBridge's scheduled event.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html>
fn schedule() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": start().to_string(),
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:000000000000:rule/reconcile"],
        "detail": {},
    })
}

/// Every file with what is in it.
fn inputs() -> Vec<(&'static str, Value)> {
    let checkout = "/api/billing/checkout-session";
    let signed = webhook(SIGNING_SECRET, start());
    // The same event again has the same body under a signature of its own.
    let again = webhook(SIGNING_SECRET, start() + SignedDuration::from_mins(1));
    let payload: Value = serde_json::from_str(&read(PAYLOAD)).unwrap();
    let with_token = [("authorization", NO_TOKEN)];
    vec![
        (
            "checkout.json",
            post(checkout, &json!({"plan": "starter", "interval": "month"})),
        ),
        (
            "checkout_pack.json",
            post(checkout, &json!({"pack": "tokens_1000", "quantity": 2})),
        ),
        (
            "portal.json",
            post("/api/billing/portal-session", &json!({})),
        ),
        ("profile_me.json", get("/api/user/me", &with_token)),
        ("profile_plans.json", get("/api/billing/plans", &[])),
        ("reconcile.json", schedule()),
        (
            "webhook.json",
            http_api(&signed, &format!("POST {WEBHOOK}")),
        ),
        ("webhook_base64.json", rest_api(&signed, &["*/*"])),
        (
            "webhook_duplicate.json",
            http_api(&again, &format!("POST {WEBHOOK}")),
        ),
        ("webhook_internal.json", post(INTERNAL, &payload)),
        ("webhook_rest.json", rest_api(&signed, &[])),
        ("webhook_function_url.json", function_url(&signed)),
        (
            "webhook_bad_signature.json",
            http_api(
                &webhook("whsec_of_somebody_else", start()),
                &format!("POST {WEBHOOK}"),
            ),
        ),
    ]
}

pub(super) fn write_or_compare() {
    for (file, input) in inputs() {
        let made = format!("{input:#}\n");
        if !write_if_asked(file, &made) {
            assert_eq!(read(file), made, "{file}: see the head of events.rs");
        }
    }
}

async fn answered<H, F>(event: Value, now: Timestamp, handler: H) -> (u16, Value)
where
    H: FnOnce(Request) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let response = invocation::invoke(event, "input", now, handler)
        .await
        .unwrap();
    let body = serde_json::from_slice(response.body()).unwrap_or_default();
    (response.status().as_u16(), body)
}

/// The input of a file, with a token where one belongs.
fn with_token(file: &str, token: &str) -> Value {
    let mut event: Value = serde_json::from_str(&read(file)).unwrap();
    if event["headers"]["authorization"] == NO_TOKEN {
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    }
    event
}

#[tokio::test]
async fn inputs_with_a_token_are_answered() {
    let world = World::start().await;
    let (environment, http, now) = (world.environment(), HttpClient::new(), world.now());
    let token = world.token("alice");

    for file in ["checkout.json", "checkout_pack.json"] {
        let state = checkout::State::new(&environment, http.clone()).unwrap();
        let handler = move |request| async move { checkout::handle(&state, request, now).await };
        let (status, body) = answered(with_token(file, &token), now, handler).await;
        assert_eq!(status, 200, "{file}: {body}");
        assert!(body["url"].is_string(), "{file}: {body}");
    }
    for (file, member) in [
        ("profile_me.json", "access"),
        ("profile_plans.json", "plans"),
    ] {
        let state = profile::State::new(&environment, http.clone()).unwrap();
        let handler = move |request| async move { profile::handle(&state, request, now).await };
        let (status, body) = answered(with_token(file, &token), now, handler).await;
        assert_eq!(status, 200, "{file}: {body}");
        assert!(!body[member].is_null(), "{file}: {body}");
    }
    let state = portal::State::new(&environment, http.clone()).unwrap();
    let handler = move |request| async move { portal::handle(&state, request, now).await };
    let (status, body) = answered(with_token("portal.json", &token), now, handler).await;
    assert_eq!(status, 200, "portal.json: {body}");

    let state = reconcile::State::new(&environment, http).unwrap();
    let input: Value = serde_json::from_str(&read("reconcile.json")).unwrap();
    let report = reconcile::handle(&state, input["id"].as_str().unwrap(), now).await;
    assert_eq!(report.unwrap(), reconcile::Report::default());
}

#[tokio::test]
async fn webhooks_are_accepted_through_every_door_and_a_bad_signature_is_not() {
    let world = World::start().await;
    let variables = world.stack.environment().iter().cloned();
    let environment: Environment = variables
        .chain([(
            "STRIPE_WEBHOOK_SECRET".to_owned(),
            SIGNING_SECRET.to_owned(),
        )])
        .collect();
    let internal_secret = world.variable("INTERNAL_SECRET");
    for file in [
        "webhook.json",
        "webhook_base64.json",
        "webhook_duplicate.json",
        "webhook_function_url.json",
        "webhook_internal.json",
        "webhook_rest.json",
    ] {
        let state = webhook::State::new(&environment, HttpClient::new()).unwrap();
        let handler = move |request| async move { webhook::handle(&state, request, start()).await };
        let found = answered(with_token(file, &internal_secret), start(), handler).await;
        // Its customer belongs to nobody here: the event is kept until somebody claims them.
        assert_eq!(found, (200, json!({"outcome": "parked"})), "{file}");
    }
    let state = webhook::State::new(&environment, HttpClient::new()).unwrap();
    let handler = move |request| async move { webhook::handle(&state, request, start()).await };
    let (status, problem) = answered(
        with_token("webhook_bad_signature.json", ""),
        start(),
        handler,
    )
    .await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("invalid_signature"))
    );
}
