//! The account itself, and the events that happened in it.

use serde_json::{Value, json};

use crate::delivery;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, lists};
use crate::world::World;

/// The id of the sandbox's account.
pub(crate) const ACCOUNT: &str = "acct_1Sandbox000000000";

pub(crate) fn retrieve() -> Value {
    json!({
        "id": ACCOUNT, "object": "account", "business_type": null, "charges_enabled": true, "country": "US",
        "created": 1_600_000_000, "default_currency": "usd", "details_submitted": true, "email": "sandbox@example.com",
        "payouts_enabled": true, "type": "standard", "metadata": {},
        "capabilities": { "card_payments": "active", "transfers": "active" },
        "controller": { "type": "account" },
        "external_accounts": {
            "object": "list", "data": [], "has_more": false, "url": format!("/v1/accounts/{ACCOUNT}/external_accounts"),
        },
        "settings": {
            "bacs_debit_payments": { "display_name": null, "service_user_number": null },
            "branding": { "icon": null, "logo": null, "primary_color": null, "secondary_color": null },
            "card_payments": {
                "decline_on": { "avs_failure": false, "cvc_failure": false }, "statement_descriptor_prefix": null,
                "statement_descriptor_prefix_kana": null, "statement_descriptor_prefix_kanji": null,
            },
            "dashboard": { "display_name": "Sandbox", "timezone": "Etc/UTC" },
            "payments": {
                "statement_descriptor": null, "statement_descriptor_kana": null, "statement_descriptor_kanji": null,
            },
        },
    })
}

pub(crate) fn events(
    world: &World,
    route: Route,
    id: &str,
    params: &Value,
) -> Result<Value, ApiError> {
    if route.1 != "events" {
        let event = world.event(id).cloned();
        let mut event = event.ok_or_else(|| ApiError::missing("event", id, "id"))?;
        show_owed(world, &mut event);
        return Ok(event);
    }
    let delivered = params.get("delivery_success").and_then(Value::as_bool);
    let wanted = |event: &&Value| {
        let kind = event.text("type");
        let types = params.items("types");
        (params.at("type").is_null() || fits(kind, params.text("type")))
            && (types.is_empty()
                || types
                    .iter()
                    .any(|wanted| fits(kind, wanted.as_str().unwrap_or_default())))
            && lists::within(event.int("created"), params.at("created"))
            && delivered.is_none_or(|delivered| delivered == (owed(world, event) == 0))
    };
    let events: Vec<&Value> = world.events_newest_first().filter(wanted).collect();
    let mut page = lists::page(&events, params, "/v1/events")?;
    if let Some(Value::Array(events)) = page.get_mut("data") {
        for event in events {
            show_owed(world, event);
        }
    }
    Ok(page)
}

/// Deliveries that Stripe gave up count as failed there; here they are only owed no more.
fn owed(world: &World, event: &Value) -> usize {
    let seq = world.event_number(event.text("id"));
    seq.map_or(0, |seq| delivery::owed(world, seq))
}

fn show_owed(world: &World, event: &mut Value) {
    let owed = owed(world, event);
    event.set("pending_webhooks", json!(owed));
}

/// Whether an event type is this one or matches its wildcard, e.g. `invoice.*`.
fn fits(kind: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == wanted,
    }
}
