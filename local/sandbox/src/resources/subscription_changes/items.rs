//! Other prices or quantities for a subscription's items.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::invoice_lines::Period;
use crate::resources::subscription_changes::set_period;
use crate::resources::subscriptions::beginning;
use crate::resources::{cards, copy, merge_metadata, prices, prorations};
use crate::world::World;

/// How long a change waits for its payment.
const PENDING_UPDATE_SECONDS: i64 = 23 * 3600;

/// New prices or quantities for a subscription's items.
pub(crate) struct Change {
    /// Each item before, and after when it stays.
    items: Vec<(Option<Value>, Option<Value>)>,
    resets_period: bool,
}

impl Change {
    pub(crate) fn read(
        world: &mut World,
        subscription: &Value,
        p: &Value,
    ) -> Result<Option<Self>, ApiError> {
        if !p.is_set("items") {
            return Ok(None);
        }
        let mut items: Vec<(Option<Value>, Option<Value>)> = subscription
            .items("items/data")
            .iter()
            .map(|item| (Some(item.clone()), Some(item.clone())))
            .collect();
        for (index, line) in p.items("items").iter().enumerate() {
            let param = format!("items[{index}]");
            if !line.is_set("id") {
                let price = prices::of_line(world, line, &param)?;
                let quantity = line.get("quantity").and_then(Value::as_i64).unwrap_or(1);
                let first = subscription.at("items/data/0");
                let period = Period {
                    start: first.int("current_period_start"),
                    end: first.int("current_period_end"),
                };
                let item =
                    beginning::item(world, subscription.text("id"), &price, quantity, period);
                items.push((None, Some(item)));
                continue;
            }
            let found = items
                .iter_mut()
                .find(|(before, _)| before.as_ref().is_some_and(|b| b.at("id") == line.at("id")));
            let Some((_, after)) = found else {
                return Err(ApiError::missing(
                    "subscription item",
                    line.text("id"),
                    &format!("{param}[id]"),
                ));
            };
            if line.flag("deleted") {
                *after = None;
            } else if let Some(after) = after {
                edit(world, after, line, &param)?;
            }
        }
        if items.iter().all(|(_, after)| after.is_none()) {
            return Err(ApiError::invalid(
                "A subscription must have at least one active plan.",
            ));
        }
        let interval = |item: &Option<Value>| {
            item.as_ref().map(|item| {
                (
                    item.text("price/recurring/interval").to_owned(),
                    item.int("price/recurring/interval_count"),
                )
            })
        };
        let before = items.iter().find_map(|(before, _)| interval(before));
        let after = items.iter().find_map(|(_, after)| interval(after));
        let resets_period = p.text("billing_cycle_anchor") == "now" || before != after;
        Ok(Some(Self {
            items,
            resets_period,
        }))
    }

    pub(crate) fn carry_out(
        self,
        world: &mut World,
        mut subscription: Value,
        p: &Value,
    ) -> Result<(), ApiError> {
        let behavior = if p.is_set("proration_behavior") {
            p.text("proration_behavior")
        } else {
            "create_prorations"
        };
        let active = matches!(subscription.text("status"), "active" | "past_due");
        let resets = self.resets_period && active;
        let invoiced = active && (behavior == "always_invoice" || resets);
        let fails = invoiced && would_fail(world, &subscription);
        if fails && p.text("payment_behavior") == "error_if_incomplete" {
            return Err(cards::decline("card_declined", Some("generic_decline")));
        }
        let waits = fails && p.text("payment_behavior") == "pending_if_incomplete";
        let items: Vec<Value> = self
            .items
            .iter()
            .filter_map(|(_, after)| after.clone())
            .collect();
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
                prorations::prorate(world, &before, old.as_ref(), new.as_ref(), resets);
            }
        }
        world.update("customer.subscription.updated", subscription.clone());
        if invoiced {
            prorations::bill(world, &subscription, resets && !waits)?;
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
    set_period(
        subscription,
        Some(now),
        beginning::next_end(&price, now, now),
    );
    subscription.set("_upcoming", 0);
}

/// Whether the card on file would refuse a charge now.
fn would_fail(world: &World, subscription: &Value) -> bool {
    let default = world
        .object(subscription.text("customer"))
        .map(|c| c.text("invoice_settings/default_payment_method"));
    let own = subscription.text("default_payment_method");
    let method = if own.is_empty() {
        default.unwrap_or_default()
    } else {
        own
    };
    let number = world
        .object(method)
        .map_or("", |method| method.text("_number"));
    number.is_empty() || cards::test_card(number).decline.is_some()
}
