//! Prices: <https://docs.stripe.com/api/prices>.

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::{Route, copy, lists, merge_metadata, metadata, products};
use crate::spec::missing;
use crate::world::World;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "prices") => create(world, p),
        ("GET", "prices") => list(world, p),
        ("GET", _) => world.require("price", id, "price").cloned(),
        _ => update(world, id, p),
    }
}

pub(crate) fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    let product = product_of(world, p)?;
    let currency = currency(p.text("currency"), "currency")?;
    for param in ["custom_unit_amount", "tiers", "transform_quantity"] {
        if p.is_set(param) {
            return Err(
                ApiError::invalid(format!("The sandbox does not simulate {param}.")).param(param),
            );
        }
    }
    if !p.is_set("unit_amount")
        && !p.is_set("unit_amount_decimal")
        && p.text("billing_scheme") != "tiered"
    {
        return Err(missing("unit_amount"));
    }
    if p.int("unit_amount") < 0 {
        return Err(ApiError::invalid("Invalid non-negative integer")
            .code("parameter_invalid_integer")
            .param("unit_amount"));
    }
    let amount = if p.is_set("unit_amount") {
        p.int("unit_amount")
    } else {
        whole(p.text("unit_amount_decimal"))
    };
    claim_lookup_key(world, p, "")?;
    let id = world.id("price_1");
    let tax = if p.is_set("tax_behavior") {
        p.text("tax_behavior")
    } else {
        "unspecified"
    };
    let price = json!({
        "id": id, "object": "price", "active": p.get("active").and_then(Value::as_bool).unwrap_or(true),
        "billing_scheme": "per_unit", "created": world.now(), "currency": currency, "custom_unit_amount": null,
        "livemode": false, "lookup_key": p.at("lookup_key"), "metadata": metadata(p), "nickname": p.at("nickname"),
        "product": product, "recurring": recurring(p)?, "tax_behavior": tax, "tiers_mode": null,
        "transform_quantity": null, "type": if p.is_set("recurring") { "recurring" } else { "one_time" },
        "unit_amount": amount, "unit_amount_decimal": amount.to_string(),
        "_currency_options": currency_options(p, &currency, amount, tax),
    });
    world.announce("price.created", price.clone());
    Ok(price)
}

fn product_of(world: &mut World, p: &Value) -> Result<String, ApiError> {
    if let Some(data) = p.get("product_data") {
        return Ok(products::create(world, data)?.text("id").to_owned());
    }
    if !p.is_set("product") {
        return Err(missing("product"));
    }
    Ok(world
        .require("product", p.text("product"), "product")?
        .text("id")
        .to_owned())
}

fn currency(given: &str, param: &str) -> Result<String, ApiError> {
    let currency = given.to_lowercase();
    if currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return Ok(currency);
    }
    Err(ApiError::invalid(format!("Invalid currency: {given}."))
        .code("invalid_currency")
        .param(param))
}

fn recurring(p: &Value) -> Result<Value, ApiError> {
    let given = p.at("recurring");
    if given.is_null() {
        return Ok(Value::Null);
    }
    let count = given
        .get("interval_count")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let most = match given.text("interval") {
        "year" => 3,
        "month" => 36,
        "week" => 156,
        _ => 1095,
    };
    if !(1..=most).contains(&count) {
        return Err(
            ApiError::invalid(format!("Invalid interval_count: {count}."))
                .code("parameter_invalid_integer")
                .param("recurring[interval_count]"),
        );
    }
    Ok(json!({
        "interval": given.text("interval"), "interval_count": count, "meter": null,
        "trial_period_days": given.at("trial_period_days"), "usage_type": "licensed",
    }))
}

fn currency_options(p: &Value, currency: &str, amount: i64, tax: &str) -> Value {
    let option = |amount: i64, tax: &str| {
        json!({
            "custom_unit_amount": null, "tax_behavior": tax, "unit_amount": amount,
            "unit_amount_decimal": amount.to_string(),
        })
    };
    let mut options = Map::new();
    options.insert(currency.to_owned(), option(amount, tax));
    if let Value::Object(given) = p.at("currency_options") {
        for (other, given) in given {
            let tax = if given.is_set("tax_behavior") {
                given.text("tax_behavior")
            } else {
                "unspecified"
            };
            options.insert(other.to_lowercase(), option(given.int("unit_amount"), tax));
        }
    }
    Value::Object(options)
}

