//! `expand[]`: ids become objects, and members that are only shown on request are added.
//!
//! <https://docs.stripe.com/api/expanding_objects>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::resources::lists;
use crate::world::World;

/// How deep Stripe expands.
const DEPTH_LIMIT: usize = 4;

pub(crate) fn expand(world: &World, answer: &mut Value, params: &Value) -> Result<(), ApiError> {
    for path in params.items("expand") {
        let path = path.as_str().unwrap_or_default();
        let keys: Vec<&str> = path.split('.').collect();
        if keys.len() > DEPTH_LIMIT {
            return Err(ApiError::invalid(format!(
                "You cannot expand more than {DEPTH_LIMIT} levels of a property ({path})."
            ))
            .param("expand"));
        }
        walk(world, answer, &keys, path)?;
    }
    Ok(())
}

fn walk(world: &World, value: &mut Value, keys: &[&str], path: &str) -> Result<(), ApiError> {
    let Some((key, rest)) = keys.split_first() else {
        return Ok(());
    };
    if let Value::Array(items) = value {
        return items
            .iter_mut()
            .try_for_each(|item| walk(world, item, keys, path));
    }
    if value.is_null() {
        return Ok(());
    }
    let hidden = on_request(world, value, key);
    let Value::Object(members) = value else {
        return Err(refusal(path));
    };
    if let Some(hidden) = hidden {
        members.insert((*key).to_owned(), hidden);
    }
    let Some(member) = members.get_mut(*key) else {
        return Err(refusal(path));
    };
    if let Some(id) = member.as_str() {
        let object = world.object(id).ok_or_else(|| refusal(path))?;
        *member = public(object);
    } else if let Value::Array(items) = member {
        for item in items.iter_mut() {
            if let Some(object) = item.as_str().and_then(|id| world.object(id)) {
                *item = public(object);
            }
        }
    }
    walk(world, member, rest, path)
}

fn refusal(path: &str) -> ApiError {
    ApiError::invalid(format!(
        "This property cannot be expanded ({path}). You may want to try expanding a different property."
    ))
    .param("expand")
}

/// Members that an object shows only when asked.
fn on_request(world: &World, object: &Value, key: &str) -> Option<Value> {
    let id = object.text("id");
    let stored = world.object(id);
    let list = |items: &[&Value], url: String| {
        lists::page(items, &json!({"limit": 10}), &url)
            .ok()
            .map(|l| public(&l))
    };
    match (object.text("object"), key) {
        ("price", "currency_options") => Some(public(stored?.at("_currency_options"))),
        ("checkout.session", "line_items") => {
            let items: Vec<&Value> = stored?.items("_line_items").iter().collect();
            list(&items, format!("/v1/checkout/sessions/{id}/line_items"))
        }
        ("invoice", "payments") => {
            let payments = world.list("invoice_payment");
            let payments: Vec<&Value> = payments
                .into_iter()
                .filter(|payment| payment.text("invoice") == id)
                .collect();
            list(&payments, "/v1/invoice_payments".to_owned())
        }
        ("invoice", "confirmation_secret") => {
            let intent = world.object(stored?.text("_payment_intent"));
            Some(intent.map_or(Value::Null, |intent| {
                json!({ "client_secret": intent.text("client_secret"), "type": "payment_intent" })
            }))
        }
        ("customer", "subscriptions") => {
            let all = world.list("subscription");
            let live = all.into_iter().filter(|subscription| {
                subscription.text("customer") == id
                    && !matches!(
                        subscription.text("status"),
                        "canceled" | "incomplete_expired"
                    )
            });
            list(
                &live.collect::<Vec<_>>(),
                format!("/v1/customers/{id}/subscriptions"),
            )
        }
        ("charge", "refunds") => {
            let refunds: Vec<&Value> = world
                .list("refund")
                .into_iter()
                .filter(|r| r.text("charge") == id)
                .collect();
            list(&refunds, format!("/v1/charges/{id}/refunds"))
        }
        _ => None,
    }
}
