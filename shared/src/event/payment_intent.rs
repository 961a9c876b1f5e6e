//! The view of a payment intent, which is also the record that the table keeps of a payment.
//! <https://docs.stripe.com/api/payment_intents/object>

use serde::{Deserialize, Serialize};

use crate::ids::PaymentIntentId;

/// A payment as it stood at some moment.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Payment {
    // The order of the fields is the order in which a later view outranks an earlier one.
    /// Whether it came through.
    pub state: PaymentState,
    /// How much, in the smallest unit.
    pub amount: i64,
    /// Its currency in lower case.
    pub currency: String,
    /// When it was made, in seconds.
    pub created: i64,
    /// `pi_…`
    pub id: PaymentIntentId,
}

/// What is known of a payment. One that failed can still succeed; one that succeeded stays so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// An attempt failed; the customer may try again.
    Failed,
    /// The money is there.
    Succeeded,
}

impl Payment {
    /// The later of two views of one payment.
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }
}

#[derive(Deserialize)]
struct StripePaymentIntent {
    id: PaymentIntentId,
    status: String,
    amount: i64,
    currency: String,
    created: i64,
}

pub(super) fn parse(object: &str) -> Result<Payment, serde_json::Error> {
    let intent: StripePaymentIntent = serde_json::from_str(object)?;
    let state = if intent.status == "succeeded" {
        PaymentState::Succeeded
    } else {
        PaymentState::Failed
    };
    Ok(Payment {
        state,
        amount: intent.amount,
        currency: intent.currency,
        created: intent.created,
        id: intent.id,
    })
}
