//! Subscriptions: <https://docs.stripe.com/billing/subscriptions/overview>.
//!
//! How they begin; changes are in `subscription_changes`, what payments do in `subscription_outcomes`, time passing in
//! `cycle`.

pub(crate) mod beginning;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoices::collection;
use crate::resources::payment_intents::attempts::Attempt;
use crate::resources::subscriptions::beginning::Beginning;
use crate::resources::{Route, customers, lists, metadata, prices, setup_intents};
use crate::resources::{subscription_changes, subscription_outcomes};
use crate::spec::missing;
use crate::world::World;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("GET", "subscriptions") => list(world, p),
        ("POST", "subscriptions") => create(world, p),
        ("GET", "subscription_items") => {
            let subscription =
                world.require("subscription", p.text("subscription"), "subscription")?;
            let items: Vec<&Value> = subscription.items("items/data").iter().collect();
            lists::page(&items, p, "/v1/subscription_items")
        }
        ("GET", "subscription_items/{item}") => {
            let all = world.list("subscription");
            let mut items = all
                .into_iter()
                .flat_map(|subscription| subscription.items("items/data"));
            items
                .find(|item| item.text("id") == id)
                .cloned()
                .ok_or_else(|| ApiError::missing("subscription_item", id, "item"))
        }
        ("GET", _) => world.require("subscription", id, "id").cloned(),
        ("DELETE", _) => subscription_changes::cancel_now(world, id, p),
        ("POST", "subscriptions/{subscription}/resume") => subscription_changes::resume(world, id),
        _ => subscription_changes::update(world, id, p),
    }
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return Err(missing("customer"));
    }
    for param in ["discounts", "add_invoice_items"] {
        if p.is_set(param) {
            return Err(
                ApiError::invalid(format!("The sandbox does not simulate {param}.")).param(param),
            );
        }
    }
    let customer = customers::live(world, p.text("customer"), "customer")?.clone();
    let items = read_items(world, p)?;
    let first = items.first().map_or(&Value::Null, |(price, _, _)| price);
    let currency = if p.is_set("currency") {
        p.text("currency")
    } else {
        first.text("currency")
    }
    .to_lowercase();
    beginning::check_currency(world, &customer, &currency)?;
    let trial_end = trial_end(world, p, first)?;
    let default = p.text("default_payment_method");
    if !default.is_empty() {
        world.require("payment_method", default, "default_payment_method")?;
    }
    let behavior = p.text("payment_behavior");
    let has_method =
        !default.is_empty() || customer.is_set("invoice_settings/default_payment_method");
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
    let mut subscription = beginning::build(world, &draft);
    let id = subscription.text("id").to_owned();
    if trial_end.is_some() && !has_method {
        let setup = setup_intents::create(world, &json!({ "customer": customer.text("id") }));
        subscription.set("pending_setup_intent", setup);
    }
    let invoice = beginning::start(world, subscription, None)?;
    subscription_changes::schedule_end(world, &id, p)?;
    let open = world
        .require("invoice", &invoice, "invoice")?
        .text("status")
        == "open";
    if !charged {
        subscription_outcomes::activate(world, &id);
    } else if open && behavior != "default_incomplete" {
        let paid = collection::collect(
            world,
            &invoice,
            None,
            Attempt {
                off_session: p.flag("off_session"),
                authenticated: None,
            },
            true,
        );
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
            return Err(ApiError::invalid(
                "Invalid timestamp: must be an integer Unix timestamp in the future.",
            )
            .param("trial_end"));
        }
        return Ok(Some(end));
    }
    let days = p.get("trial_period_days").and_then(Value::as_i64);
    let days = days.or_else(|| {
        p.flag("trial_from_plan")
            .then(|| price.int("recurring/trial_period_days"))
    });
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
    let all = world
        .list("subscription")
        .into_iter()
        .filter(|subscription| {
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
                && lists::within(
                    subscription.int("items/data/0/current_period_end"),
                    p.at("current_period_end"),
                )
                && lists::within(
                    subscription.int("items/data/0/current_period_start"),
                    p.at("current_period_start"),
                )
                && (p.at("price").is_null()
                    || subscription
                        .items("items/data")
                        .iter()
                        .any(|item| item.at("price/id") == p.at("price")))
        });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/subscriptions")
}
