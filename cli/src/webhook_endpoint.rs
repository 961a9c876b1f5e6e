//! `tollgate webhook-endpoint`: makes Stripe send exactly the events that are acted on, in the API version that
//! this code is pinned to.
//!
//! Here it is decided what to do, from what Stripe has; `command` shows and does it, `vault` keeps the signing
//! secret. Stripe sets an endpoint's version at its creation only, so another version, like another secret, means
//! another endpoint: it is made beside the former, which is retired once nothing is owed to it.

pub mod command;
mod vault;

use std::collections::BTreeSet;
use std::fmt;

use shared::config::Environment;
use shared::event::types_acted_on;
use shared::stripe::{API_VERSION, WebhookEndpoint};
use url::Url;

/// Where the webhook function listens, behind whatever host.
const WEBHOOK_PATH: &str = "/api/webhooks/stripe";

/// Why nothing is done. Each says what to do instead.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The address cannot be the webhook function's.
    #[error("--url {url} {why}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it, and what to give instead.
        why: &'static str,
    },
    /// The only enabled endpoint there speaks another version.
    #[error(
        "{id} sends its events in {version}, not {API_VERSION}, and Stripe sets a version at creation only. Tollgate \
         reads that version too, so there is no hurry. Run this again with --replace: it makes another endpoint beside \
         {id} and says how to retire {id} without losing an event"
    )]
    OtherVersion {
        /// The endpoint.
        id: String,
        /// Its version.
        version: String,
    },
    /// There are several already.
    #[error(
        "{ids} deliver there already: --replace would make one more. Retire those that are to go: tollgate \
         webhook-endpoint retire we_…"
    )]
    Several {
        /// The endpoints.
        ids: String,
    },
    /// There is no such endpoint.
    #[error(
        "this Stripe account has no webhook endpoint {0}; sync --dry-run names those of an address"
    )]
    NoSuchEndpoint(String),
    /// No other endpoint would take over.
    #[error(
        "no other enabled endpoint sends the same events in {API_VERSION} to {url}: retiring {id} would lose events. \
         First run: tollgate webhook-endpoint sync --url {url} --replace"
    )]
    NoSuccessor {
        /// The endpoint.
        id: String,
        /// Where it sends to.
        url: String,
    },
}

/// What a sync does at Stripe.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// An endpoint is made.
    Create {
        /// The endpoint that it is to replace, which goes on sending.
        beside: Option<String>,
    },
    /// An endpoint gets the types that are acted on, and is switched on.
    Update {
        /// Its id.
        id: String,
        /// Types that it does not send yet.
        missing: Vec<String>,
        /// Types that it sends for nothing.
        surplus: Vec<String>,
        /// Whether it was switched off.
        was_disabled: bool,
    },
}

/// What a sync will do, worked out from what Stripe has now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Nothing when Stripe is as it should be.
    pub action: Option<Action>,
    /// Further enabled endpoints that send to the same address.
    pub others: Vec<WebhookEndpoint>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { beside } => {
                let types = types_acted_on().count();
                write!(
                    f,
                    "+ webhook endpoint ({types} event types, version {API_VERSION})"
                )?;
                match beside {
                    Some(former) => write!(f, " beside {former}"),
                    None => Ok(()),
                }
            }
            Self::Update {
                id,
                missing,
                surplus,
                was_disabled,
            } => {
                write!(f, "~ webhook endpoint {id}")?;
                if *was_disabled {
                    write!(f, "\n    is switched on")?;
                }
                for name in missing {
                    write!(f, "\n    + {name}")?;
                }
                for name in surplus {
                    write!(f, "\n    - {name}")?;
                }
                Ok(())
            }
        }
    }
}

/// Checks the address of the webhook function.
///
/// # Errors
/// When Stripe could not deliver there, or when another function listens.
pub fn checked(url: &str, environment: &Environment) -> Result<Url, Refused> {
    let refused = |why| Refused::Url {
        url: url.to_owned(),
        why,
    };
    let parsed = Url::parse(url).map_err(|_| {
        refused("is no address: give all of it, https://…/api/webhooks/stripe (the stack's output WebhookUrl)")
    })?;
    let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_sandbox = environment.get("STRIPE_API_BASE").is_some();
    if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_local) {
        return Err(refused(
            "is not https://, and what is sent there can be read on the way",
        ));
    }
    if is_local && !is_sandbox {
        return Err(refused(
            "is this machine, where Stripe cannot deliver: use `stripe listen --forward-to` with that address instead",
        ));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refused(
            "holds a password: leave it out, deliveries are signed",
        ));
    }
    if !parsed.path().ends_with(WEBHOOK_PATH) || parsed.fragment().is_some() {
        return Err(refused(
            "does not end in /api/webhooks/stripe, where the webhook function listens",
        ));
    }
    Ok(parsed)
}

