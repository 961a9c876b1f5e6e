//! Who receives webhooks: the receiver given at the start, endpoints created over the API, sessions of the Stripe CLI.

use serde_json::Value;

use super::job::{CLI_PREFIX, DEFAULT_TARGET};
use super::{HAS_DEFAULT, SWITCHED_OFF};
use crate::json::Fields;
use crate::{API_VERSION, Sandbox, World};

/// A receiver of webhooks.
pub(super) struct Target {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) api_version: String,
    enabled_events: Vec<String>,
}

/// The ids of all receivers that want events of this type.
pub(super) fn receivers(sandbox: &Sandbox, world: &World, event_type: &str) -> Vec<String> {
    let default = default_is_expected(sandbox, world).then(|| DEFAULT_TARGET.to_owned());
    let endpoints = world.list("webhook_endpoint");
    let endpoints = endpoints
        .iter()
        .rev()
        .filter_map(|endpoint| target(sandbox, world, endpoint.text("id")));
    let endpoints = endpoints
        .filter(|target| target.wants(event_type))
        .map(|target| target.id);
    let sessions = sandbox
        .deliveries()
        .state()
        .sessions
        .keys()
        .map(|id| format!("{CLI_PREFIX}{id}"))
        .collect::<Vec<_>>();
    default
        .into_iter()
        .chain(endpoints)
        .chain(sessions)
        .collect()
}

/// Whether events are owed to the default receiver: it is known, or it was before a restart and is not known again yet.
fn default_is_expected(sandbox: &Sandbox, world: &World) -> bool {
    let comes_back =
        world.kv_get(HAS_DEFAULT).is_some() && !sandbox.deliveries().state().default_seen;
    world.kv_get(SWITCHED_OFF).is_none() && (sandbox.webhook().is_some() || comes_back)
}

/// A receiver by its id; `None` when it is gone or switched off, which ends its retries too:
/// <https://docs.stripe.com/webhooks#disable>.
pub(super) fn target(sandbox: &Sandbox, world: &World, id: &str) -> Option<Target> {
    if id == DEFAULT_TARGET {
        let webhook = sandbox.webhook()?;
        return Some(Target {
            id: id.to_owned(),
            url: webhook.url,
            secret: webhook.secret,
            api_version: API_VERSION.to_owned(),
            enabled_events: vec!["*".to_owned()],
        });
    }
    let endpoint = world.object(id)?;
    if endpoint.text("status") == "disabled" {
        return None;
    }
    let version = endpoint.text("api_version");
    let enabled = endpoint
        .items("enabled_events")
        .iter()
        .filter_map(Value::as_str);
    Some(Target {
        id: id.to_owned(),
        url: endpoint.text("url").to_owned(),
        secret: endpoint.text("_secret").to_owned(),
        api_version: if version.is_empty() {
            API_VERSION
        } else {
            version
        }
        .to_owned(),
        enabled_events: enabled.map(str::to_owned).collect(),
    })
}

impl Target {
    fn wants(&self, event_type: &str) -> bool {
        self.enabled_events
            .iter()
            .any(|enabled| enabled == "*" || enabled == event_type)
    }
}
