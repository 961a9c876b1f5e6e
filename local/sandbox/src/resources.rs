//! What Stripe's objects look like and how they live, one module for each kind.
//!
//! `World::execute` is the one place where endpoints meet their code.

mod account;
mod balance;
mod cards;
mod charges;
mod checkout;
mod coupons;
mod customers;
mod cycle;
pub(crate) mod due;
mod expand;
mod invoice_lines;
mod invoices;
mod lists;
mod operations;
mod payment_intents;
mod payment_methods;
mod portal;
mod prices;
mod products;
mod prorations;
mod refunds;
mod setup_intents;
mod subscription_changes;
mod subscription_outcomes;
mod subscriptions;
#[cfg(test)]
mod tests;
mod webhook_endpoints;

use serde_json::Value;

use crate::api::unrecognized;
use crate::error::ApiError;
use crate::json::{Fields, public};
use crate::spec::{self, Endpoint};
use crate::world::World;

impl World {
    /// One API request in process, with parameters as in JSON: without authentication, idempotency or rate limit.
    ///
    /// # Errors
    /// What Stripe would refuse.
    pub fn call(&mut self, method: &str, path: &str, params: &Value) -> Result<Value, ApiError> {
        self.tick();
        let (endpoint, ids) =
            spec::endpoint(method, path).ok_or_else(|| unrecognized(method, path))?;
        let params = spec::check(endpoint, &stringly(params))?;
        self.execute(endpoint, &ids, &params)
    }

    /// Carries out a checked request and renders its answer.
    pub(crate) fn execute(
        &mut self,
        endpoint: &Endpoint,
        ids: &[&str],
        params: &Value,
    ) -> Result<Value, ApiError> {
        let answer = self
            .dispatch(endpoint, ids, params)
            .map_err(|error| place(error, ids))?;
        self.open_disputes();
        let mut answer = public(&answer);
        expand::expand(self, &mut answer, params)?;
        Ok(answer)
    }

    fn dispatch(
        &mut self,
        endpoint: &Endpoint,
        ids: &[&str],
        params: &Value,
    ) -> Result<Value, ApiError> {
        let id = ids.first().copied().unwrap_or_default();
        let second = ids.get(1).copied().unwrap_or_default();
        let resource = endpoint.path.split('/').nth(2).unwrap_or_default();
        let route = (
            endpoint.method,
            endpoint.path.get("/v1/".len()..).unwrap_or_default(),
        );
        match resource {
            "account" => Ok(account::retrieve()),
            "customers" => customers::route(self, route, id, second, params),
            "products" => products::route(self, route, id, params),
            "prices" => prices::route(self, route, id, params),
            "coupons" | "promotion_codes" => coupons::route(self, route, id, params),
            "checkout" => checkout::route(self, route, id, params),
            "billing_portal" => portal::route(self, route, id, params),
            "subscriptions" | "subscription_items" => subscriptions::route(self, route, id, params),
            "invoices" | "invoice_payments" | "invoiceitems" => {
                invoices::endpoints::route(self, route, id, params)
            }
            "payment_intents" => payment_intents::route(self, route, id, params),
            "setup_intents" => setup_intents::route(self, route, id, params),
            "charges" => charges::route(self, route, id, params),
            "refunds" | "disputes" => refunds::route(self, route, id, params),
            "payment_methods" => payment_methods::route(self, route, id, params),
            "balance" => Ok(balance::retrieve(self)),
            "balance_transactions" => self.require("balance_transaction", id, "id").cloned(),
            "webhook_endpoints" => webhook_endpoints::route(self, route, id, params),
            "events" => account::events(self, route, id, params),
            _ => Err(unrecognized(endpoint.method, endpoint.path)),
        }
    }

    /// An object of a kind, or Stripe's 404.
    pub(crate) fn require(&self, kind: &str, id: &str, param: &str) -> Result<&Value, ApiError> {
        self.object(id)
            .filter(|object| object.text("object") == kind)
            .ok_or_else(|| ApiError::missing(&noun(kind), id, param))
    }
}

/// What is missing is a 404 when the path names it, and a 400 when a parameter does.
fn place(error: ApiError, ids: &[&str]) -> ApiError {
    let in_path = ids
        .iter()
        .any(|id| error.message.ends_with(&format!("'{id}'")));
    if error.code.as_deref() != Some("resource_missing") || in_path {
        return error;
    }
    ApiError {
        status: 400,
        ..error
    }
}

/// A method and a path pattern without `/v1/`.
pub(crate) type Route = (&'static str, &'static str);

/// The word that Stripe uses for a kind of object in its messages.
fn noun(kind: &str) -> String {
    match kind {
        "payment_method" => "PaymentMethod".to_owned(),
        "coupon" | "customer" | "dispute" | "invoice" | "price" | "product" | "subscription" => {
            kind.to_owned()
        }
        other => other.to_owned(),
    }
}

/// The leaves as the strings that a form would carry, lists as numbered members.
fn stringly(value: &Value) -> Value {
    match value {
        Value::Null => Value::String(String::new()),
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::String(_) => value.clone(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), stringly(item)))
            .collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), stringly(value)))
            .collect(),
    }
}

/// Applies `metadata` as Stripe does: given keys are set, emptied ones removed, an emptied map clears all.
pub(crate) fn merge_metadata(object: &mut Value, params: &Value) {
    let Some(given) = params.get("metadata") else {
        return;
    };
    let mut metadata = if given.is_null() {
        Value::Null
    } else {
        object.at("metadata").clone()
    };
    if !metadata.is_object() {
        metadata = Value::Object(serde_json::Map::new());
    }
    if let (Value::Object(members), Value::Object(given)) = (&mut metadata, given) {
        for (name, value) in given {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    object.set("metadata", metadata);
}

/// Metadata of a new object.
pub(crate) fn metadata(params: &Value) -> Value {
    let mut holder = Value::Null;
    holder.set("metadata", Value::Object(serde_json::Map::new()));
    merge_metadata(&mut holder, params);
    holder.at("metadata").clone()
}

/// Copies the members that a request gives.
pub(crate) fn copy(object: &mut Value, params: &Value, names: &[&str]) {
    for name in names {
        if let Some(value) = params.get(*name) {
            object.set(name, value.clone());
        }
    }
}

/// Sets all members that another object has.
pub(crate) fn copy_all(object: &mut Value, members: &Value) {
    let Value::Object(members) = members else {
        return;
    };
    for (name, value) in members {
        object.set(name, value.clone());
    }
}
