//! Checkout Sessions: creation, listing, expiry. <https://docs.stripe.com/api/checkout/sessions>
//!
//! What the page's button does is in `checkout::payment`.

mod payment;
mod request;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::subscriptions::beginning;
use crate::resources::{Route, copy, copy_all, lists, merge_metadata, metadata, prices};
use crate::world::World;

const HOUR: i64 = 3600;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    let find = |world: &World| world.require("checkout.session", id, "session").cloned();
    match route {
        ("POST", "checkout/sessions") => create(world, p),
        ("GET", "checkout/sessions") => list(world, p),
        ("GET", "checkout/sessions/{session}") => find(world),
        ("POST", "checkout/sessions/{session}/expire") => {
            let session = find(world)?;
            if session.text("status") != "open" {
                return Err(ApiError::invalid(format!(
                    "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a \
                     status of {}.",
                    session.text("status")
                )));
            }
            expire(world, id)?;
            find(world)
        }
        ("GET", _) => {
            let session = find(world)?;
            let items: Vec<&Value> = session.items("_line_items").iter().collect();
            lists::page(&items, p, &format!("/v1/checkout/sessions/{id}/line_items"))
        }
        _ => {
            let mut session = find(world)?;
            merge_metadata(&mut session, p);
            world.put(session.clone());
            Ok(session)
        }
    }
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    let customer = request::check(world, p)?;
    let currency_wanted = p.text("currency").to_lowercase();
    let mut lines = Vec::new();
    let mut currency = String::new();
    for (index, line) in p.items("line_items").iter().enumerate() {
        let param = format!("line_items[{index}]");
        let price = prices::of_line(world, line, &param)?;
        request::check_price(p, &price, line, &param)?;
        if currency.is_empty() {
            currency = choose_currency(&currency_wanted, &customer, &price, p.text("mode"));
        }
        let unit = prices::amount_in(&price, &currency).ok_or_else(|| {
            ApiError::invalid(format!("The price specified only supports `{}`. This doesn't match the expected currency: `{currency}`.", price.text("currency")))
                .param(&format!("{param}[price]"))
        })?;
        lines.push(line_item(world, &price, line, &currency, unit));
    }
    if p.text("mode") == "subscription" && !customer.is_null() {
        beginning::check_currency(world, &customer, &currency)?;
    }
    if p.text("mode") == "setup" && currency.is_empty() {
        currency = currency_wanted;
    }
    let session = build(world, p, &currency, lines);
    world.put(session.clone());
    Ok(session)
}

/// The currency that was asked for, else the customer's when the price is offered in it, else the price's own.
fn choose_currency(wanted: &str, customer: &Value, price: &Value, mode: &str) -> String {
    let own = customer.text("currency");
    if !wanted.is_empty() {
        wanted.to_owned()
    } else if mode == "subscription" && prices::amount_in(price, own).is_some() {
        own.to_owned()
    } else {
        price.text("currency").to_owned()
    }
}

fn line_item(world: &World, price: &Value, line: &Value, currency: &str, unit: i64) -> Value {
    let quantity = line.int("quantity");
    let amount = unit * quantity;
    json!({
        "id": world.id("li_1"), "object": "item", "adjustable_quantity": null, "amount_discount": 0,
        "amount_subtotal": amount, "amount_tax": 0, "amount_total": amount, "currency": currency,
        "description": world.object(price.text("product")).map(|product| product.text("name")),
        "metadata": metadata(line), "price": prices::embedded(price), "quantity": quantity,
    })
}

