//! The values a stack runs with: the functions' environment, and what `dev.env` holds.

use super::Options;
use crate::data::{self, Data};
use crate::dynamodb::{CREDENTIALS, REGION, TABLE_NAME};
use crate::issuer::AUDIENCE;
use crate::listeners::Addresses;
use crate::stripe::{SANDBOX_SECRET_KEY, Stripe};

/// Secrets that this machine makes for itself, once for as long as its data is kept.
pub(super) struct Secrets {
    /// Signs the sandbox's webhooks.
    pub(super) webhook: String,
    /// Authenticates the internal route.
    pub(super) internal: String,
}

impl Secrets {
    pub(super) fn of(data: &Data) -> Result<Self, data::Error> {
        Ok(Self {
            webhook: data.secret("webhook_secret", "whsec_")?,
            internal: data.secret("internal_secret", "")?,
        })
    }
}

/// The environment of every function.
pub(super) fn environment(
    addresses: &Addresses,
    secrets: &Secrets,
    options: &Options,
) -> Vec<(String, String)> {
    let (access_key_id, secret_access_key) = CREDENTIALS;
    let mut allowed_urls = vec![addresses.gateway.clone()];
    allowed_urls.extend(
        options
            .allowed_urls
            .iter()
            .filter(|url| **url != addresses.gateway)
            .cloned(),
    );
    let mut variables = vec![
        ("TABLE_NAME", TABLE_NAME.to_owned()),
        ("INTERNAL_SECRET", secrets.internal.clone()),
        ("OIDC_ISSUERS", addresses.issuer.clone()),
        ("OIDC_AUDIENCE", AUDIENCE.to_owned()),
        ("ALLOWED_URLS", allowed_urls.join(",")),
        ("LIVEMODE", "false".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", addresses.dynamodb.clone()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", access_key_id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key.to_owned()),
    ];
    match &options.stripe {
        Stripe::Sandbox => {
            variables.push(("STRIPE_SECRET_KEY", SANDBOX_SECRET_KEY.to_owned()));
            variables.push(("STRIPE_WEBHOOK_SECRET", secrets.webhook.clone()));
        }
        Stripe::TestMode {
            secret_key,
            webhook_secret,
        } => {
            variables.push(("STRIPE_SECRET_KEY", secret_key.clone()));
            variables.push(("STRIPE_WEBHOOK_SECRET", webhook_secret.clone()));
        }
    }
    variables.extend(
        addresses
            .sandbox
            .clone()
            .map(|url| ("STRIPE_API_BASE", url)),
    );
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
