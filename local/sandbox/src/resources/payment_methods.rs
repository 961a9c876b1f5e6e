//! Payment methods: cards, made of test tokens or typed on a page. <https://docs.stripe.com/api/payment_methods>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::cards::{self, Authentication};
use crate::resources::{Route, copy, customers, lists, merge_metadata, metadata};
use crate::spec::missing;
use crate::world::{CardInput, World};

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "payment_methods") => create(world, p),
        ("GET", "payment_methods") => list(world, p),
        ("GET", _) => match cards::of_token(id) {
            Some(_) => resolve(world, id, "payment_method")
                .map(|id| world.object(&id).cloned().unwrap_or_default()),
            None => world
                .require("payment_method", id, "payment_method")
                .cloned(),
        },
        ("POST", "payment_methods/{payment_method}/attach") => {
            let customer = if p.is_set("customer") {
                p.text("customer")
            } else {
                return Err(missing("customer"));
            };
            customers::live(world, customer, "customer")?;
            let id = attach(world, id, customer)?;
            world
                .require("payment_method", &id, "payment_method")
                .cloned()
        }
        ("POST", "payment_methods/{payment_method}/detach") => detach(world, id),
        _ => update(world, id, p),
    }
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if p.is_set("payment_method") {
        let id = resolve(world, p.text("payment_method"), "payment_method")?;
        return world
            .require("payment_method", &id, "payment_method")
            .cloned();
    }
    match p.text("type") {
        "card" | "sepa_debit" => {}
        "" => return Err(missing("type")),
        other => {
            return Err(
                ApiError::invalid(format!("The payment method type {other} is invalid."))
                    .param("type"),
            );
        }
    }
    let number = read_number(p)?;
    let card = p.at("card");
    let input = CardInput {
        number,
        exp_month: card.text("exp_month").parse().unwrap_or_default(),
        exp_year: card.text("exp_year").parse().unwrap_or_default(),
        cvc: card.text("cvc").to_owned(),
        authenticated: None,
    };
    let id = from_card(world, &input)?;
    let mut method = world
        .require("payment_method", &id, "payment_method")?
        .clone();
    method.set("metadata", metadata(p));
    copy_billing(&mut method, p);
    copy(&mut method, p, &["allow_redisplay"]);
    world.put(method.clone());
    Ok(method)
}

/// The number that a request gives: a card's, a test token's, or a debit's IBAN.
fn read_number(p: &Value) -> Result<String, ApiError> {
    if p.text("type") == "sepa_debit" {
        let iban = p.text("sepa_debit/iban");
        return cards::read_iban(iban).map(|(iban, _)| iban).ok_or_else(|| {
            ApiError::invalid("The IBAN you provided is invalid.")
                .code("invalid_bank_account_iban")
                .param("sepa_debit[iban]")
        });
    }
    let card = p.at("card");
    let number = match cards::of_token(card.text("token")) {
        Some(number) => number.to_owned(),
        None if card.is_set("token") => {
            return Err(ApiError::missing(
                "token",
                card.text("token"),
                "card[token]",
            ));
        }
        None => card.text("number").to_owned(),
    };
    if number.is_empty() {
        return Err(missing("card"));
    }
    Ok(number)
}

fn copy_billing(method: &mut Value, p: &Value) {
    copy_members(
        method,
        "billing_details",
        p.at("billing_details"),
        &["email", "name", "phone"],
    );
    let address = p.at("billing_details/address");
    let parts = ["city", "country", "line1", "line2", "postal_code", "state"];
    copy_members(method, "billing_details/address", address, &parts);
}

fn copy_members(object: &mut Value, path: &str, given: &Value, names: &[&str]) {
    for name in names {
        if let Some(value) = given.get(*name) {
            object.set(&format!("{path}/{name}"), value.clone());
        }
    }
}

/// A payment method of a typed card, without a customer.
pub(crate) fn from_card(world: &mut World, card: &CardInput) -> Result<String, ApiError> {
    let (kind, (number, shape)) = match cards::read_iban(&card.number) {
        Some(debit) => ("sepa_debit", debit),
        None => ("card", cards::read(card, world.now())?),
    };
    let id = world.id("pm_1");
    world.put(json!({
        "id": id, "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": {
            "address": {
                "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null,
            },
            "email": null, "name": null, "phone": null, "tax_id": null,
        },
        kind: shape, "created": world.now(), "customer": null, "customer_account": null, "livemode": false,
        "metadata": {}, "type": kind, "_number": number, "_set_up": false,
    }));
    Ok(id)
}

