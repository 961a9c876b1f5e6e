//! The view of a Checkout Session. <https://docs.stripe.com/api/checkout/sessions/object>

use serde::Deserialize;

use crate::ids::{PaymentIntentId, SessionId};
use crate::subscription::Expandable;

/// A Checkout Session as an event shows it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CheckoutSession {
    /// `cs_…`
    pub id: SessionId,
    /// Whether its money has arrived: with delayed methods such as SEPA, `complete` is not `paid`.
    pub payment_status: PaymentStatus,
    /// The payment of a one-time purchase.
    #[serde(default, deserialize_with = "payment_intent_id")]
    pub payment_intent: Option<PaymentIntentId>,
    /// What it amounts to, in the smallest unit.
    #[serde(default)]
    pub amount_total: Option<i64>,
    /// What Tollgate wrote on it.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: SessionMetadata,
}

/// The metadata that Tollgate writes on a session.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct SessionMetadata {
    /// The catalogue's key of the token pack that is bought.
    pub pack: Option<String>,
    /// How many of it.
    pub quantity: Option<String>,
}

/// Stripe's `payment_status` of a session.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The money is there.
    Paid,
    /// The money is not there, or not yet.
    Unpaid,
    /// There is nothing to pay now, as in a trial or with a full discount.
    NoPaymentRequired,
    /// A word that is not known here; it is not taken for payment.
    #[serde(other)]
    Unknown,
}

fn payment_intent_id<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PaymentIntentId>, D::Error> {
    let intent = Option::<Expandable>::deserialize(deserializer)?;
    Ok(intent.map(|intent| intent.id().into()))
}

fn or_default<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<SessionMetadata, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
