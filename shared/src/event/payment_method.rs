//! The view of a payment method, which is also the record that the table keeps: brand, last four digits
//! and expiry, nothing else. <https://docs.stripe.com/api/payment_methods/object>

use serde::{Deserialize, Serialize};

use crate::ids::PaymentMethodId;

/// A payment method as it stood at some moment.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PaymentMethod {
    // The order of the fields is the order in which a later view outranks an earlier one.
    /// Whether the customer has it no more; Stripe never attaches one again.
    #[serde(default)]
    pub detached: bool,
    /// Year in which a card expires; a renewed card expires later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp_year: Option<u16>,
    /// Month in which a card expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp_month: Option<u8>,
    /// Last four digits of the card or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last4: Option<String>,
    /// Brand of a card, name of a bank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// Stripe's type of it: `card`, `sepa_debit`, …
    pub r#type: String,
    /// `pm_…`
    pub id: PaymentMethodId,
}

impl PaymentMethod {
    /// The later of two views of one payment method.
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }
}

#[derive(Deserialize)]
struct StripePaymentMethod {
    id: PaymentMethodId,
    r#type: String,
    customer: Option<serde_json::Value>,
    card: Option<Details>,
    sepa_debit: Option<Details>,
    us_bank_account: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    brand: Option<String>,
    bank_name: Option<String>,
    last4: Option<String>,
    exp_month: Option<u8>,
    exp_year: Option<u16>,
}

pub(super) fn parse(object: &str) -> Result<PaymentMethod, serde_json::Error> {
    let method: StripePaymentMethod = serde_json::from_str(object)?;
    let details = method.card.or(method.sepa_debit).or(method.us_bank_account);
    let (brand, last4, exp_month, exp_year) = details
        .map(|details| {
            (
                details.brand.or(details.bank_name),
                details.last4,
                details.exp_month,
                details.exp_year,
            )
        })
        .unwrap_or_default();
    Ok(PaymentMethod {
        detached: method.customer.is_none(),
        exp_year,
        exp_month,
        last4,
        brand,
        r#type: method.r#type,
        id: method.id,
    })
}
