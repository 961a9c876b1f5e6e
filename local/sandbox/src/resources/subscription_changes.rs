//! Changes of a subscription: another price, a set end, a pause, a resumption.
//!
//! <https://docs.stripe.com/billing/subscriptions/change>

mod items;

use serde_json::{Value, json};

use self::items::Change;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{copy, cycle, merge_metadata, prorations, subscriptions};
use crate::spec::missing;
use crate::world::World;

pub(crate) fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut subscription = world.require("subscription", id, "id")?.clone();
    if matches!(
        subscription.text("status"),
        "canceled" | "incomplete_expired"
    ) {
        return Err(ApiError::invalid(
            "A canceled subscription can only update its cancellation_details and metadata.",
        ));
    }
    if p.is_set("default_payment_method") {
        let method = p.text("default_payment_method");
        let owner = world
            .require("payment_method", method, "default_payment_method")?
            .text("customer");
        if owner != subscription.text("customer") {
            return Err(ApiError::invalid(format!(
                "The customer does not have a payment method with the ID {method}. The payment method must be attached \
                 to the customer."
            ))
            .code("resource_missing")
            .param("default_payment_method"));
        }
    }
    copy(
        &mut subscription,
        p,
        &[
            "default_payment_method",
            "description",
            "collection_method",
            "days_until_due",
        ],
    );
    copy(&mut subscription, p, &["trial_settings"]);
    merge_metadata(&mut subscription, p);
    pause(&mut subscription, p);
    for name in ["comment", "feedback"] {
        if let Some(value) = p.at("cancellation_details").get(name) {
            subscription.set(&format!("cancellation_details/{name}"), value.clone());
        }
    }
    if let Some(save) = p.at("payment_settings").get("save_default_payment_method") {
        subscription.set("payment_settings/save_default_payment_method", save.clone());
    }
    set_end(world, &mut subscription, p)?;
    let change = Change::read(world, &subscription, p)?;
    let ends_trial = move_trial(world, &mut subscription, p)?;
    match change {
        Some(change) => change.carry_out(world, subscription, p)?,
        None => {
            world.update("customer.subscription.updated", subscription);
        }
    }
    if ends_trial {
        cycle::end_trial(world, id)?;
    }
    world.require("subscription", id, "id").cloned()
}

fn pause(subscription: &mut Value, p: &Value) {
    match p.get("pause_collection") {
        None => {}
        Some(Value::Null) => subscription.set("pause_collection", Value::Null),
        Some(given) => subscription.set(
            "pause_collection",
            json!({ "behavior": given.text("behavior"), "resumes_at": given.at("resumes_at") }),
        ),
    }
}

/// Moves the end of a trial; says whether it ends now.
fn move_trial(world: &World, subscription: &mut Value, p: &Value) -> Result<bool, ApiError> {
    let Some(given) = p.get("trial_end") else {
        return Ok(false);
    };
    if given.as_str() == Some("now") {
        return Ok(subscription.text("status") == "trialing");
    }
    let Some(end) = subscriptions::trial_end(world, p, &Value::Null)? else {
        return Ok(false);
    };
    if !subscription.is_set("trial_start") {
        subscription.set("trial_start", world.now());
    }
    for (name, value) in [
        ("trial_end", json!(end)),
        ("billing_cycle_anchor", json!(end)),
        ("status", json!("trialing")),
    ] {
        subscription.set(name, value);
    }
    subscription.set("_trial_notice", false);
    set_period(subscription, None, end);
    Ok(false)
}

/// Gives all items the same period.
pub(crate) fn set_period(subscription: &mut Value, start: Option<i64>, end: i64) {
    for index in 0..subscription.items("items/data").len() {
        if let Some(start) = start {
            subscription.set(&format!("items/data/{index}/current_period_start"), start);
        }
        subscription.set(&format!("items/data/{index}/current_period_end"), end);
    }
}

