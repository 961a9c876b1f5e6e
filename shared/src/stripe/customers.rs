//! Calls on behalf of a user: their customer, their Checkout Session, their Portal session.

use std::collections::HashMap;

use serde::Deserialize;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_checkout::checkout_session as session;
use stripe_client_core::StripeRequest;
use stripe_core::customer::{CreateCustomer, UpdateCustomer};
use stripe_shared::{CheckoutSessionId, CheckoutSessionMode};

use super::{Call, Error, Stripe, WithId, currency, idempotency_key};
use crate::account::{Checkout, Purchase, PurchaseKind, Session};
use crate::event::USER_ID_KEY;
use crate::ids::{CustomerId, SessionId, UserId};

/// How a Checkout Session stands. <https://docs.stripe.com/api/checkout/sessions/object#checkout_session_object-status>
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Can still be paid.
    Open,
    /// Was paid, or its payment is on the way.
    Complete,
    /// Can never be paid.
    Expired,
    /// A word that is not known here; treated as if it could still be paid.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct CreatedSession {
    id: SessionId,
    url: Option<String>,
}

#[derive(Deserialize)]
struct StatusOfSession {
    status: Option<SessionStatus>,
}

#[derive(Deserialize)]
struct WithUrl {
    url: String,
}

impl Stripe {
    /// Creates the user's customer, or finds again the one that the same call created before: the
    /// idempotency key is made of the user and of how many attempts failed for good.
    pub async fn create_customer(
        &self,
        call: Call<'_>,
        user_id: &UserId,
        attempts: u32,
    ) -> Result<CustomerId, Error> {
        let request = CreateCustomer::new().metadata(user_metadata(user_id));
        let key = idempotency_key(&["customer", user_id.as_str(), &attempts.to_string()]);
        let created: WithId = self.send(call, request.build(), Some(&key)).await?;
        Ok(created.id.into())
    }

    /// Tells Stripe where receipts go.
    pub async fn set_email(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
        email: &str,
    ) -> Result<(), Error> {
        let request = UpdateCustomer::new(customer_id.as_str()).email(email);
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// Opens the Checkout Session of a reservation. Asked again for the same reservation, Stripe answers
    /// with the same session.
    pub async fn open_session(
        &self,
        call: Call<'_>,
        user_id: &UserId,
        customer_id: &CustomerId,
        checkout: &Checkout,
    ) -> Result<Session, Error> {
        let request = session_request(user_id, customer_id, checkout);
        let key = idempotency_key(&[
            "checkout",
            user_id.as_str(),
            customer_id.as_str(),
            &checkout.attempt.to_string(),
        ]);
        let created: CreatedSession = self.send(call, request.build(), Some(&key)).await?;
        let url = created
            .url
            .ok_or_else(|| Error::NotUnderstood("a hosted session without url".to_owned()))?;
        Ok(Session {
            id: created.id,
            url,
        })
    }

    /// How a session stands.
    pub async fn session_status(
        &self,
        call: Call<'_>,
        id: &SessionId,
    ) -> Result<SessionStatus, Error> {
        let request = session::RetrieveCheckoutSession::new(CheckoutSessionId::from(id.as_str()));
        let found: StatusOfSession = self.send(call, request.build(), None).await?;
        Ok(found.status.unwrap_or(SessionStatus::Unknown))
    }

    /// Closes a session so that it cannot be paid any more. Stripe refuses when it is not open.
    pub async fn expire_session(&self, call: Call<'_>, id: &SessionId) -> Result<(), Error> {
        let request = session::ExpireCheckoutSession::new(CheckoutSessionId::from(id.as_str()));
        let key = idempotency_key(&["expire", id.as_str()]);
        let _: WithId = self.send(call, request.build(), Some(&key)).await?;
        Ok(())
    }

    /// A page on which the customer manages payment methods, plan and invoices.
    pub async fn portal_url(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
        return_url: &str,
    ) -> Result<String, Error> {
        let request = CreateBillingPortalSession::new()
            .customer(customer_id.as_str())
            .return_url(return_url);
        let created: WithUrl = self.send(call, request.build(), None).await?;
        Ok(created.url)
    }
}

fn user_metadata(user_id: &UserId) -> HashMap<String, String> {
    HashMap::from([(USER_ID_KEY.to_owned(), user_id.as_str().to_owned())])
}

fn purchase_metadata(user_id: &UserId, purchase: &Purchase) -> HashMap<String, String> {
    let kind = match purchase.kind {
        PurchaseKind::Plan => "plan",
        PurchaseKind::Pack => "pack",
    };
    let mut metadata = user_metadata(user_id);
    metadata.insert(kind.to_owned(), purchase.key.clone());
    metadata.insert("quantity".to_owned(), purchase.quantity.to_string());
    metadata
}

pub(super) fn session_request(
    user_id: &UserId,
    customer_id: &CustomerId,
    checkout: &Checkout,
) -> session::CreateCheckoutSession {
    let purchase = &checkout.purchase;
    let metadata = purchase_metadata(user_id, purchase);
    let adjustable = purchase.seats.map(|(minimum, maximum)| {
        let mut adjustable = session::CreateCheckoutSessionLineItemsAdjustableQuantity::new(true);
        adjustable.minimum = minimum.try_into().ok();
        adjustable.maximum = maximum.try_into().ok();
        adjustable
    });
    let mut item = session::CreateCheckoutSessionLineItems::new();
    item.price = Some(purchase.price_id.as_str().to_owned());
    item.quantity = Some(purchase.quantity);
    item.adjustable_quantity = adjustable;
    let mut request = session::CreateCheckoutSession::new()
        .customer(customer_id.as_str())
        .client_reference_id(user_id.as_str())
        .line_items(vec![item])
        .currency(currency(&purchase.currency))
        .success_url(&purchase.success_url)
        .cancel_url(&purchase.cancel_url)
        .expires_at(checkout.expires_at.as_second())
        .metadata(metadata.clone());
    if purchase.promotion_codes {
        request = request.allow_promotion_codes(true);
    }
    if purchase.automatic_tax {
        // Stripe Tax needs an address; what the customer enters is kept with them.
        let mut update = session::CreateCheckoutSessionCustomerUpdate::new();
        update.address = Some(session::CreateCheckoutSessionCustomerUpdateAddress::Auto);
        request = request
            .automatic_tax(session::CreateCheckoutSessionAutomaticTax::new(true))
            .customer_update(update);
    }
    if purchase.recurring {
        let mut data = session::CreateCheckoutSessionSubscriptionData::new();
        data.metadata = Some(metadata);
        data.trial_period_days = purchase.trial_days.map(u32::from);
        request
            .mode(CheckoutSessionMode::Subscription)
            .subscription_data(data)
    } else {
        let mut data = session::CreateCheckoutSessionPaymentIntentData::new();
        data.metadata = Some(metadata);
        request
            .mode(CheckoutSessionMode::Payment)
            .payment_intent_data(data)
    }
}
