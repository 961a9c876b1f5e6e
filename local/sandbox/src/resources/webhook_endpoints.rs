//! Webhook endpoints: <https://docs.stripe.com/api/webhook_endpoints>. `delivery` sends to those that are enabled.

use serde_json::{Value, json};

use crate::api::alphanumeric;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, copy, lists, merge_metadata, metadata};
use crate::versions;
use crate::world::World;

/// How many an account can have: <https://docs.stripe.com/webhooks#register-webhook>.
const ENDPOINTS_MAX: usize = 16;

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
    check(p)?;
    if world.list("webhook_endpoint").len() >= ENDPOINTS_MAX {
        return Err(ApiError::invalid(format!(
            "You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints."
        )));
    }
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
    check(p)?;
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

fn check(p: &Value) -> Result<(), ApiError> {
    if p.is_set("url") && url::Url::parse(p.text("url")).is_err() {
        return Err(ApiError::invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
        )
        .code("url_invalid")
        .param("url"));
    }
    // The document knows versions that the sandbox does not render; to deliver another one in silence would be a lie.
    let version = p.text("api_version");
    if !version.is_empty() && !versions::KNOWN.contains(&version) {
        let known = versions::KNOWN.join(", ");
        let message = format!("The sandbox renders events of these versions only: {known}");
        return Err(ApiError::invalid(message).param("api_version"));
    }
    if p.get("enabled_events").is_some() && p.items("enabled_events").is_empty() {
        return Err(ApiError::invalid("Invalid array").param("enabled_events"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const PATH: &str = "/v1/webhook_endpoints";

    fn world() -> World {
        World::open(None, Clock::default(), String::new()).unwrap()
    }

    fn wanted() -> Value {
        json!({ "url": "https://example.com/hook", "enabled_events": ["invoice.paid"], "api_version": versions::NEWEST })
    }

    #[test]
    fn the_secret_is_shown_at_creation_only() {
        let mut world = world();
        let made = world.call("POST", PATH, &wanted()).unwrap();
        assert!(made.text("secret").starts_with("whsec_"), "{made}");
        let its_path = format!("{PATH}/{}", made.text("id"));
        let disabled = world
            .call("POST", &its_path, &json!({ "disabled": true }))
            .unwrap();
        assert_eq!(disabled.text("status"), "disabled");
        let read = world.call("GET", &its_path, &json!({})).unwrap();
        let listed = world.call("GET", PATH, &json!({})).unwrap();
        for shown in [&disabled, &read, listed.at("data/0")] {
            assert_eq!(shown.text("api_version"), versions::NEWEST);
            assert!(
                shown.get("secret").is_none() && shown.get("_secret").is_none(),
                "{shown}"
            );
        }
        let deleted = world.call("DELETE", &its_path, &json!({})).unwrap();
        assert_eq!(deleted.at("deleted"), &json!(true));
        assert_eq!(
            world.call("GET", &its_path, &json!({})).unwrap_err().status,
            404
        );
    }

    #[test]
    fn what_stripe_refuses_is_refused() {
        let mut world = world();
        let mut refused = |name: &str, value: Value| {
            let mut params = wanted();
            params.set(name, value);
            let error = world.call("POST", PATH, &params).unwrap_err();
            error.param.unwrap_or_default().into_string()
        };
        assert_eq!(
            refused("enabled_events", json!(["invoice.payed"])),
            "enabled_events[0]"
        );
        assert_eq!(refused("enabled_events", json!([])), "enabled_events");
        assert_eq!(
            refused("api_version", json!("2026-08-27.dahlia")),
            "api_version"
        );
        assert_eq!(refused("api_version", json!("2024-04-10")), "api_version");
        assert_eq!(refused("url", json!("example.com/hook")), "url");
        assert_eq!(refused("secret", json!("whsec_mine")), "secret");
        let made = world.call("POST", PATH, &wanted()).unwrap();
        let its_path = format!("{PATH}/{}", made.text("id"));
        let version = json!({ "api_version": "2024-06-20" });
        let error = world.call("POST", &its_path, &version).unwrap_err();
        assert_eq!(error.code.as_deref(), Some("parameter_unknown"));
        for _ in 1..ENDPOINTS_MAX {
            world.call("POST", PATH, &wanted()).unwrap();
        }
        let error = world.call("POST", PATH, &wanted()).unwrap_err();
        assert!(error.message.contains("maximum of 16"), "{}", error.message);
    }
}
