//! The Customer Portal's sessions and configurations: <https://docs.stripe.com/api/customer_portal>.

use serde_json::{Value, json};

use crate::api::alphanumeric;
use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, copy, customers, lists, merge_metadata, metadata};
use crate::spec::missing;
use crate::world::World;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "billing_portal/sessions") => create_session(world, p),
        ("GET", "billing_portal/configurations") => {
            let all = world.list("billing_portal.configuration");
            let wanted = all
                .into_iter()
                .filter(|it| lists::matches(it, p, &["active", "is_default"]));
            lists::page(
                &wanted.collect::<Vec<_>>(),
                p,
                "/v1/billing_portal/configurations",
            )
        }
        ("POST", "billing_portal/configurations") => Ok(create_configuration(world, p, false)),
        ("GET", _) => world
            .require("billing_portal.configuration", id, "configuration")
            .cloned(),
        _ => update_configuration(world, id, p),
    }
}

fn create_session(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return Err(missing("customer"));
    }
    let customer = customers::live(world, p.text("customer"), "customer")?
        .text("id")
        .to_owned();
    if p.is_set("return_url") && url::Url::parse(p.text("return_url")).is_err() {
        return Err(ApiError::invalid("Not a valid URL")
            .code("url_invalid")
            .param("return_url"));
    }
    let configuration = match p.text("configuration") {
        "" => default_configuration(world),
        id => world
            .require("billing_portal.configuration", id, "configuration")?
            .text("id")
            .to_owned(),
    };
    let id = world.id("bps_1");
    let token = alphanumeric(40);
    let session = json!({
        "id": id, "object": "billing_portal.session", "configuration": configuration, "created": world.now(),
        "customer": customer, "customer_account": null, "flow": flow(p), "livemode": false, "locale": p.at("locale"),
        "on_behalf_of": null, "return_url": p.at("return_url"),
        "url": format!("{}/p/session/{id}_{token}", world.public_url()), "_token": token,
    });
    world.announce("billing_portal.session.created", session.clone());
    Ok(session)
}

fn flow(p: &Value) -> Value {
    let given = p.at("flow_data");
    if !given.is_set("type") {
        return Value::Null;
    }
    let mut flow = json!({
        "after_completion": { "hosted_confirmation": null, "redirect": null, "type": "portal_homepage" },
        "subscription_cancel": null, "subscription_update": null, "subscription_update_confirm": null,
    });
    flow.set("type", given.text("type"));
    if let Some(cancel) = given.get("subscription_cancel") {
        flow.set(
            "subscription_cancel",
            json!({ "retention": null, "subscription": cancel.text("subscription") }),
        );
    }
    copy(&mut flow, given, &["subscription_update"]);
    flow
}

fn default_configuration(world: &World) -> String {
    let all = world.list("billing_portal.configuration");
    all.iter()
        .find(|configuration| configuration.flag("is_default"))
        .map_or(String::new(), |it| it.text("id").to_owned())
}

/// A configuration; what its features say is what the Portal page offers.
fn create_configuration(world: &mut World, p: &Value, is_default: bool) -> Value {
    let mut configuration = json!({
        "id": world.id("bpc_1"), "object": "billing_portal.configuration", "active": true, "application": null,
        "business_profile": { "headline": null, "privacy_policy_url": null, "terms_of_service_url": null },
        "created": world.now(), "default_return_url": p.at("default_return_url"),
        "features": {
            "customer_update": { "allowed_updates": ["email", "tax_id"], "enabled": true },
            "invoice_history": { "enabled": true },
            "payment_method_update": { "enabled": true, "payment_method_configuration": null },
            "subscription_cancel": {
                "cancellation_reason": {
                    "enabled": false,
                    "options": [
                        "too_expensive", "missing_features", "switched_service", "unused", "customer_service",
                        "too_complex", "low_quality", "other",
                    ],
                },
                "enabled": true, "mode": "at_period_end", "proration_behavior": "none",
            },
            "subscription_update": {
                "billing_cycle_anchor": null, "default_allowed_updates": ["price"], "enabled": true,
                "proration_behavior": "create_prorations",
                "schedule_at_period_end": { "conditions": [] }, "trial_update_behavior": "end_trial",
            },
        },
        "is_default": is_default, "livemode": false, "login_page": { "enabled": false, "url": null },
        "metadata": metadata(p), "name": p.at("name"), "updated": world.now(),
    });
    apply_features(&mut configuration, p);
    if is_default {
        world.put(configuration.clone());
    } else {
        world.announce(
            "billing_portal.configuration.created",
            configuration.clone(),
        );
    }
    configuration
}

/// Switches of features and what they are bound to, as far as the Portal page knows them.
fn apply_features(configuration: &mut Value, p: &Value) {
    let Value::Object(features) = p.at("features") else {
        return;
    };
    for (name, feature) in features {
        if let Some(enabled) = feature.get("enabled") {
            configuration.set(
                &format!("features/{name}/enabled"),
                matches!(enabled.as_str(), Some("true" | "1")),
            );
        }
        for member in ["mode", "proration_behavior"] {
            if let Some(value) = feature.get(member) {
                configuration.set(&format!("features/{name}/{member}"), value.clone());
            }
        }
    }
}

fn update_configuration(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut configuration = world
        .require("billing_portal.configuration", id, "configuration")?
        .clone();
    copy(
        &mut configuration,
        p,
        &["active", "default_return_url", "name"],
    );
    merge_metadata(&mut configuration, p);
    apply_features(&mut configuration, p);
    configuration.set("updated", world.now());
    world.update(
        "billing_portal.configuration.updated",
        configuration.clone(),
    );
    Ok(configuration)
}

impl World {
    /// Puts in place what a new account has.
    pub(crate) fn furnish(&mut self) {
        if self.list("billing_portal.configuration").is_empty() {
            create_configuration(self, &json!({}), true);
        }
    }
}
