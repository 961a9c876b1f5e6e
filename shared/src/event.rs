//! Stripe's events, read with tolerance: only the fields that are acted on, in every shape that they
//! have had since API version 2020-08-27. Pure.
//!
//! An event is a hint that something changed. The one `match` on Stripe's type strings is here.
//! <https://docs.stripe.com/api/events/object>, <https://docs.stripe.com/changelog>

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ids::{CustomerId, EventId, UserId};
use crate::subscription::Expandable;

mod checkout_session;
mod invoice;

pub use checkout_session::{CheckoutSession, PaymentStatus};
pub use invoice::{Invoice, InvoiceStatus};

/// The metadata key under which every object that Tollgate makes at Stripe names its user.
pub const USER_ID_KEY: &str = "user_id";

/// What an event says happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A Checkout Session was completed, expired, or its delayed payment came through or failed.
    CheckoutSession(CheckoutSession),
    /// A subscription changed somehow.
    Subscription,
    /// An invoice is in that state.
    Invoice(Invoice),
}

/// An event with what decides whether it is ours and whom it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// `evt_…`
    pub id: EventId,
    /// Stripe's type string, for the record.
    pub r#type: String,
    /// The second in which it was created; it orders nothing.
    pub created: Timestamp,
    /// Of live mode, or of a sandbox.
    pub livemode: bool,
    /// Set when it happened in a connected account.
    pub connected_account: bool,
    /// The API version it is written in.
    pub api_version: Option<String>,
    /// The event, if it is of a type that is acted on and could be understood.
    pub content: Content,
}

/// What an event holds for us.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Something to act on.
    Acted {
        /// Whom it is about, at Stripe.
        customer_id: CustomerId,
        /// The user whom the object's metadata names; a hint, to be checked against the table.
        user_hint: Option<UserId>,
        /// What happened.
        event: Event,
    },
    /// Of a type that nothing is done about, or about nobody: a Checkout of a guest, say.
    Other,
    /// Of a type that is acted on, in a shape that is not understood.
    NotUnderstood(String),
}

/// The body is not an event at all: no JSON, or without id, type and object.
#[derive(Debug, thiserror::Error)]
#[error("not a Stripe event: {0}")]
pub struct NotAnEvent(String);

#[derive(Deserialize)]
struct StripeEvent<'b> {
    id: EventId,
    r#type: String,
    created: i64,
    livemode: bool,
    account: Option<String>,
    api_version: Option<String>,
    #[serde(borrow)]
    data: Data<'b>,
}

#[derive(Deserialize)]
struct Data<'b> {
    #[serde(borrow)]
    object: &'b RawValue,
}

