//! Inputs for the functions, as API Gateway would hand them over.

use jiff::Timestamp;
use lambda_http::{Context, Request, RequestExt, request};
use serde_json::Value;
use shared::config::Environment;
use shared::signature::{SigningSecret, sign};

const PAYMENT_SUCCEEDED: &str =
    include_str!("../../events/stripe/2026-08-26.dahlia/payment_intent.succeeded.json");
const WEBHOOK: &str = include_str!("../../events/webhook.json");
const ME: &str = include_str!("../../events/profile_me.json");

/// A signed event of a new payment. It needs no fetch: a payment's event says all that is read of it.
pub fn payment_succeeded(environment: &Environment, id: &str, now: Timestamp) -> Request {
    let mut event: Value = serde_json::from_str(PAYMENT_SUCCEEDED).unwrap();
    event["id"] = format!("evt_{id}").into();
    event["data"]["object"]["id"] = format!("pi_{id}").into();
    let body = event.to_string();
    let secrets = environment.require_list("STRIPE_WEBHOOK_SECRET").unwrap();
    let secret = SigningSecret::new(&secrets[0]).unwrap();
    let mut input: Value = serde_json::from_str(WEBHOOK).unwrap();
    input["headers"]["stripe-signature"] = sign(body.as_bytes(), &secret, now).into();
    input["body"] = body.into();
    // Writes are told apart by the invocation that made them.
    let mut invocation = Context::default();
    invocation.request_id = id.to_owned();
    let request = request::from_str(&input.to_string()).unwrap();
    request.with_lambda_context(invocation)
}

/// `GET /api/user/me` of the token's user.
pub fn me(token: &str) -> Request {
    let mut input: Value = serde_json::from_str(ME).unwrap();
    input["headers"]["authorization"] = format!("Bearer {token}").into();
    request::from_str(&input.to_string()).unwrap()
}