/// A lookup key belongs to one active price; `transfer_lookup_key` takes it from the one that has it.
fn claim_lookup_key(world: &mut World, p: &Value, own: &str) -> Result<(), ApiError> {
    let key = p.text("lookup_key");
    let holder = world
        .list("price")
        .into_iter()
        .find(|price| price.text("lookup_key") == key && !key.is_empty());
    let Some(mut holder) = holder.filter(|holder| holder.text("id") != own).cloned() else {
        return Ok(());
    };
    if !p.flag("transfer_lookup_key") {
        return Err(ApiError::invalid(format!(
            "A price (`{}`) already uses that lookup key.",
            holder.text("id")
        ))
        .param("lookup_key"));
    }
    holder.set("lookup_key", Value::Null);
    world.update("price.updated", holder);
    Ok(())
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    world.require("price", id, "price")?;
    claim_lookup_key(world, p, id)?;
    let mut price = world.require("price", id, "price")?.clone();
    copy(
        &mut price,
        p,
        &["active", "lookup_key", "nickname", "tax_behavior"],
    );
    merge_metadata(&mut price, p);
    if let Value::Object(given) = p.at("currency_options") {
        let main = price.text("currency").to_owned();
        let options = currency_options(
            p,
            &main,
            price.int("unit_amount"),
            price.text("tax_behavior"),
        );
        for name in given.keys() {
            price.set(
                &format!("_currency_options/{}", name.to_lowercase()),
                options.at(&name.to_lowercase()).clone(),
            );
        }
    }
    world.update("price.updated", price.clone());
    Ok(price)
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    let keys = p.items("lookup_keys");
    let all = world.list("price").into_iter().filter(|price| {
        lists::matches(price, p, &["active", "product", "type"])
            && lists::within(price.int("created"), p.at("created"))
            && (keys.is_empty() || keys.contains(price.at("lookup_key")))
            && (p.at("currency").is_null() || p.text("currency") == price.text("currency"))
            && (p.at("recurring/interval").is_null()
                || p.at("recurring/interval") == price.at("recurring/interval"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/prices")
}

/// What one unit costs in a currency, when the price is offered in it.
pub(crate) fn amount_in(price: &Value, currency: &str) -> Option<i64> {
    price
        .at("_currency_options")
        .get(currency)
        .map(|option| option.int("unit_amount"))
}

/// The price as it appears within other objects, in the currency that they are in.
pub(crate) fn embedded(price: &Value) -> Value {
    public(price)
}

/// The old `plan` object, which subscription items still carry.
pub(crate) fn plan(price: &Value) -> Value {
    json!({
        "id": price.text("id"), "object": "plan", "active": price.flag("active"), "amount": price.at("unit_amount"),
        "amount_decimal": price.at("unit_amount_decimal"), "billing_scheme": "per_unit",
        "created": price.int("created"), "currency": price.text("currency"),
        "interval": price.text("recurring/interval"), "interval_count": price.int("recurring/interval_count"),
        "livemode": false, "metadata": price.at("metadata"), "meter": null, "nickname": price.at("nickname"),
        "product": price.text("product"), "tiers_mode": null, "transform_usage": null,
        "trial_period_days": price.at("recurring/trial_period_days"), "usage_type": "licensed",
    })
}

/// The price that a line names, or a new one from its `price_data`.
pub(crate) fn of_line(world: &mut World, line: &Value, param: &str) -> Result<Value, ApiError> {
    if line.is_set("price_data") {
        return create(world, &typed(line.at("price_data")));
    }
    if !line.is_set("price") {
        return Err(missing(&format!("{param}[price]")));
    }
    let price = world.require("price", line.text("price"), &format!("{param}[price]"))?;
    if !price.flag("active") {
        return Err(ApiError::invalid(format!(
            "The price specified is inactive. This field only accepts active prices. (`{}`)",
            price.text("id")
        ))
        .code("price_inactive")
        .param(&format!("{param}[price]")));
    }
    Ok(price.clone())
}

/// Inline price data with its numbers read.
pub(crate) fn typed(data: &Value) -> Value {
    let mut data = data.clone();
    for path in ["unit_amount", "recurring/interval_count"] {
        if let Ok(number) = data.text(path).parse::<i64>() {
            data.set(path, number);
        }
    }
    data
}

/// The whole units of a decimal amount.
fn whole(decimal: &str) -> i64 {
    decimal
        .split('.')
        .next()
        .and_then(|whole| whole.parse().ok())
        .unwrap_or_default()
}
