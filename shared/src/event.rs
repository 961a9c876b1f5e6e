//! Stripe's events, read with tolerance: only the fields that are acted on, in every shape that they
//! have had since API version 2020-08-27. Pure.
//!
//! An event is a hint that something changed. The one list of Stripe's type strings is here.
//! <https://docs.stripe.com/api/events/object>, <https://docs.stripe.com/changelog>

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::ids::{CustomerId, EventId, UserId};
use crate::subscription::Expandable;

mod charge;
mod checkout_session;
mod invoice;
mod payment_intent;
mod payment_method;

pub use charge::{Charge, Dispute, DisputeStatus};
pub use checkout_session::{CheckoutSession, PaymentStatus};
pub use invoice::{BilledItem, Invoice, InvoiceStatus};
pub use payment_intent::{Payment, PaymentState};
pub use payment_method::PaymentMethod;

/// The metadata key under which every object that Tollgate makes at Stripe names its user.
pub const USER_ID_KEY: &str = "user_id";

/// What an event says happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A Checkout Session was completed, expired, or its delayed payment came through or failed.
    CheckoutSession(CheckoutSession),
    /// A subscription changed somehow.
    Subscription,
    /// An invoice is in that state. The items are those of a period that it bills.
    Invoice(Invoice, Vec<BilledItem>),
    /// A payment succeeded or failed.
    Payment(Payment),
    /// A payment method was attached, changed or detached.
    PaymentMethod(PaymentMethod),
    /// A charge was refunded, in part or whole.
    Refund(Charge),
    /// A dispute was opened or closed.
    Dispute(Dispute),
    /// The customer's own data changed; none of it is kept.
    CustomerUpdated,
    /// The customer was deleted at Stripe, and all of their subscriptions with them.
    CustomerDeleted,
}

impl Event {
    /// Whether it says that what a Checkout was for is bought: paid, or begun as a trial.
    pub fn is_completed_checkout(&self) -> bool {
        matches!(self, Self::CheckoutSession(session) if matches!(
            session.payment_status,
            PaymentStatus::Paid | PaymentStatus::NoPaymentRequired
        ))
    }

    /// Whether it says that an attempt to pay failed. Stripe says so of the payment and, where there is
    /// one, of its invoice too: it counts once.
    pub fn is_failed_payment(&self) -> bool {
        matches!(self, Self::Payment(payment) if payment.state == PaymentState::Failed)
    }
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
    Acted(Acted),
    /// A thin notification: the object is to be fetched, and then holds the same as an event.
    Thin(RelatedObject),
    /// Of a type that nothing is done about, or about nobody: a Checkout of a guest, say.
    Other,
    /// Of a type that is acted on, in a shape that is not understood.
    NotUnderstood(String),
}

/// Something to act on.
#[derive(Clone, Debug, PartialEq)]
pub struct Acted {
    /// Whom it is about, at Stripe. A dispute does not say.
    pub customer_id: Option<CustomerId>,
    /// The user whom the object's metadata names; a hint, to be checked against the table.
    pub user_hint: Option<UserId>,
    /// What happened.
    pub event: Event,
}

/// What a thin notification is about. <https://docs.stripe.com/event-destinations#thin-events>
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct RelatedObject {
    /// Id of the object.
    pub id: String,
    /// Stripe's name of the kind of object.
    pub r#type: String,
}

/// The body is not an event at all: no JSON, or without id, type and object.
#[derive(Debug, thiserror::Error)]
#[error("not a Stripe event: {0}")]
pub struct NotAnEvent(String);

#[derive(Deserialize)]
struct StripeEvent<'b> {
    id: EventId,
    r#type: String,
    created: Created,
    livemode: bool,
    account: Option<String>,
    /// In thin notifications, the account that they happened in.
    context: Option<String>,
    api_version: Option<String>,
    #[serde(borrow)]
    data: Option<Data<'b>>,
    /// Read only where it is needed, as what was before is: their shape is no reason to refuse an event.
    #[serde(borrow)]
    related_object: Option<&'b RawValue>,
}

