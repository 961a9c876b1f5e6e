//! Subscriptions: <https://docs.stripe.com/billing/subscriptions/overview>.
//!
//! How they begin and what invoices do to them; changes are in `subscription_changes`, time passing in `cycle`.

use serde_json::{Value, json};

use crate::calendar;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoice_lines::{self, Period};
use crate::resources::invoices::{self, Draft};
use crate::resources::payment_intents::Attempt;
use crate::resources::{Route, copy, customers, lists, metadata, payment_methods, prices, setup_intents};
use crate::resources::subscription_changes;
use crate::spec::missing;
use crate::world::World;

pub(crate) fn route(world: &mut World, route: Route, id: &str, p: &Value) -> Result<Value, ApiError> {
    match route {
        ("GET", "subscriptions") => list(world, p),
        ("POST", "subscriptions") => create(world, p),
        ("GET", "subscription_items") => {
            let subscription = world.require("subscription", p.text("subscription"), "subscription")?;
            let items: Vec<&Value> = subscription.items("items/data").iter().collect();
            lists::page(&items, p, "/v1/subscription_items")
        }
        ("GET", "subscription_items/{item}") => {
            let all = world.list("subscription");
            let mut items = all.into_iter().flat_map(|subscription| subscription.items("items/data"));
            items.find(|item| item.text("id") == id).cloned().ok_or_else(|| ApiError::missing("subscription_item", id, "item"))
        }
        ("GET", _) => world.require("subscription", id, "id").cloned(),
        ("DELETE", _) => subscription_changes::cancel_now(world, id, p),
        ("POST", "subscriptions/{subscription}/resume") => subscription_changes::resume(world, id),
        _ => subscription_changes::update(world, id, p),
    }
}

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
    let first_price = draft.items.first().map_or(&Value::Null, |(price, _, _)| price);
    let end = draft.trial_end.unwrap_or_else(|| next_end(first_price, anchor, now));
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
    copy(&mut subscription, draft.params, &["description", "collection_method", "days_until_due"]);
    if draft.params.is_set("trial_settings") {
        subscription.set("trial_settings", draft.params.at("trial_settings").clone());
    }
    if draft.params.flag("automatic_tax/enabled") {
        subscription.set("automatic_tax", json!({
            "disabled_reason": null, "enabled": true, "liability": { "type": "self" },
        }));
    }
    let save = draft.params.text("payment_settings/save_default_payment_method");
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
pub(crate) fn item(world: &World, subscription: &str, price: &Value, quantity: i64, period: Period) -> Value {
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
pub(crate) fn start(world: &mut World, mut subscription: Value, payment: Option<&str>) -> Result<String, ApiError> {
    let id = subscription.text("id").to_owned();
    let customer = subscription.text("customer").to_owned();
    claim_currency(world, &customer, subscription.text("currency"));
    let trial = subscription.text("status") == "trialing";
    let mut lines: Vec<Value> = subscription
        .items("items/data")
        .iter()
        .map(|item| invoice_lines::of_item(world, &subscription, item, trial))
        .collect();
    lines.extend(invoices::pending_lines(world, &customer, Some(&id), subscription.text("currency")));
    let now = world.now();
    let invoice = invoices::build(
        world,
        Draft {
            customer: &customer,
            currency: subscription.text("currency"),
            subscription: Some(&subscription),
            reason: "subscription_create",
            lines,
            period: Period { start: now, end: now },
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
pub(crate) fn check_currency(world: &World, customer: &Value, currency: &str) -> Result<(), ApiError> {
    let live = world.list("subscription").into_iter().any(|subscription| {
        subscription.text("customer") == customer.text("id")
            && subscription.text("currency") != currency
            && !matches!(subscription.text("status"), "canceled" | "incomplete_expired")
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

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return Err(missing("customer"));
    }
    for param in ["discounts", "add_invoice_items"] {
        if p.is_set(param) {
            return Err(ApiError::invalid(format!("The sandbox does not simulate {param}.")).param(param));
        }
    }
    let customer = customers::live(world, p.text("customer"), "customer")?.clone();
    let items = read_items(world, p)?;
    let first = items.first().map_or(&Value::Null, |(price, _, _)| price);
    let currency = if p.is_set("currency") { p.text("currency") } else { first.text("currency") }.to_lowercase();
    check_currency(world, &customer, &currency)?;
    let trial_end = trial_end(world, p, first)?;
    let default = p.text("default_payment_method");
    if !default.is_empty() {
        world.require("payment_method", default, "default_payment_method")?;
    }
    let behavior = p.text("payment_behavior");
    let has_method = !default.is_empty() || customer.is_set("invoice_settings/default_payment_method");
    let charged = p.text("collection_method") != "send_invoice";
    if charged && !has_method && trial_end.is_none() && behavior != "default_incomplete" {
        return Err(ApiError::invalid(
            "This customer has no attached payment source or default payment method. Please consider adding a default \
             payment method. For more information, visit \
             https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
        )
        .code("resource_missing"));
    }
    let draft = Beginning {
        customer: customer.text("id"),
        currency: &currency,
        items,
        trial_end,
        anchor: p.get("billing_cycle_anchor").and_then(Value::as_i64),
        default_payment_method: (!default.is_empty()).then_some(default),
        params: p,
    };
    let mut subscription = build(world, &draft);
    let id = subscription.text("id").to_owned();
    if trial_end.is_some() && !has_method {
        let setup = setup_intents::create(world, &json!({ "customer": customer.text("id") }));
        subscription.set("pending_setup_intent", setup);
    }
    let invoice = start(world, subscription, None)?;
    subscription_changes::schedule_end(world, &id, p)?;
    let open = world.require("invoice", &invoice, "invoice")?.text("status") == "open";
    if !charged {
        activate(world, &id);
    } else if open && behavior != "default_incomplete" {
        let paid = invoices::collect(world, &invoice, None, Attempt { off_session: p.flag("off_session"), authenticated: None }, true);
        if behavior == "error_if_incomplete" {
            paid?;
        }
    }
    world.require("subscription", &id, "id").cloned()
}

fn read_items(world: &mut World, p: &Value) -> Result<Vec<(Value, i64, Value)>, ApiError> {
    let given = p.items("items");
    if given.is_empty() {
        return Err(missing("items"));
    }
    let mut items = Vec::new();
    for (index, line) in given.iter().enumerate() {
        let price = prices::of_line(world, line, &format!("items[{index}]"))?;
        if !price.is_set("recurring") {
            return Err(ApiError::invalid(
                "The price specified is set to `type=one_time` but this field only accepts prices with \
                 `type=recurring`.",
            )
            .param(&format!("items[{index}][price]")));
        }
        let quantity = line.get("quantity").and_then(Value::as_i64).unwrap_or(1);
        items.push((price, quantity, metadata(line)));
    }
    Ok(items)
}

/// When a trial ends that the parameters ask for.
pub(crate) fn trial_end(world: &World, p: &Value, price: &Value) -> Result<Option<i64>, ApiError> {
    let now = world.now();
    if let Some(end) = p.get("trial_end").and_then(Value::as_i64) {
        if end <= now {
            return Err(ApiError::invalid("Invalid timestamp: must be an integer Unix timestamp in the future.").param("trial_end"));
        }
        return Ok(Some(end));
    }
    let days = p.get("trial_period_days").and_then(Value::as_i64);
    let days = days.or_else(|| p.flag("trial_from_plan").then(|| price.int("recurring/trial_period_days")));
    match days {
        Some(days) if days < 0 => Err(ApiError::invalid("Invalid positive integer")
            .code("parameter_invalid_integer")
            .param("trial_period_days")),
        Some(days) if days > 0 => Ok(Some(now + days * 86_400)),
        _ => Ok(None),
    }
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    if p.is_set("customer") {
        world.require("customer", p.text("customer"), "customer")?;
    }
    let status = p.text("status");
    let all = world.list("subscription").into_iter().filter(|subscription| {
        let own = subscription.text("status");
        let shown = match status {
            "all" => true,
            "" => !matches!(own, "canceled" | "incomplete_expired"),
            "ended" => matches!(own, "canceled" | "incomplete_expired"),
            wanted => own == wanted,
        };
        shown
            && lists::matches(subscription, p, &["customer", "collection_method"])
            && lists::within(subscription.int("created"), p.at("created"))
            && lists::within(subscription.int("items/data/0/current_period_end"), p.at("current_period_end"))
            && lists::within(subscription.int("items/data/0/current_period_start"), p.at("current_period_start"))
            && (p.at("price").is_null()
                || subscription.items("items/data").iter().any(|item| item.at("price/id") == p.at("price")))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/subscriptions")
}

/// Makes a subscription active when it was waiting for a payment.
pub(crate) fn activate(world: &mut World, id: &str) {
    let Some(mut subscription) = world.object(id).cloned() else { return };
    if matches!(subscription.text("status"), "incomplete" | "past_due" | "unpaid") {
        subscription.set("status", "active");
        world.update("customer.subscription.updated", subscription);
    }
}

/// An invoice was paid.
pub(crate) fn invoice_paid(world: &mut World, invoice: &Value) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else { return };
    let intent = world.object(invoice.text("_payment_intent")).cloned().unwrap_or_default();
    let method = intent.text("payment_method").to_owned();
    let saves = subscription.text("payment_settings/save_default_payment_method") == "on_subscription";
    if saves && !method.is_empty() && !subscription.is_set("default_payment_method") {
        payment_methods::set_up(world, &method);
        subscription.set("default_payment_method", method);
        world.put(subscription.clone());
    }
    subscription_changes::apply_pending(world, &mut subscription, invoice);
    if subscription.text("latest_invoice") == invoice.text("id") || !has_open_invoice(world, subscription.text("id")) {
        activate(world, subscription.text("id"));
    }
}

/// A debit for an invoice is under way; Stripe trusts it until it fails.
pub(crate) fn payment_under_way(world: &mut World, invoice: &str) {
    let id = world.object(invoice).map_or(String::new(), |invoice| invoice.text("_subscription").to_owned());
    if world.object(&id).is_some_and(|subscription| subscription.text("status") == "incomplete") {
        activate(world, &id);
    }
}

fn has_open_invoice(world: &World, id: &str) -> bool {
    world.list("invoice").iter().any(|invoice| invoice.text("_subscription") == id && invoice.text("status") == "open")
}

/// An invoice could not be collected; `exhausted` when Stripe will not try again.
pub(crate) fn invoice_failed(world: &mut World, invoice: &Value, exhausted: bool) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else { return };
    let id = subscription.text("id").to_owned();
    let waits_for_update = subscription.is_set("pending_update");
    if subscription.text("status") == "active" && !waits_for_update {
        subscription.set("status", "past_due");
        world.update("customer.subscription.updated", subscription.clone());
    }
    if !exhausted {
        return;
    }
    match world.after_retries() {
        "unpaid" => {
            subscription.set("status", "unpaid");
            world.update("customer.subscription.updated", subscription);
        }
        "past_due" => {}
        _ => world.cancel_subscription(&id, Some("payment_failed")),
    }
}

/// The first invoice of a subscription was voided.
pub(crate) fn invoice_voided(world: &mut World, invoice: &Value) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else { return };
    let first = invoice.text("billing_reason") == "subscription_create";
    if first && subscription.text("status") == "incomplete" {
        subscription.set("status", "incomplete_expired");
        subscription.set("ended_at", world.now());
        world.update("customer.subscription.updated", subscription);
    } else if subscription.text("latest_invoice") == invoice.text("id") {
        activate(world, subscription.text("id"));
    }
}

impl World {
    /// What becomes of a subscription after the last retry: `cancel`, `unpaid` or `past_due`.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn set_after_retries(&mut self, outcome: &str) -> Result<(), ApiError> {
        if !matches!(outcome, "cancel" | "unpaid" | "past_due") {
            return Err(ApiError::invalid("Must be one of cancel, unpaid, or past_due.").param("after_retries"));
        }
        self.kv_put("after_retries", json!(outcome));
        Ok(())
    }

    pub(crate) fn after_retries(&self) -> &str {
        self.kv_get("after_retries").and_then(Value::as_str).unwrap_or("cancel")
    }

    /// Ends a subscription now. Its open invoices are no longer collected and its pending items are dropped.
    pub(crate) fn cancel_subscription(&mut self, id: &str, reason: Option<&str>) {
        let Some(mut subscription) = self.object(id).cloned() else { return };
        let now = self.now();
        if !subscription.is_set("canceled_at") {
            subscription.set("canceled_at", now);
        }
        if !subscription.is_set("cancellation_details/reason") {
            subscription.set("cancellation_details/reason", reason.map_or(Value::Null, Value::from));
        }
        subscription.set("ended_at", now);
        subscription.set("status", "canceled");
        self.announce("customer.subscription.deleted", subscription);
        let invoices: Vec<Value> = self
            .list("invoice")
            .into_iter()
            .filter(|invoice| invoice.text("_subscription") == id && matches!(invoice.text("status"), "draft" | "open"))
            .cloned()
            .collect();
        for mut invoice in invoices {
            invoice.set("auto_advance", false);
            invoice.set("automatically_finalizes_at", Value::Null);
            invoice.set("next_payment_attempt", Value::Null);
            self.update("invoice.updated", invoice);
        }
        let pending: Vec<String> = self
            .list("invoiceitem")
            .into_iter()
            .filter(|item| !item.is_set("invoice") && item.text("parent/subscription_details/subscription") == id)
            .map(|item| item.text("id").to_owned())
            .collect();
        for item in pending {
            self.remove(&item);
        }
    }
}

