//! What Stripe knows: subscriptions, charges, and the objects of thin notifications.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::invoice_payment::{
    ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType,
};
use stripe_billing::subscription::{
    ListSubscription, ListSubscriptionStatus, RetrieveSubscription,
};
use stripe_checkout::checkout_session::RetrieveCheckoutSession;
use stripe_client_core::StripeRequest;
use stripe_core::charge::RetrieveCharge;
use stripe_core::customer::RetrieveCustomer;
use stripe_core::dispute::RetrieveDispute;
use stripe_core::payment_intent::RetrievePaymentIntent;
use stripe_payment::payment_method::RetrievePaymentMethod;
use stripe_shared::CheckoutSessionId;

use super::{Call, Error, List, PAGE_SIZE, Stripe};
use crate::event::{Charge, RelatedObject};
use crate::ids::{ChargeId, CustomerId, InvoiceId, PaymentIntentId};
use crate::subscription::{Expandable, StripeSubscription, Subscription};

/// The most pages of a customer's subscriptions that are read.
const PAGES_MAX: usize = 5;

#[derive(Deserialize)]
struct InvoicePayment {
    invoice: Expandable,
}

impl Stripe {
    /// All subscriptions of a customer, whatever their status, and when the fetch of them began: after
    /// this call. Callers that ask at the same time share a fetch.
    pub async fn subscriptions(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
    ) -> Result<(Timestamp, Vec<Subscription>), Error> {
        let fetch = || async { Ok((call.now, self.fetch_subscriptions(call, customer_id).await?)) };
        self.flights.share(customer_id, fetch).await
    }

    async fn fetch_subscriptions(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
    ) -> Result<Vec<Subscription>, Error> {
        let mut kept = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut request = ListSubscription::new()
                .customer(customer_id.as_str())
                .status(ListSubscriptionStatus::All)
                .limit(PAGE_SIZE)
                .expand(vec!["data.latest_invoice".to_owned()]);
            if let Some(after) = after.take() {
                request = request.starting_after(after);
            }
            let page: List<StripeSubscription> = self.send(call, request.build(), None).await?;
            for found in page.data {
                let subscription = found.into_kept().ok_or_else(|| {
                    Error::NotUnderstood("a subscription without its period".to_owned())
                })?;
                kept.push(subscription);
            }
            if !page.has_more {
                return Ok(kept);
            }
            after = kept.last().map(|last| last.id.as_str().to_owned());
        }
        Err(Error::NotUnderstood(
            "a customer with too many subscriptions".to_owned(),
        ))
    }

    /// A charge, to learn whose it is and what it paid for.
    pub async fn charge(&self, call: Call<'_>, id: &ChargeId) -> Result<Charge, Error> {
        let request = RetrieveCharge::new(id.as_str());
        let object: Box<RawValue> = self.send(call, request.build(), None).await?;
        charge_of(&object)
    }

    /// The invoice that a payment paid, if it paid one.
    pub async fn invoice_paid_by(
        &self,
        call: Call<'_>,
        payment_intent_id: &PaymentIntentId,
    ) -> Result<Option<InvoiceId>, Error> {
        let mut payment =
            ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent);
        payment.payment_intent = Some(payment_intent_id.as_str().to_owned());
        let request = ListInvoicePayment::new().payment(payment).limit(1);
        let page: List<InvoicePayment> = self.send(call, request.build(), None).await?;
        Ok(page
            .data
            .into_iter()
            .next()
            .map(|payment| payment.invoice.id().into()))
    }

    /// The object that a thin notification is about, as Stripe writes it; `None` for a kind of object that
    /// is not acted on.
    pub async fn related_object(
        &self,
        call: Call<'_>,
        related: &RelatedObject,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let id = related.id.as_str();
        let request = match related.r#type.trim_start_matches("v1.") {
            "checkout.session" => RetrieveCheckoutSession::new(CheckoutSessionId::from(id)).build(),
            "subscription" => RetrieveSubscription::new(id).build(),
            "invoice" => RetrieveInvoice::new(id).build(),
            "payment_intent" => RetrievePaymentIntent::new(id).build(),
            "payment_method" => RetrievePaymentMethod::new(id).build(),
            "charge" => RetrieveCharge::new(id).build(),
            "dispute" => RetrieveDispute::new(id).build(),
            "customer" => RetrieveCustomer::new(id).build(),
            _ => return Ok(None),
        };
        self.send(call, request, None).await.map(Some)
    }
}

fn charge_of(object: &RawValue) -> Result<Charge, Error> {
    Charge::parse(object.get()).map_err(|error| Error::NotUnderstood(error.to_string()))
}
