//! What Stripe refuses in a request for a Checkout Session.

use serde_json::Value;

use super::HOUR;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::customers;
use crate::spec::missing;
use crate::world::World;

/// Checks what does not depend on prices; answers the customer, or null.
pub(crate) fn check(world: &World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("mode") {
        return Err(missing("mode"));
    }
    if p.text("mode") != "setup" && p.items("line_items").is_empty() {
        return Err(missing("line_items"));
    }
    let hosted = matches!(p.text("ui_mode"), "" | "hosted_page");
    if hosted && !p.is_set("success_url") {
        return Err(missing("success_url"));
    }
    for name in ["success_url", "cancel_url"] {
        if p.is_set(name) && url::Url::parse(&p.text(name).replace(['{', '}'], "")).is_err() {
            return Err(ApiError::invalid("Not a valid URL")
                .code("url_invalid")
                .param(name));
        }
    }
    check_mode(p)?;
    check_expiry(world, p)?;
    check_tax(world, p)?;
    if !p.is_set("customer") {
        if p.is_set("customer_update") {
            return Err(
                ApiError::invalid("`customer_update` can only be used with `customer`.")
                    .param("customer_update"),
            );
        }
        return Ok(Value::Null);
    }
    customers::live(world, p.text("customer"), "customer").cloned()
}

/// Checks what goes with the mode, and what excludes each other.
fn check_mode(p: &Value) -> Result<(), ApiError> {
    let only = |param: &str, mode: &str| {
        let message = format!("You can not pass `{param}` in `{}` mode.", p.text("mode"));
        if p.is_set(param) && p.text("mode") != mode {
            Err(ApiError::invalid(message).param(param))
        } else {
            Ok(())
        }
    };
    only("subscription_data", "subscription")?;
    only("payment_intent_data", "payment")?;
    only("customer_creation", "payment")?;
    if p.is_set("customer") && p.is_set("customer_email") {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: customer, customer_email.",
        ));
    }
    if p.is_set("discounts") && p.flag("allow_promotion_codes") {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.",
        ));
    }
    if p.text("payment_intent_data/capture_method") == "manual" {
        return Err(
            ApiError::invalid("The sandbox does not simulate manual capture.")
                .param("payment_intent_data[capture_method]"),
        );
    }
    if p.is_set("discounts") {
        return Err(
            ApiError::invalid("The sandbox does not simulate discounts.").param("discounts"),
        );
    }
    let trial = p.at("subscription_data/trial_period_days");
    if trial.as_i64().is_some_and(|days| days < 1) {
        return Err(
            ApiError::invalid("The minimum number of trial period days is 1.")
                .code("parameter_invalid_integer")
                .param("subscription_data[trial_period_days]"),
        );
    }
    Ok(())
}

fn check_expiry(world: &World, p: &Value) -> Result<(), ApiError> {
    if let Some(expires_at) = p.get("expires_at").and_then(Value::as_i64) {
        let left = expires_at - world.now();
        if !(HOUR / 2 - 60..=24 * HOUR + 60).contains(&left) {
            let bound = if left > HOUR {
                "less than 24 hours"
            } else {
                "at least 30 minutes"
            };
            return Err(ApiError::invalid(format!(
                "The `expires_at` timestamp must be {bound} from Checkout Session creation."
            ))
            .param("expires_at"));
        }
    }
    Ok(())
}

fn check_tax(world: &World, p: &Value) -> Result<(), ApiError> {
    if p.flag("automatic_tax/enabled")
        && p.is_set("customer")
        && p.text("customer_update/address") != "auto"
    {
        let customer = customers::live(world, p.text("customer"), "customer")?;
        if !customer.is_set("address/country") {
            return Err(ApiError::invalid(
                "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address \
                 to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to \
                 'auto' to save the address entered in Checkout to the Customer.",
            )
            .code("customer_tax_location_invalid"));
        }
    }
    Ok(())
}

pub(crate) fn check_price(
    p: &Value,
    price: &Value,
    line: &Value,
    param: &str,
) -> Result<(), ApiError> {
    if p.text("mode") == "payment" && price.is_set("recurring") {
        return Err(ApiError::invalid(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use \
             only one-time prices.",
        ));
    }
    let one_time_only = p.items("line_items").len() == 1 && !price.is_set("recurring");
    if p.text("mode") == "subscription" && one_time_only {
        return Err(ApiError::invalid(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
        ));
    }
    match line.get("quantity").and_then(Value::as_i64) {
        None => Err(
            ApiError::invalid("Quantity is required. Add `quantity` to `line_items`.")
                .param(&format!("{param}[quantity]")),
        ),
        Some(..=0) => Err(
            ApiError::invalid("This value must be greater than or equal to 1.")
                .code("parameter_invalid_integer")
                .param(&format!("{param}[quantity]")),
        ),
        Some(_) => Ok(()),
    }
}
