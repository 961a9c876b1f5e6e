//! Payment intents: one payment through all its attempts. <https://docs.stripe.com/api/payment_intents>

use serde_json::{Value, json};

use crate::api::alphanumeric;
use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::{Route, cards, charges, checkout, copy, customers, invoices, lists, merge_metadata, metadata};
use crate::resources::payment_methods;
use crate::world::{PayOutcome, World};

pub(crate) fn route(world: &mut World, route: Route, id: &str, p: &Value) -> Result<Value, ApiError> {
    match route {
        ("POST", "payment_intents") => create(world, p),
        ("GET", "payment_intents") => {
            let all = world.list("payment_intent").into_iter().filter(|intent| {
                lists::matches(intent, p, &["customer"]) && lists::within(intent.int("created"), p.at("created"))
            });
            lists::page(&all.collect::<Vec<_>>(), p, "/v1/payment_intents")
        }
        ("GET", _) => world.require("payment_intent", id, "intent").cloned(),
        ("POST", "payment_intents/{intent}/confirm") => confirm(world, id, p),
        ("POST", "payment_intents/{intent}/cancel") => {
            cancel(world, id, p.get("cancellation_reason").and_then(Value::as_str))
        }
        _ => update(world, id, p),
    }
}

/// How an attempt is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempt {
    /// Nobody is there to answer a challenge.
    pub(crate) off_session: bool,
    /// The answer of the challenge.
    pub(crate) authenticated: Option<bool>,
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if p.int("amount") < 1 {
        return Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param("amount"));
    }
    if p.is_set("customer") {
        customers::live(world, p.text("customer"), "customer")?;
    }
    let mut intent = blank(world, p.int("amount"), &p.text("currency").to_lowercase());
    copy(&mut intent, p, &["customer", "description", "receipt_email", "setup_future_usage", "statement_descriptor"]);
    copy(&mut intent, p, &["capture_method", "confirmation_method"]);
    intent.set("metadata", metadata(p));
    if p.is_set("payment_method") {
        let method = payment_methods::resolve(world, p.text("payment_method"), "payment_method")?;
        intent.set("payment_method", method);
        intent.set("status", "requires_confirmation");
    }
    let id = intent.text("id").to_owned();
    world.announce("payment_intent.created", intent);
    if p.flag("confirm") {
        let mut confirmation = Value::Null;
        copy(&mut confirmation, p, &["off_session", "error_on_requires_action"]);
        return confirm(world, &id, &confirmation);
    }
    world.require("payment_intent", &id, "intent").cloned()
}

/// A payment intent that waits for a payment method.
pub(crate) fn blank(world: &World, amount: i64, currency: &str) -> Value {
    let id = world.id("pi_3");
    json!({
        "client_secret": format!("{id}_secret_{}", alphanumeric(25)),
        "id": id, "object": "payment_intent", "allowed_payment_method_types": null, "amount": amount,
        "amount_capturable": 0, "amount_details": { "tip": {} }, "amount_received": 0, "application": null,
        "application_fee_amount": null, "automatic_payment_methods": null, "canceled_at": null,
        "cancellation_reason": null, "capture_method": "automatic", "confirmation_method": "automatic",
        "created": world.now(), "currency": currency, "customer": null, "customer_account": null,
        "description": null, "excluded_payment_method_types": null, "last_payment_error": null,
        "latest_charge": null, "livemode": false, "metadata": {}, "next_action": null, "on_behalf_of": null,
        "payment_method": null, "payment_method_configuration_details": null,
        "payment_method_options": {
            "card": {
                "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic",
            },
        },
        "payment_method_types": ["card"], "processing": null, "receipt_email": null, "review": null,
        "setup_future_usage": null, "shipping": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "requires_payment_method", "transfer_data": null,
        "transfer_group": null,
    })
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut intent = world.require("payment_intent", id, "intent")?.clone();
    copy(&mut intent, p, &["amount", "customer", "description", "receipt_email", "setup_future_usage"]);
    if p.is_set("payment_method") {
        let method = payment_methods::resolve(world, p.text("payment_method"), "payment_method")?;
        intent.set("payment_method", method);
        intent.set("status", "requires_confirmation");
    }
    merge_metadata(&mut intent, p);
    world.put(intent.clone());
    Ok(intent)
}

