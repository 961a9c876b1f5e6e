//! The views of a charge and of a dispute: money that went back.
//! <https://docs.stripe.com/api/charges/object>, <https://docs.stripe.com/api/disputes/object>

use serde::{Deserialize, Serialize};

use crate::ids::{ChargeId, CustomerId, DisputeId, InvoiceId, PaymentIntentId};
use crate::subscription::Expandable;

/// A charge, as far as a refund or dispute of it matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Charge {
    /// `ch_…`
    pub id: ChargeId,
    /// Who paid.
    pub customer_id: Option<CustomerId>,
    /// What was charged, in the smallest unit.
    pub amount: i64,
    /// What of it was refunded in all, in the smallest unit.
    pub amount_refunded: i64,
    /// The payment that it belongs to.
    pub payment_intent_id: Option<PaymentIntentId>,
    /// The invoice that it paid; only written until 2025-03-31.basil.
    pub invoice_id: Option<InvoiceId>,
    /// Whether it paid for a one-time token pack; then no invoice is behind it.
    pub is_of_pack: bool,
}

/// A dispute at some moment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Dispute {
    /// `dp_…` or `du_…`
    pub id: DisputeId,
    /// The charge that is disputed.
    #[serde(deserialize_with = "charge_id")]
    pub charge: ChargeId,
    /// How much of it, in the smallest unit.
    pub amount: i64,
    /// Where it stands.
    pub status: DisputeStatus,
}

/// Stripe's `status` of a dispute, in the order in which it can advance; won and lost are final.
/// <https://docs.stripe.com/disputes/how-disputes-work>
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// An inquiry, which takes no money yet.
    WarningNeedsResponse = 1,
    /// An inquiry that was answered.
    WarningUnderReview = 2,
    /// An inquiry that came to nothing.
    WarningClosed = 3,
    /// The money is withdrawn; evidence is asked for.
    NeedsResponse = 4,
    /// The money is withdrawn; evidence was given.
    UnderReview = 5,
    /// Settled before it became a dispute; a refund, if any, is told by the charge.
    Prevented = 6,
    /// The money came back.
    Won = 7,
    /// The money is gone.
    Lost = 8,
    /// A word that is not known here; it takes nothing.
    #[serde(other)]
    Unknown = 0,
}

impl DisputeStatus {
    /// Whether the money is withdrawn in this state.
    pub fn withdraws(self) -> bool {
        match self {
            Self::NeedsResponse | Self::UnderReview | Self::Lost => true,
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::WarningClosed
            | Self::Prevented
            | Self::Won
            | Self::Unknown => false,
        }
    }
}

#[derive(Deserialize)]
struct StripeCharge {
    id: ChargeId,
    customer: Option<Expandable>,
    amount: i64,
    #[serde(default)]
    amount_refunded: i64,
    payment_intent: Option<Expandable>,
    invoice: Option<Expandable>,
    metadata: Option<ChargeMetadata>,
}

/// A charge carries the metadata of its payment intent.
#[derive(Deserialize)]
struct ChargeMetadata {
    pack: Option<String>,
}

impl Charge {
    /// Reads a charge from an event or from Stripe's answer.
    pub(crate) fn parse(object: &str) -> Result<Self, serde_json::Error> {
        let charge: StripeCharge = serde_json::from_str(object)?;
        Ok(Self {
            id: charge.id,
            customer_id: charge.customer.map(|customer| customer.id().into()),
            amount: charge.amount,
            amount_refunded: charge.amount_refunded,
            payment_intent_id: charge.payment_intent.map(|intent| intent.id().into()),
            invoice_id: charge.invoice.map(|invoice| invoice.id().into()),
            is_of_pack: charge
                .metadata
                .is_some_and(|metadata| metadata.pack.is_some()),
        })
    }
}

fn charge_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ChargeId, D::Error> {
    Ok(Expandable::deserialize(deserializer)?.id().into())
}
