//! Attempts of a payment: what the card does, the charge that comes of it, and what follows for invoice and session.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::invoices::collection;
use crate::resources::{cards, charges, checkout, payment_methods};
use crate::world::{PayOutcome, World};

/// How an attempt is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempt {
    /// Nobody is there to answer a challenge.
    pub(crate) off_session: bool,
    /// The answer of the challenge.
    pub(crate) authenticated: Option<bool>,
}

/// One attempt, with all that follows for the invoice that the payment is for.
pub(crate) fn pay(
    world: &mut World,
    id: &str,
    method: &str,
    how: Attempt,
) -> Result<PayOutcome, ApiError> {
    let invoice = world
        .require("payment_intent", id, "intent")?
        .text("_invoice")
        .to_owned();
    let outcome = attempt(world, id, method, how);
    if !invoice.is_empty() {
        collection::settle(world, &invoice, &outcome);
    }
    outcome
}

/// One attempt of a payment: books the charge and announces what became of it.
pub(crate) fn attempt(
    world: &mut World,
    id: &str,
    method_id: &str,
    how: Attempt,
) -> Result<PayOutcome, ApiError> {
    let mut intent = world.require("payment_intent", id, "intent")?.clone();
    let method = world
        .require("payment_method", method_id, "payment_method")?
        .clone();
    let card = cards::test_card(method.text("_number"));
    if payment_methods::wants_authentication(&method) {
        match how.authenticated {
            Some(true) => {}
            Some(false) => {
                let error = ApiError::card(
                    "payment_intent_authentication_failure",
                    None,
                    "We are unable to authenticate your payment method. Please choose a different payment method and \
                     try again.",
                );
                return Err(fail(world, intent, &method, error, None));
            }
            None if how.off_session && !intent.is_set("_invoice") => {
                let error =
                    cards::decline("authentication_required", Some("authentication_required"));
                let charge = charges::attempt(world, &intent, &method, Some(&error));
                return Err(fail(world, intent, &method, error, Some(charge)));
            }
            None => {
                require_action(world, intent, method_id);
                return Ok(PayOutcome::RequiresAction);
            }
        }
    }
    if let Some(seconds) = card.settles_after {
        let charge = charges::attempt(world, &intent, &method, None);
        intent.set("latest_charge", charge);
        intent.set("payment_method", method_id);
        intent.set("payment_method_types", json!([method.text("type")]));
        intent.set("status", "processing");
        intent.set("_settles_at", world.now() + seconds);
        world.announce("payment_intent.processing", intent);
        return Ok(PayOutcome::Complete);
    }
    if let Some((code, decline_code)) = card.decline {
        let error = cards::decline(code, decline_code);
        let charge = charges::attempt(world, &intent, &method, Some(&error));
        return Err(fail(world, intent, &method, error, Some(charge)));
    }
    let owner = intent.text("customer").to_owned();
    if intent.is_set("setup_future_usage") && !owner.is_empty() {
        payment_methods::attach(world, method_id, &owner)?;
        payment_methods::set_up(world, method_id);
    }
    let charge = charges::attempt(world, &intent, &method, None);
    if card.disputed {
        world.disputed.push(charge.clone());
    }
    for (name, value) in [
        ("last_payment_error", Value::Null),
        ("next_action", Value::Null),
    ] {
        intent.set(name, value);
    }
    intent.set("amount_received", intent.int("amount"));
    intent.set("latest_charge", charge);
    intent.set("payment_method", method_id);
    intent.set("status", "succeeded");
    world.announce("payment_intent.succeeded", intent);
    Ok(PayOutcome::Complete)
}

/// A debit that was under way is known to have succeeded or failed.
pub(crate) fn settle(world: &mut World, mut intent: Value) -> Result<(), ApiError> {
    let method = world
        .require(
            "payment_method",
            intent.text("payment_method"),
            "payment_method",
        )?
        .clone();
    let failure = cards::test_card(method.text("_number"))
        .decline
        .map(|(code, more)| cards::decline(code, more));
    let charge = intent.text("latest_charge").to_owned();
    charges::settle(world, &charge, failure.as_ref());
    intent.set("_settles_at", Value::Null);
    let (invoice, session) = (
        intent.text("_invoice").to_owned(),
        intent.text("_session").to_owned(),
    );
    let outcome = match failure {
        Some(error) => Err(fail(world, intent, &method, error, Some(charge))),
        None => {
            intent.set("amount_received", intent.int("amount"));
            intent.set("status", "succeeded");
            world.announce("payment_intent.succeeded", intent);
            Ok(PayOutcome::Complete)
        }
    };
    if !invoice.is_empty() {
        collection::settle(world, &invoice, &outcome);
    }
    if !session.is_empty() {
        checkout::settle(world, &session, outcome.is_ok());
    }
    Ok(())
}

/// Whether a debit is under way.
pub(crate) fn is_processing(world: &World, id: &str) -> bool {
    world
        .object(id)
        .is_some_and(|intent| intent.text("status") == "processing")
}

fn require_action(world: &mut World, mut intent: Value, method: &str) {
    intent.set("payment_method", method);
    intent.set("status", "requires_action");
    let url = format!("{}/3ds/{}", world.public_url(), intent.text("id"));
    intent.set(
        "next_action",
        json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": null, "url": url } }),
    );
    world.announce("payment_intent.requires_action", intent);
}

/// Notes a failed attempt and answers Stripe's error with the objects that it names.
fn fail(
    world: &mut World,
    mut intent: Value,
    method: &Value,
    error: ApiError,
    charge: Option<String>,
) -> ApiError {
    let mut last = json!({
        "code": error.code, "message": error.message, "payment_method": public(method), "type": error.kind,
        "doc_url": error.to_json("").at("error/doc_url"),
    });
    if let Some(decline_code) = &error.decline_code {
        last.set("decline_code", &**decline_code);
    }
    if let Some(charge) = &charge {
        last.set("charge", charge.as_str());
        intent.set("latest_charge", charge.as_str());
    }
    intent.set("last_payment_error", last);
    intent.set("next_action", Value::Null);
    intent.set("payment_method", Value::Null);
    intent.set("status", "requires_payment_method");
    world.announce("payment_intent.payment_failed", intent.clone());
    let error = match charge {
        Some(charge) => error.with("charge", json!(charge)),
        None => error,
    };
    error
        .with("payment_intent", public(&intent))
        .with("payment_method", public(method))
}