fn confirm(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let intent = world.require("payment_intent", id, "intent")?.clone();
    if p.is_set("client_secret") && p.text("client_secret") != intent.text("client_secret") {
        return Err(ApiError::missing("payment_intent", id, "intent"));
    }
    if !matches!(intent.text("status"), "requires_payment_method" | "requires_confirmation" | "requires_action") {
        return Err(unexpected_state(&intent, "confirm"));
    }
    let given = if p.is_set("payment_method") { p.text("payment_method") } else { intent.text("payment_method") };
    if given.is_empty() {
        return Err(ApiError::invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the \
             PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a \
             payment method or ConfirmationToken.",
        )
        .code("payment_intent_unexpected_state")
        .with("payment_intent", public(&intent)));
    }
    let given = given.to_owned();
    let method = payment_methods::resolve(world, &given, "payment_method")?;
    let off_session = matches!(p.at("off_session"), Value::String(text) if text != "false" && text != "0");
    let how = Attempt { off_session, authenticated: None };
    pay(world, id, &method, how)?;
    world.require("payment_intent", id, "intent").cloned()
}

/// One attempt, with all that follows for the invoice that the payment is for.
pub(crate) fn pay(world: &mut World, id: &str, method: &str, how: Attempt) -> Result<PayOutcome, ApiError> {
    let invoice = world.require("payment_intent", id, "intent")?.text("_invoice").to_owned();
    let outcome = attempt(world, id, method, how);
    if !invoice.is_empty() {
        invoices::settle(world, &invoice, &outcome);
    }
    outcome
}

/// One attempt of a payment: books the charge and announces what became of it.
pub(crate) fn attempt(world: &mut World, id: &str, method_id: &str, how: Attempt) -> Result<PayOutcome, ApiError> {
    let mut intent = world.require("payment_intent", id, "intent")?.clone();
    let method = world.require("payment_method", method_id, "payment_method")?.clone();
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
                let error = cards::decline("authentication_required", Some("authentication_required"));
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
    for (name, value) in [("last_payment_error", Value::Null), ("next_action", Value::Null)] {
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
    let method = world.require("payment_method", intent.text("payment_method"), "payment_method")?.clone();
    let failure = cards::test_card(method.text("_number")).decline.map(|(code, more)| cards::decline(code, more));
    let charge = intent.text("latest_charge").to_owned();
    charges::settle(world, &charge, failure.as_ref());
    intent.set("_settles_at", Value::Null);
    let (invoice, session) = (intent.text("_invoice").to_owned(), intent.text("_session").to_owned());
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
        invoices::settle(world, &invoice, &outcome);
    }
    if !session.is_empty() {
        checkout::settle(world, &session, outcome.is_ok());
    }
    Ok(())
}

/// Whether a debit is under way.
pub(crate) fn is_processing(world: &World, id: &str) -> bool {
    world.object(id).is_some_and(|intent| intent.text("status") == "processing")
}

fn require_action(world: &mut World, mut intent: Value, method: &str) {
    intent.set("payment_method", method);
    intent.set("status", "requires_action");
    let url = format!("{}/3ds/{}", world.public_url(), intent.text("id"));
    intent.set("next_action", json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": null, "url": url } }));
    world.announce("payment_intent.requires_action", intent);
}

/// Notes a failed attempt and answers Stripe's error with the objects that it names.
fn fail(world: &mut World, mut intent: Value, method: &Value, error: ApiError, charge: Option<String>) -> ApiError {
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
    error.with("payment_intent", public(&intent)).with("payment_method", public(method))
}

/// Ends a payment that was not made.
pub(crate) fn cancel(world: &mut World, id: &str, reason: Option<&str>) -> Result<Value, ApiError> {
    let mut intent = world.require("payment_intent", id, "intent")?.clone();
    if matches!(intent.text("status"), "succeeded" | "canceled") {
        return Err(unexpected_state(&intent, "cancel"));
    }
    intent.set("canceled_at", world.now());
    intent.set("cancellation_reason", reason.map_or(Value::Null, Value::from));
    intent.set("next_action", Value::Null);
    intent.set("status", "canceled");
    world.announce("payment_intent.canceled", intent.clone());
    Ok(intent)
}

fn unexpected_state(intent: &Value, action: &str) -> ApiError {
    ApiError::invalid(format!(
        "You cannot {action} this PaymentIntent because it has a status of {}.",
        intent.text("status")
    ))
    .code("payment_intent_unexpected_state")
    .with("payment_intent", public(intent))
}
