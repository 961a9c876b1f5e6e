//! Webhook endpoints: <https://docs.stripe.com/api/webhook_endpoints>. `delivery` sends to those that are enabled.

use serde_json::{Value, json};

use crate::api::alphanumeric;
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
        ("POST", "webhook_endpoints") => create(world, p),
        ("GET", "webhook_endpoints") => {
            lists::page(&world.list("webhook_endpoint"), p, "/v1/webhook_endpoints")
        }
        ("GET", _) => world
            .require("webhook_endpoint", id, "webhook_endpoint")
            .cloned(),
        ("DELETE", _) => {
            world.require("webhook_endpoint", id, "webhook_endpoint")?;
            world.remove(id);
            Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
        }
        _ => update(world, id, p),
    }
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    check_url(p)?;
    let secret = format!("whsec_{}", alphanumeric(32));
    let mut endpoint = json!({
        "id": world.id("we_1"), "object": "webhook_endpoint", "api_version": p.at("api_version"), "application": null,
        "created": world.now(), "description": p.at("description"), "enabled_events": p.at("enabled_events"),
        "livemode": false, "metadata": metadata(p), "status": "enabled", "url": p.text("url"),
        "_secret": secret,
    });
    world.put(endpoint.clone());
    // The secret is shown once.
    endpoint.set("secret", secret);
    Ok(endpoint)
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    check_url(p)?;
    let mut endpoint = world
        .require("webhook_endpoint", id, "webhook_endpoint")?
        .clone();
    copy(&mut endpoint, p, &["description", "enabled_events", "url"]);
    merge_metadata(&mut endpoint, p);
    if let Some(disabled) = p.get("disabled").and_then(Value::as_bool) {
        endpoint.set("status", if disabled { "disabled" } else { "enabled" });
    }
    world.put(endpoint.clone());
    Ok(endpoint)
}

fn check_url(p: &Value) -> Result<(), ApiError> {
    if p.is_set("url") && url::Url::parse(p.text("url")).is_err() {
        return Err(ApiError::invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
        )
        .code("url_invalid")
        .param("url"));
    }
    Ok(())
}