/// Works out what to do so that the events arrive at `url`; with `replace`, so that they arrive from one more
/// endpoint, of our version and with a new secret.
///
/// # Errors
/// When it cannot be done without a decision.
pub fn plan(found: &[WebhookEndpoint], url: &Url, replace: bool) -> Result<Plan, Refused> {
    let there = |endpoint: &&WebhookEndpoint| Url::parse(&endpoint.url).as_ref() == Ok(url);
    let (enabled, disabled): (Vec<&WebhookEndpoint>, Vec<_>) = found
        .iter()
        .filter(there)
        .partition(|endpoint| endpoint.is_enabled());
    if replace {
        return match enabled.as_slice() {
            [] => Ok(Plan::create(None)),
            [former] => Ok(Plan {
                others: vec![(*former).clone()],
                ..Plan::create(Some(former.id.clone()))
            }),
            several => Err(Refused::Several {
                ids: several
                    .iter()
                    .map(|endpoint| endpoint.id.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        };
    }
    let newest = |endpoints: &[&WebhookEndpoint]| {
        let ours = endpoints
            .iter()
            .filter(|endpoint| is_of_our_version(endpoint));
        ours.max_by_key(|endpoint| endpoint.created)
            .map(|endpoint| (*endpoint).clone())
    };
    let current = match (newest(&enabled), enabled.first(), newest(&disabled)) {
        (Some(current), _, _) | (None, None, Some(current)) => current,
        (None, Some(other), _) => {
            return Err(Refused::OtherVersion {
                id: other.id.clone(),
                version: shown_version(other).to_owned(),
            });
        }
        (None, None, None) => return Ok(Plan::create(None)),
    };
    let others = enabled
        .into_iter()
        .filter(|endpoint| endpoint.id != current.id);
    Ok(Plan {
        action: difference(&current),
        others: others.cloned().collect(),
    })
}

/// The endpoint to retire, and the one that takes over.
///
/// # Errors
/// When there is no such endpoint, or none that takes over.
pub fn succession<'e>(
    found: &'e [WebhookEndpoint],
    id: &str,
) -> Result<(&'e WebhookEndpoint, &'e WebhookEndpoint), Refused> {
    let former = found.iter().find(|endpoint| endpoint.id == id);
    let former = former.ok_or_else(|| Refused::NoSuchEndpoint(id.to_owned()))?;
    let takes_over = |other: &&WebhookEndpoint| {
        other.id != former.id
            && other.url == former.url
            && other.is_enabled()
            && is_of_our_version(other)
            && difference(other).is_none()
    };
    let successor = found
        .iter()
        .filter(takes_over)
        .max_by_key(|other| other.created);
    let successor = successor.ok_or_else(|| Refused::NoSuccessor {
        id: id.to_owned(),
        url: former.url.clone(),
    })?;
    Ok((former, successor))
}

impl Plan {
    fn create(beside: Option<String>) -> Self {
        Self {
            action: Some(Action::Create { beside }),
            others: Vec::new(),
        }
    }
}

fn difference(endpoint: &WebhookEndpoint) -> Option<Action> {
    let wanted: BTreeSet<&str> = types_acted_on().collect();
    let sent: BTreeSet<&str> = endpoint.enabled_events.iter().map(String::as_str).collect();
    let owned = |names: Vec<&&str>| names.into_iter().map(|name| (*name).to_owned()).collect();
    let was_disabled = !endpoint.is_enabled();
    (sent != wanted || was_disabled).then(|| Action::Update {
        id: endpoint.id.clone(),
        missing: owned(wanted.difference(&sent).collect()),
        surplus: owned(sent.difference(&wanted).collect()),
        was_disabled,
    })
}

fn is_of_our_version(endpoint: &WebhookEndpoint) -> bool {
    endpoint.api_version.as_deref() == Some(API_VERSION)
}

/// The version of an endpoint as it is said.
fn shown_version(endpoint: &WebhookEndpoint) -> &str {
    endpoint
        .api_version
        .as_deref()
        .unwrap_or("the account's default version")
}

#[cfg(test)]
mod tests;