/// The id of a payment method; a test token becomes a new one.
pub(crate) fn resolve(world: &mut World, given: &str, param: &str) -> Result<String, ApiError> {
    if let Some(number) = cards::of_token(given) {
        return from_card(
            world,
            &CardInput {
                number: number.to_owned(),
                ..CardInput::default()
            },
        );
    }
    Ok(world
        .require("payment_method", given, param)?
        .text("id")
        .to_owned())
}

/// Attaches a payment method, or a test token, to a customer. Cards that Stripe declines are refused here too.
pub(crate) fn attach(world: &mut World, given: &str, customer: &str) -> Result<String, ApiError> {
    let id = resolve(world, given, "payment_method")?;
    let mut method = world
        .require("payment_method", &id, "payment_method")?
        .clone();
    match method.text("customer") {
        "" => {}
        owner if owner == customer => return Ok(id),
        _ => {
            return Err(ApiError::invalid(
                "The payment method you provided has already been attached to a customer.",
            )
            .code("payment_method_unexpected_state"));
        }
    }
    let card = cards::test_card(method.text("_number"));
    if let Some((code, decline_code)) = card.decline
        && !card.can_be_saved
    {
        return Err(cards::decline(code, decline_code));
    }
    method.set("customer", customer);
    world.announce("payment_method.attached", method);
    Ok(id)
}

/// The customer's payment method of a test token's card, attached now when there is none.
pub(crate) fn attached_token(
    world: &mut World,
    token: &str,
    customer: &str,
) -> Result<String, ApiError> {
    let number = cards::of_token(token).unwrap_or_default();
    let own = world
        .list("payment_method")
        .into_iter()
        .find(|method| method.text("customer") == customer && method.text("_number") == number);
    match own.map(|method| method.text("id").to_owned()) {
        Some(id) => Ok(id),
        None => attach(world, token, customer),
    }
}

/// Whether a card must ask its holder before it can be used now.
pub(crate) fn wants_authentication(method: &Value) -> bool {
    match cards::test_card(method.text("_number")).authentication {
        Authentication::Never => false,
        Authentication::UntilSetUp => !method.flag("_set_up"),
        Authentication::Always => true,
    }
}

/// Notes that its holder agreed to payments without them.
pub(crate) fn set_up(world: &mut World, id: &str) {
    if let Some(mut method) = world.object(id).cloned() {
        method.set("_set_up", true);
        world.put(method);
    }
}

pub(crate) fn detach(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let mut method = world
        .require("payment_method", id, "payment_method")?
        .clone();
    let owner = method.text("customer").to_owned();
    if owner.is_empty() {
        return Err(ApiError::invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
        )
        .code("payment_method_unexpected_state"));
    }
    method.set("customer", Value::Null);
    world.update("payment_method.detached", method.clone());
    forget_default(world, &owner, id);
    Ok(method)
}

/// A detached payment method is nobody's default any more.
fn forget_default(world: &mut World, owner: &str, id: &str) {
    if let Some(mut customer) = world.object(owner).cloned()
        && customer.text("invoice_settings/default_payment_method") == id
    {
        customer.set("invoice_settings/default_payment_method", Value::Null);
        world.update("customer.updated", customer);
    }
    let subscriptions: Vec<Value> = world
        .list("subscription")
        .into_iter()
        .filter(|s| {
            s.text("default_payment_method") == id
                && !matches!(s.text("status"), "canceled" | "incomplete_expired")
        })
        .cloned()
        .collect();
    for mut subscription in subscriptions {
        subscription.set("default_payment_method", Value::Null);
        world.update("customer.subscription.updated", subscription);
    }
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut method = world
        .require("payment_method", id, "payment_method")?
        .clone();
    copy_billing(&mut method, p);
    copy(&mut method, p, &["allow_redisplay"]);
    merge_metadata(&mut method, p);
    for part in ["exp_month", "exp_year"] {
        let path = format!("card/{part}");
        if p.is_set(&path) {
            method.set(&path, p.int(&path));
        }
    }
    world.update("payment_method.updated", method.clone());
    Ok(method)
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return lists::page(&[], p, "/v1/payment_methods");
    }
    customers::live(world, p.text("customer"), "customer")?;
    list_of(world, p.text("customer"), p, "/v1/payment_methods")
}

/// The payment methods of one customer.
pub(crate) fn list_of(
    world: &World,
    customer: &str,
    p: &Value,
    url: &str,
) -> Result<Value, ApiError> {
    let all = world.list("payment_method").into_iter().filter(|method| {
        method.text("customer") == customer && lists::matches(method, p, &["type"])
    });
    lists::page(&all.collect::<Vec<_>>(), p, url)
}
