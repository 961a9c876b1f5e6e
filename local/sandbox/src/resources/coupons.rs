//! Coupons and promotion codes, as far as a Checkout page that takes codes needs them.
//!
//! <https://docs.stripe.com/api/coupons>, <https://docs.stripe.com/api/promotion_codes>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, copy, lists, merge_metadata, metadata};
use crate::world::World;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "coupons") => create_coupon(world, p),
        ("GET", "coupons") => lists::page(&world.list("coupon"), p, "/v1/coupons"),
        ("GET", "coupons/{coupon}") => world.require("coupon", id, "coupon").cloned(),
        ("DELETE", _) => {
            let coupon = world.require("coupon", id, "coupon")?.clone();
            world.emit("coupon.deleted", &coupon, None);
            world.remove(id);
            Ok(json!({ "id": id, "object": "coupon", "deleted": true }))
        }
        ("POST", "coupons/{coupon}") => {
            let mut coupon = world.require("coupon", id, "coupon")?.clone();
            copy(&mut coupon, p, &["name"]);
            merge_metadata(&mut coupon, p);
            world.update("coupon.updated", coupon.clone());
            Ok(coupon)
        }
        ("POST", "promotion_codes") => create_code(world, p),
        ("GET", "promotion_codes") => list_codes(world, p),
        ("GET", _) => world
            .require("promotion_code", id, "promotion_code")
            .cloned(),
        _ => {
            let mut code = world
                .require("promotion_code", id, "promotion_code")?
                .clone();
            copy(&mut code, p, &["active"]);
            merge_metadata(&mut code, p);
            world.update("promotion_code.updated", code.clone());
            Ok(code)
        }
    }
}

fn create_coupon(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    let percent = p.text("percent_off").parse::<serde_json::Number>().ok();
    if percent.is_none() && !p.is_set("amount_off") {
        return Err(ApiError::invalid("Must provide percent_off or amount_off."));
    }
    let id = match p.text("id") {
        "" => world.id("").chars().take(8).collect(),
        id => id.to_owned(),
    };
    if world.object(&id).is_some() {
        return Err(ApiError::invalid("Coupon already exists.")
            .code("resource_already_exists")
            .param("id"));
    }
    let duration = if p.is_set("duration") {
        p.text("duration")
    } else {
        "once"
    };
    let coupon = json!({
        "id": id, "object": "coupon", "amount_off": p.at("amount_off"), "created": world.now(),
        "currency": p.at("currency"), "duration": duration, "duration_in_months": p.at("duration_in_months"),
        "livemode": false, "max_redemptions": p.at("max_redemptions"), "metadata": metadata(p), "name": p.at("name"),
        "percent_off": percent, "redeem_by": p.at("redeem_by"), "times_redeemed": 0, "valid": true,
    });
    world.announce("coupon.created", coupon.clone());
    Ok(coupon)
}

fn create_code(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    let coupon = world
        .require("coupon", p.text("promotion/coupon"), "promotion[coupon]")?
        .text("id")
        .to_owned();
    let code = match p.text("code") {
        "" => world
            .id("")
            .chars()
            .take(8)
            .collect::<String>()
            .to_uppercase(),
        code => code.to_owned(),
    };
    let code = json!({
        "id": world.id("promo_1"), "object": "promotion_code",
        "active": p.get("active").and_then(Value::as_bool).unwrap_or(true), "code": code, "created": world.now(),
        "customer": p.at("customer"), "customer_account": null, "expires_at": p.at("expires_at"), "livemode": false,
        "max_redemptions": p.at("max_redemptions"), "metadata": metadata(p),
        "promotion": { "coupon": coupon, "type": "coupon" },
        "restrictions": {
            "first_time_transaction": false, "minimum_amount": null, "minimum_amount_currency": null,
        },
        "times_redeemed": 0,
    });
    world.announce("promotion_code.created", code.clone());
    Ok(code)
}

fn list_codes(world: &World, p: &Value) -> Result<Value, ApiError> {
    let all = world.list("promotion_code").into_iter().filter(|code| {
        lists::matches(code, p, &["active", "code", "customer"])
            && (p.at("coupon").is_null() || p.at("coupon") == code.at("promotion/coupon"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/promotion_codes")
}
