//! Payment intents: one payment through all its attempts. <https://docs.stripe.com/api/payment_intents>

pub(crate) mod attempts;

use serde_json::{Value, json};

use crate::api::alphanumeric;
use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::payment_methods;
use crate::resources::{Route, copy, customers, lists, merge_metadata, metadata};
use crate::world::World;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "payment_intents") => create(world, p),
        ("GET", "payment_intents") => {
            let all = world.list("payment_intent").into_iter().filter(|intent| {
                lists::matches(intent, p, &["customer"])
                    && lists::within(intent.int("created"), p.at("created"))
            });
            lists::page(&all.collect::<Vec<_>>(), p, "/v1/payment_intents")
        }
        ("GET", _) => world.require("payment_intent", id, "intent").cloned(),
        ("POST", "payment_intents/{intent}/confirm") => confirm(world, id, p),
        ("POST", "payment_intents/{intent}/cancel") => cancel(
            world,
            id,
            p.get("cancellation_reason").and_then(Value::as_str),
        ),
        _ => update(world, id, p),
    }
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if p.int("amount") < 1 {
        return Err(
            ApiError::invalid("This value must be greater than or equal to 1.")
                .code("parameter_invalid_integer")
                .param("amount"),
        );
    }
    if p.text("capture_method") == "manual" {
        return Err(
            ApiError::invalid("The sandbox does not simulate manual capture.")
                .param("capture_method"),
        );
    }
    if p.is_set("customer") {
        customers::live(world, p.text("customer"), "customer")?;
    }
    let mut intent = blank(world, p.int("amount"), &p.text("currency").to_lowercase());
    copy(
        &mut intent,
        p,
        &[
            "customer",
            "description",
            "receipt_email",
            "setup_future_usage",
            "statement_descriptor",
        ],
    );
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
        copy(
            &mut confirmation,
            p,
            &["off_session", "error_on_requires_action"],
        );
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
    copy(
        &mut intent,
        p,
        &[
            "amount",
            "customer",
            "description",
            "receipt_email",
            "setup_future_usage",
        ],
    );
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
    if !matches!(
        intent.text("status"),
        "requires_payment_method" | "requires_confirmation" | "requires_action"
    ) {
        return Err(unexpected_state(&intent, "confirm"));
    }
    let given = if p.is_set("payment_method") {
        p.text("payment_method")
    } else {
        intent.text("payment_method")
    };
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
    let off_session =
        matches!(p.at("off_session"), Value::String(text) if text != "false" && text != "0");
    let how = attempts::Attempt {
        off_session,
        authenticated: None,
    };
    attempts::pay(world, id, &method, how)?;
    world.require("payment_intent", id, "intent").cloned()
}

/// Ends a payment that was not made.
pub(crate) fn cancel(world: &mut World, id: &str, reason: Option<&str>) -> Result<Value, ApiError> {
    let mut intent = world.require("payment_intent", id, "intent")?.clone();
    if matches!(intent.text("status"), "succeeded" | "canceled") {
        return Err(unexpected_state(&intent, "cancel"));
    }
    intent.set("canceled_at", world.now());
    intent.set(
        "cancellation_reason",
        reason.map_or(Value::Null, Value::from),
    );
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
