//! Changes of a subscription: another price with prorations, a set end, a pause, a resumption.
//!
//! <https://docs.stripe.com/billing/subscriptions/prorations>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::invoice_lines::{self, Pending, Period};
use crate::resources::invoices::{self, Draft};
use crate::resources::payment_intents::Attempt;
use crate::resources::{cards, copy, cycle, merge_metadata, prices, subscriptions};
use crate::spec::missing;
use crate::world::World;

/// How long a change waits for its payment.
const PENDING_UPDATE_SECONDS: i64 = 23 * 3600;

pub(crate) fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut subscription = world.require("subscription", id, "id")?.clone();
    if matches!(subscription.text("status"), "canceled" | "incomplete_expired") {
        return Err(ApiError::invalid(
            "A canceled subscription can only update its cancellation_details and metadata.",
        ));
    }
    if p.is_set("default_payment_method") {
        let method = p.text("default_payment_method");
        let owner = world.require("payment_method", method, "default_payment_method")?.text("customer");
        if owner != subscription.text("customer") {
            return Err(ApiError::invalid(format!(
                "The customer does not have a payment method with the ID {method}. The payment method must be attached \
                 to the customer."
            ))
            .code("resource_missing")
            .param("default_payment_method"));
        }
    }
    copy(&mut subscription, p, &["default_payment_method", "description", "collection_method", "days_until_due"]);
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
    let Some(given) = p.get("trial_end") else { return Ok(false) };
    if given.as_str() == Some("now") {
        return Ok(subscription.text("status") == "trialing");
    }
    let Some(end) = subscriptions::trial_end(world, p, &Value::Null)? else { return Ok(false) };
    if !subscription.is_set("trial_start") {
        subscription.set("trial_start", world.now());
    }
    for (name, value) in [("trial_end", json!(end)), ("billing_cycle_anchor", json!(end)), ("status", json!("trialing"))] {
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
        return Err(ApiError::invalid("You may only specify one of these parameters: cancel_at, cancel_at_period_end."));
    }
    let end = subscription.int("items/data/0/current_period_end");
    let (at, at_period_end) = match (p.get("cancel_at_period_end").and_then(Value::as_bool), p.get("cancel_at")) {
        (Some(true), _) => (Some(end), true),
        (Some(false), _) | (None, Some(Value::Null)) => (None, false),
        (None, Some(at)) => match at.as_i64() {
            Some(at) if at <= world.now() => {
                return Err(ApiError::invalid("`cancel_at` must be in the future.").param("cancel_at"));
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
    if matches!(subscription.text("status"), "canceled" | "incomplete_expired") {
        return Err(ApiError::missing("subscription", id, "id"));
    }
    for name in ["comment", "feedback"] {
        if let Some(value) = p.at("cancellation_details").get(name) {
            subscription.set(&format!("cancellation_details/{name}"), value.clone());
        }
    }
    if p.flag("prorate") && subscription.text("status") == "active" {
        for item in subscription.items("items/data") {
            credit_unused(world, &subscription, item);
        }
    }
    if p.flag("invoice_now") {
        invoice_pending(world, &subscription)?;
    }
    let latest = world.require("subscription", id, "id")?.at("latest_invoice").clone();
    subscription.set("latest_invoice", latest);
    world.put(subscription);
    world.cancel_subscription(id, Some("cancellation_requested"));
    world.require("subscription", id, "id").cloned()
}

/// Takes a paused subscription up again.
pub(crate) fn resume(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let subscription = world.require("subscription", id, "subscription")?;
    if subscription.text("status") != "paused" {
        return Err(ApiError::invalid("You can only resume a subscription if it is in the `paused` status."));
    }
    cycle::resume(world, id)?;
    world.require("subscription", id, "subscription").cloned()
}

/// New prices or quantities for a subscription's items.
struct Change {
    /// Each item before, and after when it stays.
    items: Vec<(Option<Value>, Option<Value>)>,
    resets_period: bool,
}

impl Change {
    fn read(world: &mut World, subscription: &Value, p: &Value) -> Result<Option<Self>, ApiError> {
        if !p.is_set("items") {
            return Ok(None);
        }
        let mut items: Vec<(Option<Value>, Option<Value>)> =
            subscription.items("items/data").iter().map(|item| (Some(item.clone()), Some(item.clone()))).collect();
        for (index, line) in p.items("items").iter().enumerate() {
            let param = format!("items[{index}]");
            if !line.is_set("id") {
                let price = prices::of_line(world, line, &param)?;
                let quantity = line.get("quantity").and_then(Value::as_i64).unwrap_or(1);
                let first = subscription.at("items/data/0");
                let period = Period { start: first.int("current_period_start"), end: first.int("current_period_end") };
                let item = subscriptions::item(world, subscription.text("id"), &price, quantity, period);
                items.push((None, Some(item)));
                continue;
            }
            let found = items.iter_mut().find(|(before, _)| before.as_ref().is_some_and(|b| b.at("id") == line.at("id")));
            let Some((_, after)) = found else {
                return Err(ApiError::missing("subscription item", line.text("id"), &format!("{param}[id]")));
            };
            if line.flag("deleted") {
                *after = None;
            } else if let Some(after) = after {
                edit(world, after, line, &param)?;
            }
        }
        if items.iter().all(|(_, after)| after.is_none()) {
            return Err(ApiError::invalid("A subscription must have at least one active plan."));
        }
        let interval = |item: &Option<Value>| {
            item.as_ref().map(|item| (item.text("price/recurring/interval").to_owned(), item.int("price/recurring/interval_count")))
        };
        let before = items.iter().find_map(|(before, _)| interval(before));
        let after = items.iter().find_map(|(_, after)| interval(after));
        let resets_period = p.text("billing_cycle_anchor") == "now" || before != after;
        Ok(Some(Self { items, resets_period }))
    }

    fn carry_out(self, world: &mut World, mut subscription: Value, p: &Value) -> Result<(), ApiError> {
        let behavior = if p.is_set("proration_behavior") { p.text("proration_behavior") } else { "create_prorations" };
        let active = matches!(subscription.text("status"), "active" | "past_due");
        let resets = self.resets_period && active;
        let invoiced = active && (behavior == "always_invoice" || resets);
        let fails = invoiced && would_fail(world, &subscription);
        if fails && p.text("payment_behavior") == "error_if_incomplete" {
            return Err(cards::decline("card_declined", Some("generic_decline")));
        }
        let waits = fails && p.text("payment_behavior") == "pending_if_incomplete";
        let items: Vec<Value> = self.items.iter().filter_map(|(_, after)| after.clone()).collect();
        let before = subscription.clone();
        if waits {
            subscription.set("pending_update", pending_update(world, &items));
        } else {
            subscription.set("items/data", items.clone());
            if resets {
                restart_period(world, &mut subscription);
            }
        }
        if active && behavior != "none" {
            for (old, new) in &self.items {
                prorate(world, &before, old.as_ref(), new.as_ref(), resets);
            }
        }
        world.update("customer.subscription.updated", subscription.clone());
        if invoiced {
            bill(world, &subscription, resets && !waits)?;
        }
        Ok(())
    }
}

fn edit(world: &mut World, item: &mut Value, line: &Value, param: &str) -> Result<(), ApiError> {
    if line.is_set("price") || line.is_set("price_data") {
        let price = prices::of_line(world, line, param)?;
        if !price.is_set("recurring") {
            return Err(ApiError::invalid(
                "The price specified is set to `type=one_time` but this field only accepts prices with \
                 `type=recurring`.",
            )
            .param(&format!("{param}[price]")));
        }
        item.set("price", prices::embedded(&price));
        item.set("plan", prices::plan(&price));
    }
    copy(item, line, &["quantity"]);
    merge_metadata(item, line);
    Ok(())
}

fn pending_update(world: &World, items: &[Value]) -> Value {
    json!({
        "billing_cycle_anchor": null, "discounts": null, "expires_at": world.now() + PENDING_UPDATE_SECONDS,
        "subscription_items": items.iter().map(public).collect::<Vec<_>>(), "trial_end": null, "trial_from_plan": null,
    })
}

/// A period that begins now.
fn restart_period(world: &World, subscription: &mut Value) {
    let now = world.now();
    let price = subscription.at("items/data/0/price").clone();
    subscription.set("billing_cycle_anchor", now);
    set_period(subscription, Some(now), subscriptions::next_end(&price, now, now));
    subscription.set("_upcoming", 0);
}

/// Whether the card on file would refuse a charge now.
fn would_fail(world: &World, subscription: &Value) -> bool {
    let default = world.object(subscription.text("customer")).map(|c| c.text("invoice_settings/default_payment_method"));
    let own = subscription.text("default_payment_method");
    let method = if own.is_empty() { default.unwrap_or_default() } else { own };
    let number = world.object(method).map_or("", |method| method.text("_number"));
    number.is_empty() || cards::test_card(number).decline.is_some()
}

/// Pending items for what an item's change gives back and costs until the period's end.
fn prorate(world: &mut World, subscription: &Value, old: Option<&Value>, new: Option<&Value>, resets: bool) {
    let same = |old: &Value, new: &Value| old.at("price/id") == new.at("price/id") && old.at("quantity") == new.at("quantity");
    if let (Some(old), Some(new)) = (old, new)
        && same(old, new)
        && !resets
    {
        return;
    }
    if let Some(old) = old {
        credit_unused(world, subscription, old);
    }
    // A period that begins anew is charged as a whole, by the invoice itself.
    if let Some(new) = new.filter(|_| !resets) {
        remaining(world, subscription, new, 1, "Remaining time on");
    }
}

fn credit_unused(world: &mut World, subscription: &Value, item: &Value) {
    remaining(world, subscription, item, -1, "Unused time on");
}

fn remaining(world: &mut World, subscription: &Value, item: &Value, sign: i64, words: &str) {
    let now = world.now();
    let (start, end) = (item.int("current_period_start"), item.int("current_period_end"));
    let price = world.object(item.text("price/id")).cloned().unwrap_or_else(|| item.at("price").clone());
    let currency = subscription.text("currency");
    let unit = prices::amount_in(&price, currency).unwrap_or_default();
    let quantity = item.int("quantity");
    let amount = sign * invoice_lines::share(unit * quantity, end - now, end - start);
    let name = world.object(price.text("product")).map_or(String::new(), |product| product.text("name").to_owned());
    let pending = Pending {
        customer: subscription.text("customer"),
        currency,
        amount,
        description: &format!("{words} {name}"),
        period: Period { start: now, end },
        proration_of: Some((subscription.text("id"), item.text("id"))),
        price: Some(&price),
        quantity,
        metadata: subscription.at("metadata").clone(),
    };
    invoice_lines::add_pending(world, pending);
}

/// Bills what is pending now, with a whole period when one begins, and collects it.
fn bill(world: &mut World, subscription: &Value, whole_period: bool) -> Result<(), ApiError> {
    let mut lines = invoices::pending_lines(
        world,
        subscription.text("customer"),
        Some(subscription.text("id")),
        subscription.text("currency"),
    );
    if whole_period {
        let items = subscription.items("items/data").iter();
        lines.extend(items.map(|item| invoice_lines::of_item(world, subscription, item, false)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    invoice_lines(world, subscription, lines)
}

fn invoice_pending(world: &mut World, subscription: &Value) -> Result<(), ApiError> {
    bill(world, subscription, false)
}

fn invoice_lines(world: &mut World, subscription: &Value, lines: Vec<Value>) -> Result<(), ApiError> {
    let now = world.now();
    let invoice = invoices::create(
        world,
        Draft {
            customer: subscription.text("customer"),
            currency: subscription.text("currency"),
            subscription: Some(subscription),
            reason: "subscription_update",
            lines,
            period: Period { start: subscription.int("items/data/0/current_period_start"), end: now },
            finalizes_at: None,
        },
    );
    let mut latest = world.require("subscription", subscription.text("id"), "id")?.clone();
    latest.set("latest_invoice", invoice.as_str());
    world.update("customer.subscription.updated", latest);
    invoices::finalize(world, &invoice, None)?;
    if world.require("invoice", &invoice, "invoice")?.text("status") == "open" {
        // A refused payment leaves the invoice open and the subscription past due; the change itself stands.
        let how = Attempt { off_session: true, authenticated: None };
        invoices::collect(world, &invoice, None, how, true).ok();
    }
    Ok(())
}

/// Carries out a change that waited for this invoice.
pub(crate) fn apply_pending(world: &mut World, subscription: &mut Value, invoice: &Value) {
    if !subscription.is_set("pending_update") || subscription.text("latest_invoice") != invoice.text("id") {
        return;
    }
    let items = subscription.at("pending_update/subscription_items").clone();
    subscription.set("items/data", items);
    subscription.set("pending_update", Value::Null);
    world.update("customer.subscription.updated", subscription.clone());
    world.emit("customer.subscription.pending_update_applied", subscription, None);
}

/// The invoice that would come next, as far as it is known.
pub(crate) fn preview(world: &World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("subscription") {
        return Err(missing("subscription"));
    }
    let mut subscription = world.require("subscription", p.text("subscription"), "subscription")?.clone();
    cycle::roll(&mut subscription);
    Ok(cycle::next_invoice(world, &subscription))
}