/// Seconds in events, RFC 3339 in thin notifications.
#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Seconds(i64),
    Rfc3339(Timestamp),
}

#[derive(Deserialize)]
struct Data<'b> {
    #[serde(borrow)]
    object: Option<&'b RawValue>,
    #[serde(borrow)]
    previous_attributes: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct PreviousAttributes {
    customer: Option<Expandable>,
}

impl Envelope {
    /// Reads the body of a webhook.
    pub fn parse(body: &[u8]) -> Result<Self, NotAnEvent> {
        let event: StripeEvent<'_> =
            serde_json::from_slice(body).map_err(|error| NotAnEvent(place_of(&error)))?;
        let created = match event.created {
            Created::Seconds(seconds) => Timestamp::from_second(seconds)
                .map_err(|_| NotAnEvent("created is no time".to_owned()))?,
            Created::Rfc3339(at) => at,
        };
        // A thin notification of a classic event has its type behind this prefix.
        let event_type = event
            .r#type
            .strip_prefix("v1.")
            .unwrap_or(&event.r#type)
            .to_owned();
        let (object, previous) = event
            .data
            .map(|data| (data.object, data.previous_attributes))
            .unwrap_or_default();
        let content = match (object, event.related_object) {
            (Some(object), _) => content(&event_type, object.get(), previous),
            (None, Some(related)) => thin(&event_type, related),
            (None, None) => {
                return Err(NotAnEvent(
                    "it has neither an object nor a related one".to_owned(),
                ));
            }
        };
        Ok(Self {
            id: event.id,
            r#type: event_type,
            created,
            livemode: event.livemode,
            connected_account: event.account.is_some() || event.context.is_some(),
            api_version: event.api_version,
            content,
        })
    }

    /// What a thin notification holds once its object was fetched.
    pub fn content_of(&self, object: &str) -> Content {
        content(&self.r#type, object, None)
    }
}

/// The objects that are acted on.
#[derive(Clone, Copy)]
enum Kind {
    CheckoutSession,
    Subscription,
    Invoice,
    PaymentIntent,
    PaymentMethod,
    Charge,
    Dispute,
    CustomerUpdated,
    CustomerDeleted,
}

/// The one list of Stripe's type strings that are acted on; events of all other types are recorded as ignored.
/// <https://docs.stripe.com/api/events/types>
const TYPES: [(&str, Kind); 27] = [
    ("checkout.session.completed", Kind::CheckoutSession),
    (
        "checkout.session.async_payment_succeeded",
        Kind::CheckoutSession,
    ),
    (
        "checkout.session.async_payment_failed",
        Kind::CheckoutSession,
    ),
    ("checkout.session.expired", Kind::CheckoutSession),
    ("customer.subscription.created", Kind::Subscription),
    ("customer.subscription.updated", Kind::Subscription),
    ("customer.subscription.deleted", Kind::Subscription),
    ("customer.subscription.paused", Kind::Subscription),
    ("customer.subscription.resumed", Kind::Subscription),
    ("customer.subscription.trial_will_end", Kind::Subscription),
    ("invoice.paid", Kind::Invoice),
    ("invoice.payment_succeeded", Kind::Invoice),
    ("invoice.payment_failed", Kind::Invoice),
    ("invoice.payment_action_required", Kind::Invoice),
    ("invoice.finalized", Kind::Invoice),
    ("invoice.voided", Kind::Invoice),
    ("invoice.marked_uncollectible", Kind::Invoice),
    ("payment_intent.succeeded", Kind::PaymentIntent),
    ("payment_intent.payment_failed", Kind::PaymentIntent),
    ("payment_method.attached", Kind::PaymentMethod),
    ("payment_method.detached", Kind::PaymentMethod),
    ("payment_method.updated", Kind::PaymentMethod),
    ("charge.refunded", Kind::Charge),
    ("charge.dispute.created", Kind::Dispute),
    ("charge.dispute.closed", Kind::Dispute),
    ("customer.updated", Kind::CustomerUpdated),
    ("customer.deleted", Kind::CustomerDeleted),
];

/// Stripe's names of the event types that are acted on: what a webhook endpoint is made for.
pub fn types_acted_on() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(name, _)| *name)
}

