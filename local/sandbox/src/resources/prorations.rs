//! Prorations: what a change in the middle of a period gives back and costs, and the invoice for it.
//!
//! <https://docs.stripe.com/billing/subscriptions/prorations>

use serde_json::Value;

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoice_lines::{self, Pending, Period};
use crate::resources::invoices::collection;
use crate::resources::invoices::{self, Draft};
use crate::resources::payment_intents::attempts::Attempt;
use crate::resources::prices;
use crate::world::World;

/// Pending items for what an item's change gives back and costs until the period's end.
pub(crate) fn prorate(
    world: &mut World,
    subscription: &Value,
    old: Option<&Value>,
    new: Option<&Value>,
    resets: bool,
) {
    let same = |old: &Value, new: &Value| {
        old.at("price/id") == new.at("price/id") && old.at("quantity") == new.at("quantity")
    };
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

pub(crate) fn credit_unused(world: &mut World, subscription: &Value, item: &Value) {
    remaining(world, subscription, item, -1, "Unused time on");
}

fn remaining(world: &mut World, subscription: &Value, item: &Value, sign: i64, words: &str) {
    let now = world.now();
    let (start, end) = (
        item.int("current_period_start"),
        item.int("current_period_end"),
    );
    let price = world
        .object(item.text("price/id"))
        .cloned()
        .unwrap_or_else(|| item.at("price").clone());
    let currency = subscription.text("currency");
    let unit = prices::amount_in(&price, currency).unwrap_or_default();
    let quantity = item.int("quantity");
    let amount = sign * invoice_lines::share(unit * quantity, end - now, end - start);
    let name = world
        .object(price.text("product"))
        .map_or(String::new(), |product| product.text("name").to_owned());
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
pub(crate) fn bill(
    world: &mut World,
    subscription: &Value,
    whole_period: bool,
) -> Result<(), ApiError> {
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
    collect(world, subscription, lines)
}

fn collect(world: &mut World, subscription: &Value, lines: Vec<Value>) -> Result<(), ApiError> {
    let now = world.now();
    let invoice = invoices::create(
        world,
        Draft {
            customer: subscription.text("customer"),
            currency: subscription.text("currency"),
            subscription: Some(subscription),
            reason: "subscription_update",
            lines,
            period: Period {
                start: subscription.int("items/data/0/current_period_start"),
                end: now,
            },
            finalizes_at: None,
        },
    );
    let mut latest = world
        .require("subscription", subscription.text("id"), "id")?
        .clone();
    latest.set("latest_invoice", invoice.as_str());
    world.update("customer.subscription.updated", latest);
    invoices::finalize(world, &invoice, None)?;
    if world
        .require("invoice", &invoice, "invoice")?
        .text("status")
        == "open"
    {
        // A refused payment leaves the invoice open and the subscription past due; the change itself stands.
        let how = Attempt {
            off_session: true,
            authenticated: None,
        };
        collection::collect(world, &invoice, None, how, true).ok();
    }
    Ok(())
}
