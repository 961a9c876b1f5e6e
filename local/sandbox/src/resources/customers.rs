//! Customers: <https://docs.stripe.com/api/customers>.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, cards, copy, lists, merge_metadata, metadata, payment_methods};
use crate::world::World;

const COPIED: [&str; 6] = [
    "name",
    "phone",
    "description",
    "shipping",
    "preferred_locales",
    "tax_exempt",
];

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    other: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "customers") => create(world, p),
        ("GET", "customers") => list(world, p),
        ("GET", "customers/{customer}") => retrieve(world, id),
        ("POST", "customers/{customer}") => update(world, id, p),
        ("DELETE", "customers/{customer}") => delete(world, id),
        ("GET", "customers/{customer}/payment_methods") => {
            live(world, id, "customer")?;
            let url = format!("/v1/customers/{id}/payment_methods");
            payment_methods::list_of(world, id, p, &url)
        }
        _ => {
            live(world, id, "customer")?;
            let method = world.require("payment_method", other, "payment_method")?;
            Ok(method.clone())
        }
    }
}

/// A customer that has not been deleted.
pub(crate) fn live<'w>(world: &'w World, id: &str, param: &str) -> Result<&'w Value, ApiError> {
    let customer = world.require("customer", id, param)?;
    if customer.flag("deleted") {
        return Err(ApiError::missing("customer", id, param));
    }
    Ok(customer)
}

pub(crate) fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    check_email(p)?;
    let id = world.id("cus_").chars().take(18).collect::<String>();
    let mut customer = json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": world.now(), "currency": null,
        "customer_account": null, "default_source": null, "delinquent": false, "description": null, "discount": null,
        "email": p.at("email"), "invoice_prefix": world.id("").chars().take(8).collect::<String>().to_uppercase(),
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null,
        },
        "livemode": false, "metadata": metadata(p), "name": null, "next_invoice_sequence": 1, "phone": null,
        "preferred_locales": [], "shipping": null, "tax_exempt": "none", "test_clock": null,
    });
    copy(&mut customer, p, &COPIED);
    copy_address(&mut customer, p);
    customer.set("balance", p.int("balance"));
    world.announce("customer.created", customer);
    if p.is_set("payment_method") {
        payment_methods::attach(world, p.text("payment_method"), &id)?;
    }
    settle_default(world, &id, p)?;
    retrieve(world, &id)
}

fn check_email(p: &Value) -> Result<(), ApiError> {
    let email = p.text("email");
    if email.is_empty() || (email.contains('@') && email.len() <= 512) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("Invalid email address: {email}"))
        .code("email_invalid")
        .param("email"))
}

fn copy_address(customer: &mut Value, p: &Value) {
    let Some(given) = p.get("address") else {
        return;
    };
    let mut address = json!({
        "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null,
    });
    copy(
        &mut address,
        given,
        &["city", "country", "line1", "line2", "postal_code", "state"],
    );
    customer.set(
        "address",
        if given.is_object() {
            address
        } else {
            Value::Null
        },
    );
}

/// Applies `invoice_settings[default_payment_method]`.
fn settle_default(world: &mut World, id: &str, p: &Value) -> Result<(), ApiError> {
    let Some(method) = p.at("invoice_settings").get("default_payment_method") else {
        return Ok(());
    };
    let mut method = method.as_str().unwrap_or_default().to_owned();
    let param = "invoice_settings[default_payment_method]";
    if cards::of_token(&method).is_some() {
        method = payment_methods::attached_token(world, &method, id)?;
    }
    if !method.is_empty() {
        let owner = world
            .require("payment_method", &method, param)?
            .text("customer")
            .to_owned();
        if owner != id {
            return Err(ApiError::invalid(format!(
                "The customer does not have a payment method with the ID {method}. The payment method must be attached \
                 to the customer."
            ))
            .code("resource_missing")
            .param(param));
        }
    }
    let mut customer = live(world, id, "customer")?.clone();
    customer.set(
        "invoice_settings/default_payment_method",
        if method.is_empty() {
            Value::Null
        } else {
            json!(method)
        },
    );
    world.update("customer.updated", customer);
    Ok(())
}

pub(crate) fn retrieve(world: &World, id: &str) -> Result<Value, ApiError> {
    world.require("customer", id, "id").cloned()
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    check_email(p)?;
    let mut customer = live(world, id, "id")?.clone();
    copy(&mut customer, p, &COPIED);
    copy(&mut customer, p, &["email", "balance"]);
    copy_address(&mut customer, p);
    merge_metadata(&mut customer, p);
    world.update("customer.updated", customer);
    settle_default(world, id, p)?;
    retrieve(world, id)
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    let all = world.list("customer").into_iter().filter(|customer| {
        !customer.flag("deleted")
            && lists::matches(customer, p, &["email"])
            && lists::within(customer.int("created"), p.at("created"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/customers")
}

/// Deletes a customer; its subscriptions end at once, without a last invoice.
fn delete(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let customer = live(world, id, "id")?.clone();
    let open: Vec<String> = world
        .list("subscription")
        .into_iter()
        .filter(|s| {
            s.text("customer") == id
                && !matches!(s.text("status"), "canceled" | "incomplete_expired")
        })
        .map(|subscription| subscription.text("id").to_owned())
        .collect();
    for subscription in open {
        world.cancel_subscription(&subscription, Some("cancellation_requested"));
    }
    let methods: Vec<String> = world
        .list("payment_method")
        .into_iter()
        .filter(|method| method.text("customer") == id)
        .map(|method| method.text("id").to_owned())
        .collect();
    for method in methods {
        payment_methods::detach(world, &method)?;
    }
    world.emit("customer.deleted", &customer, None);
    let deleted = json!({ "id": id, "object": "customer", "deleted": true });
    world.put(deleted.clone());
    Ok(deleted)
}