fn kind(event_type: &str) -> Option<Kind> {
    let known = TYPES.iter().find(|(name, _)| *name == event_type);
    known.map(|(_, kind)| *kind)
}

/// What all of these objects have in common.
#[derive(Deserialize)]
struct Subject {
    id: String,
    customer: Option<Expandable>,
    client_reference_id: Option<UserId>,
    metadata: Option<Metadata>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct Metadata {
    user_id: Option<UserId>,
}

fn content(event_type: &str, object: &str, previous: Option<&RawValue>) -> Content {
    let Some(kind) = kind(event_type) else {
        return Content::Other;
    };
    let previous: Option<PreviousAttributes> =
        previous.and_then(|previous| serde_json::from_str(previous.get()).ok());
    let previous_customer = previous.and_then(|previous| previous.customer);
    acted(kind, object, previous_customer)
        .unwrap_or_else(|error| Content::NotUnderstood(place_of(&error)))
}

fn thin(event_type: &str, related: &RawValue) -> Content {
    if kind(event_type).is_none() {
        return Content::Other;
    }
    serde_json::from_str(related.get()).map_or_else(
        |error| Content::NotUnderstood(place_of(&error)),
        Content::Thin,
    )
}

/// Where and in which way the JSON is not as expected. The parser's own words would quote it, and an
/// event holds names and addresses that belong in no log.
fn place_of(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Data => format!("an unexpected value at line {line}, column {column}"),
        Category::Syntax => format!("not JSON at line {line}, column {column}"),
        Category::Eof => "the JSON is cut off".to_owned(),
        Category::Io => "the body could not be read".to_owned(),
    }
}

fn acted(
    kind: Kind,
    object: &str,
    previous_customer: Option<Expandable>,
) -> Result<Content, serde_json::Error> {
    let subject: Subject = serde_json::from_str(object)?;
    let mut user_hint = subject
        .metadata
        .and_then(|metadata| metadata.user_id)
        .or(subject.client_reference_id);
    let event = match kind {
        Kind::CheckoutSession => Event::CheckoutSession(serde_json::from_str(object)?),
        Kind::Subscription => Event::Subscription,
        Kind::Invoice => {
            let (invoice, items, of_subscription) = invoice::parse(object)?;
            user_hint = of_subscription.or(user_hint);
            Event::Invoice(invoice, items)
        }
        Kind::PaymentIntent => Event::Payment(payment_intent::parse(object)?),
        Kind::PaymentMethod => Event::PaymentMethod(payment_method::parse(object)?),
        Kind::Charge => Event::Refund(Charge::parse(object)?),
        Kind::Dispute => Event::Dispute(serde_json::from_str(object)?),
        Kind::CustomerUpdated => Event::CustomerUpdated,
        Kind::CustomerDeleted => Event::CustomerDeleted,
    };
    let customer_id = match kind {
        Kind::CustomerUpdated | Kind::CustomerDeleted => Some(CustomerId::from(subject.id)),
        // A detached payment method names the customer only in what it was before.
        Kind::PaymentMethod => subject
            .customer
            .or(previous_customer)
            .map(|customer| customer.id().into()),
        Kind::CheckoutSession
        | Kind::Subscription
        | Kind::Invoice
        | Kind::PaymentIntent
        | Kind::Charge
        | Kind::Dispute => subject.customer.map(|customer| customer.id().into()),
    };
    let about_nobody = customer_id.is_none() && !matches!(kind, Kind::Dispute);
    Ok(if about_nobody {
        Content::Other
    } else {
        Content::Acted(Acted {
            customer_id,
            user_hint,
            event,
        })
    })
}

#[cfg(test)]
mod tests;