impl Envelope {
    /// Reads the body of a webhook.
    pub fn parse(body: &[u8]) -> Result<Self, NotAnEvent> {
        let event: StripeEvent<'_> =
            serde_json::from_slice(body).map_err(|error| NotAnEvent(error.to_string()))?;
        let created =
            Timestamp::from_second(event.created).map_err(|error| NotAnEvent(error.to_string()))?;
        let content = content(&event.r#type, event.data.object.get())
            .unwrap_or_else(|error| Content::NotUnderstood(error.to_string()));
        Ok(Self {
            id: event.id,
            r#type: event.r#type,
            created,
            livemode: event.livemode,
            connected_account: event.account.is_some(),
            api_version: event.api_version,
            content,
        })
    }
}

/// The objects that are acted on.
enum Kind {
    CheckoutSession,
    Subscription,
    Invoice,
}

/// The one place that knows Stripe's type strings; all that are not here are recorded as ignored.
/// <https://docs.stripe.com/api/events/types>
fn kind(event_type: &str) -> Option<Kind> {
    match event_type {
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed"
        | "checkout.session.expired" => Some(Kind::CheckoutSession),
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.deleted"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.trial_will_end" => Some(Kind::Subscription),
        "invoice.paid"
        | "invoice.payment_succeeded"
        | "invoice.payment_failed"
        | "invoice.payment_action_required"
        | "invoice.finalized"
        | "invoice.voided"
        | "invoice.marked_uncollectible" => Some(Kind::Invoice),
        _ => None,
    }
}

/// What all of these objects have in common.
#[derive(Deserialize)]
struct Subject {
    customer: Option<Expandable>,
    client_reference_id: Option<UserId>,
    metadata: Option<Metadata>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct Metadata {
    user_id: Option<UserId>,
}

fn content(event_type: &str, object: &str) -> Result<Content, serde_json::Error> {
    let Some(kind) = kind(event_type) else {
        return Ok(Content::Other);
    };
    let subject: Subject = serde_json::from_str(object)?;
    let Some(customer) = subject.customer else {
        return Ok(Content::Other);
    };
    let named = subject
        .metadata
        .and_then(|metadata| metadata.user_id)
        .or(subject.client_reference_id);
    let (event, user_hint) = match kind {
        Kind::CheckoutSession => (Event::CheckoutSession(serde_json::from_str(object)?), named),
        Kind::Subscription => (Event::Subscription, named),
        Kind::Invoice => {
            let (invoice, of_subscription) = invoice::parse(object)?;
            (Event::Invoice(invoice), of_subscription.or(named))
        }
    };
    Ok(Content::Acted {
        customer_id: customer.id().into(),
        user_hint,
        event,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(event_type: &str, object: &Value) -> Envelope {
        let event = json!({
            "id": "evt_1", "object": "event", "type": event_type, "created": 1_790_000_000, "livemode": false,
            "api_version": "2026-08-26.dahlia", "data": {"object": object},
        });
        Envelope::parse(event.to_string().as_bytes()).unwrap()
    }

    fn acted(event_type: &str, object: &Value) -> (String, Option<String>, Event) {
        match parse(event_type, object).content {
            Content::Acted {
                customer_id,
                user_hint,
                event,
            } => (
                customer_id.as_str().to_owned(),
                user_hint.map(|user| user.as_str().to_owned()),
                event,
            ),
            other @ (Content::Other | Content::NotUnderstood(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subscription_event_is_a_hint_about_its_customer() {
        let object = json!({"id": "sub_1", "customer": "cus_1", "metadata": {"user_id": "alice"}});
        for change in [
            "created",
            "updated",
            "deleted",
            "paused",
            "resumed",
            "trial_will_end",
        ] {
            let (customer, user, event) =
                acted(&format!("customer.subscription.{change}"), &object);
            assert_eq!(
                (customer.as_str(), user.as_deref(), event),
                ("cus_1", Some("alice"), Event::Subscription)
            );
        }
    }

    #[test]
    fn f14_an_invoice_names_its_subscription_at_the_top_or_under_parent() {
        let older = json!({
            "id": "in_1", "customer": {"id": "cus_1"}, "status": "paid", "total": 2900, "amount_paid": 2900,
            "currency": "usd", "created": 1_790_000_000, "subscription": "sub_1",
            "subscription_details": {"metadata": {"user_id": "alice"}},
        });
        let mut oldest = older.clone();
        oldest
            .as_object_mut()
            .unwrap()
            .remove("subscription_details");
        oldest["lines"] = json!({"data": [{"metadata": {"user_id": "alice"}}]});
        let mut newest = older.clone();
        newest.as_object_mut().unwrap().remove("subscription");
        newest
            .as_object_mut()
            .unwrap()
            .remove("subscription_details");
        newest["parent"] = json!({"type": "subscription_details", "subscription_details":
            {"subscription": "sub_1", "metadata": {"user_id": "alice"}}});
        let expected = acted("invoice.paid", &newest);
        assert_eq!(expected.1.as_deref(), Some("alice"));
        assert!(
            matches!(&expected.2, Event::Invoice(invoice) if invoice.subscription_id == Some("sub_1".into()))
        );
        assert_eq!(acted("invoice.paid", &older), expected);
        assert_eq!(acted("invoice.paid", &oldest), expected);
    }

    #[test]
    fn what_is_not_acted_on_is_other_whatever_it_holds() {
        for (event_type, object) in [
            (
                "customer.tax_id.created",
                json!({"id": "txi_1", "customer": 7}),
            ),
            ("product.created", json!({})),
            ("a.type.of.tomorrow", json!([1, 2])),
            (
                "checkout.session.completed",
                json!({"id": "cs_1", "customer": null, "metadata": {}}),
            ),
        ] {
            assert_eq!(
                parse(event_type, &object).content,
                Content::Other,
                "{event_type}"
            );
        }
    }

    #[test]
    fn an_event_of_ours_in_an_unknown_shape_is_not_understood() {
        let envelope = parse(
            "invoice.paid",
            &json!({"id": "in_1", "customer": "cus_1", "total": "much"}),
        );
        assert!(matches!(envelope.content, Content::NotUnderstood(_)));
    }

    #[test]
    fn what_is_no_event_is_said_to_be_none() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"id":"evt_1"}"#,
            "\u{feff}{}",
            "<xml/>",
        ] {
            assert!(Envelope::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