fn build(world: &World, p: &Value, currency: &str, lines: Vec<Value>) -> Value {
    let id = world.id("cs_test_a1").chars().take(66).collect::<String>();
    let trial =
        p.is_set("subscription_data/trial_period_days") || p.is_set("subscription_data/trial_end");
    let total: i64 = lines
        .iter()
        .filter(|line| !(trial && line.is_set("price/recurring")))
        .map(|line| line.int("amount_total"))
        .sum();
    let mode = p.text("mode");
    let tax = p.flag("automatic_tax/enabled");
    let mut session = blank(&id, world.now());
    let members = json!({
        "amount_subtotal": total, "amount_total": total,
        "automatic_tax": {
            "enabled": tax, "liability": tax.then(|| json!({ "type": "self" })),
            "provider": tax.then_some("stripe"), "status": tax.then_some("requires_location_inputs"),
        },
        "currency": currency, "expires_at": p.get("expires_at").and_then(Value::as_i64).unwrap_or(world.now() + 24 * HOUR),
        "metadata": metadata(p), "mode": mode,
        "customer_creation": match (mode, p.is_set("customer")) {
            (_, true) => Value::Null,
            ("payment", false) => json!("if_required"),
            _ => json!("always"),
        },
        "payment_method_collection": (mode == "subscription").then_some("always"),
        "payment_status": if total == 0 || mode == "setup" { "no_payment_required" } else { "unpaid" },
        "ui_mode": "hosted_page", "url": format!("{}/c/pay/{id}", world.public_url()),
        "_line_items": lines, "_subscription_data": p.at("subscription_data"),
        "_payment_intent_data": p.at("payment_intent_data"), "_customer_update": p.at("customer_update"),
    });
    copy_all(&mut session, &members);
    copy(
        &mut session,
        p,
        &[
            "allow_promotion_codes",
            "billing_address_collection",
            "cancel_url",
            "client_reference_id",
            "customer",
            "customer_creation",
            "customer_email",
            "locale",
            "payment_method_collection",
            "payment_method_types",
            "submit_type",
            "success_url",
            "ui_mode",
        ],
    );
    for name in ["tax_id_collection", "phone_number_collection"] {
        if let Some(enabled) = p.at(name).get("enabled") {
            session.set(
                &format!("{name}/enabled"),
                matches!(enabled.as_str(), Some("true" | "1")),
            );
        }
    }
    if let Some(customer) = world.object(p.text("customer")) {
        session.set("customer_details", details(customer));
    }
    session
}

/// What Checkout knows about its customer.
fn details(customer: &Value) -> Value {
    json!({
        "address": customer.at("address"), "business_name": null, "email": customer.at("email"),
        "individual_name": null, "name": customer.at("name"), "phone": customer.at("phone"), "tax_exempt": "none",
        "tax_ids": [],
    })
}

fn blank(id: &str, now: i64) -> Value {
    json!({
        "id": id, "object": "checkout.session", "adaptive_pricing": null, "after_expiration": null,
        "allow_promotion_codes": null, "amount_subtotal": null, "amount_total": null, "automatic_tax": null,
        "billing_address_collection": null, "cancel_url": null, "client_reference_id": null, "client_secret": null,
        "collected_information": null, "consent": null, "consent_collection": null, "created": now,
        "currency": null, "currency_conversion": null, "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer": null, "customer_account": null, "customer_creation": null, "customer_details": null,
        "customer_email": null, "discounts": [], "expires_at": now, "integration_identifier": null,
        "invoice": null, "invoice_creation": null, "livemode": false, "locale": null, "metadata": {},
        "mode": "payment", "origin_context": null, "payment_intent": null, "payment_link": null,
        "payment_method_collection": null, "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"], "payment_status": "unpaid", "permissions": null,
        "phone_number_collection": { "enabled": false }, "recovered_from": null,
        "saved_payment_method_options": null, "setup_intent": null, "shipping_address_collection": null,
        "shipping_cost": null, "shipping_options": [], "status": "open", "submit_type": null, "subscription": null,
        "success_url": null, "tax_id_collection": { "enabled": false, "required": "never" },
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted_page", "url": null, "wallet_options": null,
    })
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    let all = world
        .list("checkout.session")
        .into_iter()
        .filter(|session| {
            lists::matches(
                session,
                p,
                &["customer", "status", "subscription", "payment_intent"],
            ) && lists::within(session.int("created"), p.at("created"))
                && (p.at("customer_details/email").is_null()
                    || p.at("customer_details/email") == session.at("customer_details/email"))
        });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/checkout/sessions")
}

/// The debit that a complete session waited for succeeded or failed.
pub(crate) fn settle(world: &mut World, id: &str, paid: bool) {
    let Some(mut session) = world.object(id).cloned() else {
        return;
    };
    if paid {
        session.set("payment_status", "paid");
    }
    let event = if paid {
        "checkout.session.async_payment_succeeded"
    } else {
        "checkout.session.async_payment_failed"
    };
    world.announce(event, session);
}

/// Ends an open session.
pub(crate) fn expire(world: &mut World, id: &str) -> Result<(), ApiError> {
    let mut session = world.require("checkout.session", id, "session")?.clone();
    session.set("status", "expired");
    session.set("url", Value::Null);
    world.announce("checkout.session.expired", session);
    Ok(())
}
