//! `/v1/payment_pages`: how the Stripe CLI's fixtures pay a Checkout Session without a browser.
//!
//! Not part of Stripe's documented API; only as much as `stripe trigger checkout.session.*` needs.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Json;
use serde_json::Value;

use super::{Refusal, authenticate};
use crate::json::{Fields, public};
use crate::{ApiError, CardInput, PayOutcome, Sandbox, form};

pub(super) async fn retrieve(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    authenticate(&headers)?;
    session(&sandbox, &id)
}

pub(super) async fn confirm(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<Json<Value>, Refusal> {
    authenticate(&headers)?;
    let form = form::parse(&body);
    let total = session(&sandbox, &id)?.int("amount_total");
    let expected = form.text("expected_amount");
    if !expected.is_empty() && expected != total.to_string() {
        let message = format!("The expected amount {expected} is not the session's total {total}.");
        return Err(ApiError::invalid(message).param("expected_amount").into());
    }
    let card = CardInput {
        number: card_number(&sandbox, form.text("payment_method")),
        ..CardInput::default()
    };
    let outcome = sandbox.world().pay_checkout(&id, &card)?;
    match outcome {
        PayOutcome::Complete => session(&sandbox, &id),
        PayOutcome::RequiresAction => Err(ApiError::card(
            "authentication_required",
            None,
            "This card asks for 3-D Secure.",
        )
        .into()),
    }
}

/// The number behind a payment method; only the sandbox knows such a thing.
fn card_number(sandbox: &Sandbox, payment_method: &str) -> String {
    let world = sandbox.world();
    let number = world
        .object(payment_method)
        .map(|object| object.text("_number"));
    number
        .filter(|number| !number.is_empty())
        .unwrap_or("4242424242424242")
        .to_owned()
}

fn session(sandbox: &Sandbox, id: &str) -> Result<Json<Value>, Refusal> {
    let session = sandbox
        .world()
        .object(id)
        .filter(|object| object.text("object") == "checkout.session")
        .map(public);
    session
        .map(Json)
        .ok_or_else(|| ApiError::missing("checkout.session", id, "session").into())
}
