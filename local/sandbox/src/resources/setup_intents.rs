//! Setup intents: saving a card for later. <https://docs.stripe.com/api/setup_intents>

use serde_json::{Value, json};

use crate::api::alphanumeric;
use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::{Route, cards, copy, customers, lists, metadata, payment_methods};
use crate::world::{PayOutcome, World};

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "setup_intents") => {
            if p.is_set("customer") {
                customers::live(world, p.text("customer"), "customer")?;
            }
            let id = create(world, p);
            if p.flag("confirm") {
                confirm(world, &id, p)
            } else {
                world.require("setup_intent", &id, "intent").cloned()
            }
        }
        ("GET", "setup_intents") => {
            let all = world.list("setup_intent").into_iter();
            let wanted =
                all.filter(|intent| lists::matches(intent, p, &["customer", "payment_method"]));
            lists::page(&wanted.collect::<Vec<_>>(), p, "/v1/setup_intents")
        }
        ("GET", _) => world.require("setup_intent", id, "intent").cloned(),
        ("POST", "setup_intents/{intent}/confirm") => confirm(world, id, p),
        _ => {
            let mut intent = world.require("setup_intent", id, "intent")?.clone();
            intent.set("status", "canceled");
            intent.set("cancellation_reason", p.at("cancellation_reason").clone());
            world.announce("setup_intent.canceled", intent.clone());
            Ok(intent)
        }
    }
}

/// A setup intent that waits for a payment method.
pub(crate) fn create(world: &mut World, p: &Value) -> String {
    let id = world.id("seti_1");
    let mut intent = json!({
        "client_secret": format!("{id}_secret_{}", alphanumeric(25)),
        "id": id, "object": "setup_intent", "allowed_payment_method_types": null, "application": null,
        "automatic_payment_methods": null, "cancellation_reason": null, "created": world.now(), "customer": null,
        "customer_account": null, "description": null, "excluded_payment_method_types": null,
        "flow_directions": null, "last_setup_error": null, "latest_attempt": null, "livemode": false,
        "mandate": null, "metadata": metadata(p), "next_action": null, "on_behalf_of": null,
        "payment_method": null, "payment_method_configuration_details": null,
        "payment_method_options": {
            "card": { "mandate_options": null, "network": null, "request_three_d_secure": "automatic" },
        },
        "payment_method_types": ["card"], "single_use_mandate": null, "status": "requires_payment_method",
        "usage": "off_session",
    });
    copy(
        &mut intent,
        p,
        &["customer", "description", "payment_method", "usage"],
    );
    world.announce("setup_intent.created", intent);
    id
}

fn confirm(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let intent = world.require("setup_intent", id, "intent")?;
    let given = if p.is_set("payment_method") {
        p.text("payment_method")
    } else {
        intent.text("payment_method")
    };
    let given = given.to_owned();
    let method = payment_methods::resolve(world, &given, "payment_method")?;
    save(world, id, &method, None)?;
    world.require("setup_intent", id, "intent").cloned()
}

/// Saves a card: attached to the intent's customer and agreed to by its holder.
pub(crate) fn save(
    world: &mut World,
    id: &str,
    method: &str,
    authenticated: Option<bool>,
) -> Result<PayOutcome, ApiError> {
    let mut intent = world.require("setup_intent", id, "intent")?.clone();
    let card = world
        .require("payment_method", method, "payment_method")?
        .clone();
    let challenged = payment_methods::wants_authentication(&card);
    if challenged && authenticated.is_none() {
        intent.set("payment_method", method);
        intent.set("status", "requires_action");
        let url = format!("{}/3ds/{id}", world.public_url());
        intent.set("next_action", json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": null, "url": url } }));
        world.announce("setup_intent.requires_action", intent);
        return Ok(PayOutcome::RequiresAction);
    }
    let customer = intent.text("customer").to_owned();
    let refused = if challenged && authenticated == Some(false) {
        Some(ApiError::card(
            "setup_intent_authentication_failure",
            None,
            "We are unable to authenticate your payment method. Please choose a different payment method and try \
             again.",
        ))
    } else if customer.is_empty() {
        let behavior = cards::test_card(card.text("_number"));
        behavior
            .decline
            .filter(|_| !behavior.can_be_saved)
            .map(|(code, decline)| cards::decline(code, decline))
    } else {
        payment_methods::attach(world, method, &customer).err()
    };
    if let Some(error) = refused {
        intent.set("status", "requires_payment_method");
        intent.set(
            "last_setup_error",
            json!({ "code": error.code, "message": error.message, "type": error.kind }),
        );
        world.announce("setup_intent.setup_failed", intent.clone());
        return Err(error.with("setup_intent", public(&intent)));
    }
    payment_methods::set_up(world, method);
    intent.set("payment_method", method);
    intent.set("next_action", Value::Null);
    intent.set("status", "succeeded");
    world.announce("setup_intent.succeeded", intent);
    Ok(PayOutcome::Complete)
}
