//! The calls behind `tollgate webhook-endpoint`: where Stripe sends events, in which version, of which types.
//!
//! A function never makes them. <https://docs.stripe.com/api/webhook_endpoints>

use aws_lc_rs::rand;
use secrecy::SecretString;
use serde::Deserialize;
use stripe_client_core::StripeRequest;
use stripe_misc::webhook_endpoint::{
    CreateWebhookEndpoint, CreateWebhookEndpointEnabledEvents, DeleteWebhookEndpoint,
    ListWebhookEndpoint, UpdateWebhookEndpoint, UpdateWebhookEndpointEnabledEvents,
};
use stripe_shared::ApiVersion;

use super::{API_VERSION, Call, Error, List, PAGE_SIZE, Stripe, WithId, idempotency_key};
use crate::event::types_acted_on;

/// A webhook endpoint, as far as a sync looks at it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct WebhookEndpoint {
    /// `we_…`
    pub id: String,
    /// Where it sends to.
    pub url: String,
    /// What its events are written in; none follows the account's default. Set at creation only.
    pub api_version: Option<String>,
    /// The event types that it sends; `*` is nearly all.
    pub enabled_events: Vec<String>,
    /// `enabled` or `disabled`.
    pub status: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

#[derive(Deserialize)]
struct Created {
    secret: String,
    #[serde(flatten)]
    endpoint: WebhookEndpoint,
}

impl WebhookEndpoint {
    /// Whether it sends at all.
    pub fn is_enabled(&self) -> bool {
        self.status == "enabled"
    }
}

impl Stripe {
    /// The account's endpoints, newest first. Stripe allows 16.
    pub async fn webhook_endpoints(&self, call: Call<'_>) -> Result<Vec<WebhookEndpoint>, Error> {
        let request = ListWebhookEndpoint::new().limit(PAGE_SIZE);
        let page: List<WebhookEndpoint> = self.send(call, request.build(), None).await?;
        if page.has_more {
            return Err(Error::NotUnderstood(
                "too many webhook endpoints".to_owned(),
            ));
        }
        Ok(page.data)
    }

    /// Creates an endpoint for the types that are acted on, in our version, and returns it with its signing
    /// secret, which Stripe's API never shows again. Each call makes another endpoint; only its own attempts
    /// share a key.
    pub async fn create_webhook_endpoint(
        &self,
        call: Call<'_>,
        url: &str,
    ) -> Result<(WebhookEndpoint, SecretString), Error> {
        let types = types_acted_on().filter_map(|name| name.parse().ok());
        let types: Vec<CreateWebhookEndpointEnabledEvents> = types.collect();
        // Parsing cannot fail: a version that the builders do not list stays as it is.
        let api_version: Option<ApiVersion> = API_VERSION.parse().ok();
        let mut request = CreateWebhookEndpoint::new(types, url).description("Tollgate");
        if let Some(api_version) = api_version {
            request = request.api_version(api_version);
        }
        let mut once = [0; 16];
        rand::fill(&mut once).map_err(|_| Error::Unavailable("no random numbers".to_owned()))?;
        let key = idempotency_key(&["webhook endpoint", &hex::encode(once)]);
        let created: Created = self.send(call, request.build(), Some(&key)).await?;
        Ok((created.endpoint, SecretString::from(created.secret)))
    }

    /// Gives an endpoint the types that are acted on, and switches it on.
    pub async fn update_webhook_endpoint(&self, call: Call<'_>, id: &str) -> Result<(), Error> {
        let types = types_acted_on().filter_map(|name| name.parse().ok());
        let types: Vec<UpdateWebhookEndpointEnabledEvents> = types.collect();
        let request = UpdateWebhookEndpoint::new(id)
            .enabled_events(types)
            .disabled(false);
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// Switches an endpoint off; Stripe then gives up what it still owes to it.
    pub async fn disable_webhook_endpoint(&self, call: Call<'_>, id: &str) -> Result<(), Error> {
        let request = UpdateWebhookEndpoint::new(id).disabled(true);
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// Deletes an endpoint.
    pub async fn delete_webhook_endpoint(&self, call: Call<'_>, id: &str) -> Result<(), Error> {
        let _: WithId = self
            .send(call, DeleteWebhookEndpoint::new(id).build(), None)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builders_know_every_type_that_is_acted_on() {
        for name in types_acted_on() {
            let create: CreateWebhookEndpointEnabledEvents = name.parse().unwrap();
            let update: UpdateWebhookEndpointEnabledEvents = name.parse().unwrap();
            assert!(
                !matches!(create, CreateWebhookEndpointEnabledEvents::Unknown(_))
                    && !matches!(update, UpdateWebhookEndpointEnabledEvents::Unknown(_)),
                "{name}"
            );
            assert_eq!((create.as_str(), update.as_str()), (name, name));
        }
    }
}
