//! Lines of invoices, and the pending items that become lines: what is charged, for which period.

use serde_json::{Value, json};

use crate::json::Fields;
use crate::resources::prices;
use crate::world::World;

/// A stretch of time that is paid for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The line for a subscription item's whole period; a trial costs nothing.
pub(crate) fn of_item(world: &World, subscription: &Value, item: &Value, trial: bool) -> Value {
    let price = world
        .object(item.text("price/id"))
        .unwrap_or_else(|| item.at("price"));
    let currency = subscription.text("currency");
    let unit = prices::amount_in(price, currency).unwrap_or_else(|| price.int("unit_amount"));
    let quantity = item.int("quantity");
    let amount = if trial { 0 } else { unit * quantity };
    let name = world
        .object(price.text("product"))
        .map_or("", |product| product.text("name"));
    let description = if trial {
        format!("Trial period for {name}")
    } else {
        format!("{quantity} × {name} (at {unit} {currency})")
    };
    let parent = json!({
        "invoice_item_details": null,
        "subscription_item_details": {
            "invoice_item": null, "proration": false, "proration_details": { "credited_items": null },
            "subscription": subscription.text("id"), "subscription_item": item.text("id"),
        },
        "type": "subscription_item_details",
    });
    let mut line = line(world, currency, amount, &description, parent);
    line.set("metadata", subscription.at("metadata").clone());
    line.set(
        "period",
        json!({ "start": item.int("current_period_start"), "end": item.int("current_period_end") }),
    );
    line.set("pricing", pricing(price, if trial { 0 } else { unit }));
    line.set("quantity", quantity);
    line.set("quantity_decimal", quantity.to_string());
    line.set("subscription", subscription.text("id"));
    line
}

/// The line of a pending invoice item.
pub(crate) fn of_pending(world: &World, pending: &Value) -> Value {
    let subscription = pending.at("parent/subscription_details/subscription");
    let details = json!({
        "invoice_item": pending.text("id"), "proration": pending.flag("proration"),
        "proration_details": { "credited_items": null }, "subscription": subscription,
    });
    let parent = if subscription.is_null() {
        json!({ "invoice_item_details": details, "subscription_item_details": null, "type": "invoice_item_details" })
    } else {
        let mut details = details;
        details.set(
            "subscription_item",
            pending.at("_subscription_item").clone(),
        );
        json!({ "invoice_item_details": null, "subscription_item_details": details, "type": "subscription_item_details" })
    };
    let mut line = line(
        world,
        pending.text("currency"),
        pending.int("amount"),
        pending.text("description"),
        parent,
    );
    for name in [
        "metadata",
        "period",
        "pricing",
        "quantity",
        "quantity_decimal",
    ] {
        line.set(name, pending.at(name).clone());
    }
    line.set("subscription", subscription.clone());
    line
}

fn line(world: &World, currency: &str, amount: i64, description: &str, parent: Value) -> Value {
    json!({
        "id": world.id("il_1"), "object": "line_item", "amount": amount, "currency": currency,
        "description": description, "discount_amounts": [], "discountable": true, "discounts": [],
        "invoice": null, "livemode": false, "metadata": {}, "parent": parent, "period": null,
        "pretax_credit_amounts": [], "pricing": null, "quantity": 1, "quantity_decimal": "1", "subtotal": amount, "taxes": [],
    })
}

fn pricing(price: &Value, unit: i64) -> Value {
    json!({
        "price_details": { "price": price.text("id"), "product": price.text("product") }, "type": "price_details",
        "unit_amount_decimal": unit.to_string(),
    })
}

/// What a pending item is for.
pub(crate) struct Pending<'a> {
    pub(crate) customer: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) amount: i64,
    pub(crate) description: &'a str,
    pub(crate) period: Period,
    /// Subscription and item, for a proration.
    pub(crate) proration_of: Option<(&'a str, &'a str)>,
    pub(crate) price: Option<&'a Value>,
    pub(crate) quantity: i64,
    pub(crate) metadata: Value,
}

/// Announces a pending invoice item, which the next invoice takes up.
pub(crate) fn add_pending(world: &mut World, pending: Pending<'_>) -> Value {
    let parent = pending.proration_of.map(|(subscription, _)| {
        json!({ "subscription_details": { "subscription": subscription }, "type": "subscription_details" })
    });
    let object = json!({
        "id": world.id("ii_1"), "object": "invoiceitem", "amount": pending.amount, "currency": pending.currency,
        "customer": pending.customer, "customer_account": null, "date": world.now(),
        "description": pending.description, "discountable": pending.proration_of.is_none(), "discounts": [],
        "invoice": null, "livemode": false, "metadata": pending.metadata, "net_amount": pending.amount,
        "parent": parent, "period": { "start": pending.period.start, "end": pending.period.end },
        "pricing": pending.price.map(|price| {
            pricing(price, prices::amount_in(price, pending.currency).unwrap_or_default())
        }),
        "proration": pending.proration_of.is_some(), "quantity": pending.quantity,
        "quantity_decimal": pending.quantity.to_string(), "tax_rates": [], "test_clock": null,
        "_subscription_item": pending.proration_of.map(|(_, item)| item),
    });
    world.announce("invoiceitem.created", object.clone());
    object
}

/// The part of an amount that a part of a time stands for, rounded to the nearest unit.
pub(crate) fn share(amount: i64, part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    let (amount, part, whole) = (
        i128::from(amount),
        i128::from(part.clamp(0, whole)),
        i128::from(whole),
    );
    i64::try_from((amount * part * 2 + whole) / (whole * 2)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_bounded() {
        assert_eq!(share(2000, 15, 30), 1000);
        assert_eq!(share(1000, 1, 3), 333);
        assert_eq!(share(1000, 2, 3), 667);
        assert_eq!(share(1000, 40, 30), 1000);
        assert_eq!(share(1000, 1, 0), 0);
    }
}