/// Applies `cancel_at_period_end` and `cancel_at`.
fn set_end(world: &World, subscription: &mut Value, p: &Value) -> Result<(), ApiError> {
    if p.is_set("cancel_at_period_end") && p.is_set("cancel_at") {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.",
        ));
    }
    let end = subscription.int("items/data/0/current_period_end");
    let (at, at_period_end) = match (
        p.get("cancel_at_period_end").and_then(Value::as_bool),
        p.get("cancel_at"),
    ) {
        (Some(true), _) => (Some(end), true),
        (Some(false), _) | (None, Some(Value::Null)) => (None, false),
        (None, Some(at)) => match at.as_i64() {
            Some(at) if at <= world.now() => {
                return Err(
                    ApiError::invalid("`cancel_at` must be in the future.").param("cancel_at")
                );
            }
            Some(at) => (Some(at), false),
            None => (Some(end), false),
        },
        (None, None) => return Ok(()),
    };
    subscription.set("cancel_at", json!(at));
    subscription.set("cancel_at_period_end", at_period_end);
    if at.is_some() && !subscription.is_set("canceled_at") {
        subscription.set("canceled_at", world.now());
        subscription.set("cancellation_details/reason", "cancellation_requested");
    } else if at.is_none() {
        subscription.set("canceled_at", Value::Null);
        subscription.set("cancellation_details/reason", Value::Null);
    }
    Ok(())
}

/// The end that a new subscription is created with.
pub(crate) fn schedule_end(world: &mut World, id: &str, p: &Value) -> Result<(), ApiError> {
    let mut subscription = world.require("subscription", id, "id")?.clone();
    set_end(world, &mut subscription, p)?;
    world.put(subscription);
    Ok(())
}

/// Ends a subscription at once; `prorate` gives unused time back, `invoice_now` bills what is pending.
pub(crate) fn cancel_now(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut subscription = world.require("subscription", id, "id")?.clone();
    if matches!(
        subscription.text("status"),
        "canceled" | "incomplete_expired"
    ) {
        return Err(ApiError::missing("subscription", id, "id"));
    }
    for name in ["comment", "feedback"] {
        if let Some(value) = p.at("cancellation_details").get(name) {
            subscription.set(&format!("cancellation_details/{name}"), value.clone());
        }
    }
    if p.flag("prorate") && subscription.text("status") == "active" {
        for item in subscription.items("items/data") {
            prorations::credit_unused(world, &subscription, item);
        }
    }
    if p.flag("invoice_now") {
        prorations::bill(world, &subscription, false)?;
    }
    let latest = world
        .require("subscription", id, "id")?
        .at("latest_invoice")
        .clone();
    subscription.set("latest_invoice", latest);
    world.put(subscription);
    world.cancel_subscription(id, Some("cancellation_requested"));
    world.require("subscription", id, "id").cloned()
}

/// Takes a paused subscription up again.
pub(crate) fn resume(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let subscription = world.require("subscription", id, "subscription")?;
    if subscription.text("status") != "paused" {
        return Err(ApiError::invalid(
            "You can only resume a subscription if it is in the `paused` status.",
        ));
    }
    cycle::resume(world, id)?;
    world.require("subscription", id, "subscription").cloned()
}

/// Carries out a change that waited for this invoice.
pub(crate) fn apply_pending(world: &mut World, subscription: &mut Value, invoice: &Value) {
    if !subscription.is_set("pending_update")
        || subscription.text("latest_invoice") != invoice.text("id")
    {
        return;
    }
    let items = subscription.at("pending_update/subscription_items").clone();
    subscription.set("items/data", items);
    subscription.set("pending_update", Value::Null);
    world.update("customer.subscription.updated", subscription.clone());
    world.emit(
        "customer.subscription.pending_update_applied",
        subscription,
        None,
    );
}

/// The invoice that would come next, as far as it is known.
pub(crate) fn preview(world: &World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("subscription") {
        return Err(missing("subscription"));
    }
    let mut subscription = world
        .require("subscription", p.text("subscription"), "subscription")?
        .clone();
    cycle::roll(&mut subscription);
    Ok(cycle::next_invoice(world, &subscription))
}
