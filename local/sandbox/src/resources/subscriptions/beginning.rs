//! How a subscription begins: its shape, its first period and its first invoice.

use serde_json::{Value, json};

use crate::calendar;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoice_lines::{self, Period};
use crate::resources::invoices::{self, Draft};
use crate::resources::{copy, metadata, prices};
use crate::world::World;

/// What a subscription begins with.
pub(crate) struct Beginning<'a> {
    pub(crate) customer: &'a str,
    pub(crate) currency: &'a str,
    /// Price, quantity and metadata of each item.
    pub(crate) items: Vec<(Value, i64, Value)>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) anchor: Option<i64>,
    pub(crate) default_payment_method: Option<&'a str>,
    /// `metadata`, `description`, `trial_settings`, `automatic_tax`, `payment_settings` …
    pub(crate) params: &'a Value,
}

/// A subscription that nobody has seen; `incomplete`, or `trialing`.
pub(crate) fn build(world: &World, draft: &Beginning<'_>) -> Value {
    let now = world.now();
    let id = world.id("sub_1");
    let anchor = draft.trial_end.or(draft.anchor).unwrap_or(now);
    let first_price = draft
        .items
        .first()
        .map_or(&Value::Null, |(price, _, _)| price);
    let end = draft
        .trial_end
        .unwrap_or_else(|| next_end(first_price, anchor, now));
    let items: Vec<Value> = draft
        .items
        .iter()
        .map(|(price, quantity, metadata)| {
            let mut item = item(world, &id, price, *quantity, Period { start: now, end });
            item.set("metadata", metadata.clone());
            item
        })
        .collect();
    let mut subscription = blank(&id, draft, now, anchor);
    subscription.set("items", json!({
        "object": "list", "data": items, "has_more": false, "url": format!("/v1/subscription_items?subscription={id}"),
    }));
    copy(
        &mut subscription,
        draft.params,
        &["description", "collection_method", "days_until_due"],
    );
    if draft.params.is_set("trial_settings") {
        subscription.set("trial_settings", draft.params.at("trial_settings").clone());
    }
    if draft.params.flag("automatic_tax/enabled") {
        subscription.set(
            "automatic_tax",
            json!({
                "disabled_reason": null, "enabled": true, "liability": { "type": "self" },
            }),
        );
    }
    let save = draft
        .params
        .text("payment_settings/save_default_payment_method");
    subscription.set(
        "payment_settings/save_default_payment_method",
        if save.is_empty() { "off" } else { save },
    );
    subscription
}

fn blank(id: &str, draft: &Beginning<'_>, now: i64, anchor: i64) -> Value {
    json!({
        "id": id, "object": "subscription", "application": null, "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "billing_cycle_anchor": anchor, "billing_cycle_anchor_config": null,
        "billing_mode": { "flexible": { "proration_discounts": "included" }, "type": "flexible" },
        "billing_schedules": [], "billing_thresholds": null, "cancel_at": null, "cancel_at_period_end": false,
        "canceled_at": null, "cancellation_details": { "comment": null, "feedback": null, "reason": null },
        "collection_method": "charge_automatically", "created": now, "currency": draft.currency,
        "customer": draft.customer, "customer_account": null, "days_until_due": null,
        "default_payment_method": draft.default_payment_method, "default_source": null, "default_tax_rates": [],
        "description": null, "discounts": [], "ended_at": null,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } }, "items": null,
        "latest_invoice": null, "livemode": false, "metadata": metadata(draft.params),
        "next_pending_invoice_item_invoice": null, "on_behalf_of": null, "pause_collection": null,
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null, "pending_setup_intent": null, "pending_update": null,
        "schedule": null, "start_date": now,
        "status": if draft.trial_end.is_some() { "trialing" } else { "incomplete" }, "test_clock": null,
        "transfer_data": null, "trial_end": draft.trial_end,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
        "trial_start": draft.trial_end.map(|_| now), "_trial_notice": false, "_upcoming": 0,
    })
}

/// One item of a subscription.
pub(crate) fn item(
    world: &World,
    subscription: &str,
    price: &Value,
    quantity: i64,
    period: Period,
) -> Value {
    json!({
        "id": world.id("si_").chars().take(17).collect::<String>(), "object": "subscription_item",
        "billing_thresholds": null, "created": world.now(), "current_period_end": period.end,
        "current_period_start": period.start, "discounts": [], "metadata": {}, "plan": prices::plan(price),
        "price": prices::embedded(price), "quantity": quantity, "subscription": subscription, "tax_rates": [],
    })
}

/// The end of the period that runs at a moment.
pub(crate) fn next_end(price: &Value, anchor: i64, moment: i64) -> i64 {
    let count = price.int("recurring/interval_count").max(1);
    if anchor > moment {
        return anchor;
    }
    calendar::next_boundary(anchor, price.text("recurring/interval"), count, moment)
}

/// Announces a subscription and its first invoice, which is final at once. `payment` is one that was already made.
pub(crate) fn start(
    world: &mut World,
    mut subscription: Value,
    payment: Option<&str>,
) -> Result<String, ApiError> {
    let id = subscription.text("id").to_owned();
    let customer = subscription.text("customer").to_owned();
    claim_currency(world, &customer, subscription.text("currency"));
    let trial = subscription.text("status") == "trialing";
    let mut lines: Vec<Value> = subscription
        .items("items/data")
        .iter()
        .map(|item| invoice_lines::of_item(world, &subscription, item, trial))
        .collect();
    lines.extend(invoices::pending_lines(
        world,
        &customer,
        Some(&id),
        subscription.text("currency"),
    ));
    let now = world.now();
    let invoice = invoices::build(
        world,
        Draft {
            customer: &customer,
            currency: subscription.text("currency"),
            subscription: Some(&subscription),
            reason: "subscription_create",
            lines,
            period: Period {
                start: now,
                end: now,
            },
            finalizes_at: None,
        },
    );
    subscription.set("latest_invoice", invoice.text("id"));
    world.announce("customer.subscription.created", subscription);
    let invoice = invoices::publish(world, invoice);
    invoices::finalize(world, &invoice, payment)?;
    Ok(invoice)
}

fn claim_currency(world: &mut World, customer: &str, currency: &str) {
    if let Some(mut customer) = world.object(customer).cloned()
        && !customer.is_set("currency")
    {
        customer.set("currency", currency);
        world.update("customer.updated", customer);
    }
}

/// A customer with something in one currency cannot buy a subscription in another.
pub(crate) fn check_currency(
    world: &World,
    customer: &Value,
    currency: &str,
) -> Result<(), ApiError> {
    let live = world.list("subscription").into_iter().any(|subscription| {
        subscription.text("customer") == customer.text("id")
            && subscription.text("currency") != currency
            && !matches!(
                subscription.text("status"),
                "canceled" | "incomplete_expired"
            )
    });
    if !live {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "You cannot combine currencies on a single customer. This customer has an active subscription, subscription \
         schedule, discount, quote, or invoice item with currency {}.",
        customer.text("currency")
    )))
}
