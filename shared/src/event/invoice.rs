//! The view of an invoice, which is also the record that the table keeps of it.
//! <https://docs.stripe.com/api/invoices/object>
//!
//! A record only moves forward: two views of one invoice are joined, in whichever order they arrive.

use serde::{Deserialize, Serialize};

use super::Metadata;
use crate::ids::{InvoiceId, PriceId, SubscriptionId, UserId};
use crate::subscription::Expandable;

/// An invoice as it stood at some moment.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Invoice {
    // The order of the fields is the order in which a later view outranks an earlier one.
    /// Where it stands; later states are greater.
    pub status: InvoiceStatus,
    /// How often Stripe has tried to collect it.
    #[serde(default)]
    pub attempt_count: u64,
    /// What has been paid, in the smallest unit.
    #[serde(default)]
    pub amount_paid: i64,
    /// What it amounts to, in the smallest unit.
    pub total: i64,
    /// Its currency in lower case.
    pub currency: String,
    /// When it was made, in seconds.
    pub created: i64,
    /// The subscription that it bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<SubscriptionId>,
    /// Its number, once finalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// `in_…`
    pub id: InvoiceId,
}

/// Stripe's `status` of an invoice, in the order in which it can advance: an uncollectible one can
/// still be paid or voided; paid and void are final. <https://docs.stripe.com/invoicing/overview#workflow>
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Not final.
    Draft = 1,
    /// Waiting for payment.
    Open = 2,
    /// Given up.
    Uncollectible = 3,
    /// Withdrawn.
    Void = 4,
    /// Paid.
    Paid = 5,
    /// A word that is not known here; whatever is known outranks it.
    #[serde(other)]
    Unknown = 0,
}

/// Something that a period's invoice bills.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BilledItem {
    /// Its price.
    pub price_id: PriceId,
    /// How often it is billed.
    pub quantity: u64,
}

impl Invoice {
    /// The later of two views of one invoice: a join, so that order and repetition do not matter.
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }
}

#[derive(Deserialize)]
struct StripeInvoice {
    id: InvoiceId,
    #[serde(default = "draft")]
    status: Option<InvoiceStatus>,
    #[serde(default)]
    attempt_count: u64,
    #[serde(default)]
    amount_paid: i64,
    total: i64,
    currency: String,
    created: i64,
    number: Option<String>,
    /// Until 2025-03-31.basil.
    subscription: Option<Expandable>,
    subscription_details: Option<SubscriptionDetails>,
    /// Since 2025-03-31.basil.
    parent: Option<Parent>,
    billing_reason: Option<String>,
    lines: Option<Lines>,
}

fn draft() -> Option<InvoiceStatus> {
    Some(InvoiceStatus::Draft)
}

#[derive(Deserialize)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Deserialize)]
struct SubscriptionDetails {
    subscription: Option<Expandable>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Lines {
    data: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    metadata: Option<Metadata>,
    quantity: Option<u64>,
    /// Until 2025-03-31.basil.
    price: Option<Expandable>,
    #[serde(default)]
    proration: bool,
    /// Since 2025-03-31.basil.
    pricing: Option<Pricing>,
    parent: Option<LineParent>,
}

#[derive(Deserialize)]
struct Pricing {
    price_details: Option<PriceDetails>,
}

#[derive(Deserialize)]
struct PriceDetails {
    price: Option<Expandable>,
}

#[derive(Deserialize)]
struct LineParent {
    subscription_item_details: Option<SubscriptionItemDetails>,
}

#[derive(Deserialize)]
struct SubscriptionItemDetails {
    #[serde(default)]
    proration: bool,
}

impl Line {
    fn billed(self) -> Option<BilledItem> {
        let details = self
            .parent
            .and_then(|parent| parent.subscription_item_details);
        if self.proration || details.is_some_and(|details| details.proration) {
            return None;
        }
        let priced = self
            .pricing
            .and_then(|pricing| pricing.price_details?.price)
            .or(self.price)?;
        Some(BilledItem {
            price_id: priced.id().into(),
            quantity: self.quantity.unwrap_or(1),
        })
    }
}

/// The invoice, the items of the period that it bills, and the user whom its subscription's metadata
/// names. An invoice for a change within a period bills no period.
pub(super) fn parse(
    object: &str,
) -> Result<(Invoice, Vec<BilledItem>, Option<UserId>), serde_json::Error> {
    let invoice: StripeInvoice = serde_json::from_str(object)?;
    let details = invoice
        .parent
        .and_then(|parent| parent.subscription_details)
        .or(invoice.subscription_details);
    let (named, metadata) = details
        .map(|details| (details.subscription, details.metadata))
        .unwrap_or_default();
    let lines = invoice.lines.map(|lines| lines.data).unwrap_or_default();
    let on_lines = || {
        lines
            .iter()
            .find_map(|line| line.metadata.as_ref()?.user_id.clone())
    };
    let user = metadata
        .and_then(|metadata| metadata.user_id)
        .or_else(on_lines);
    let bills_period = matches!(
        invoice.billing_reason.as_deref(),
        Some("subscription_create" | "subscription_cycle")
    );
    let items = if bills_period {
        lines.into_iter().filter_map(Line::billed).collect()
    } else {
        Vec::new()
    };
    let view = Invoice {
        status: invoice.status.unwrap_or(InvoiceStatus::Draft),
        attempt_count: invoice.attempt_count,
        amount_paid: invoice.amount_paid,
        total: invoice.total,
        currency: invoice.currency,
        created: invoice.created,
        subscription_id: named
            .or(invoice.subscription)
            .map(|subscription| subscription.id().into()),
        number: invoice.number,
        id: invoice.id,
    };
    Ok((view, items, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(status: &str, attempt_count: u64, amount_paid: i64) -> Invoice {
        let object = serde_json::json!({
            "id": "in_1", "status": status, "attempt_count": attempt_count, "amount_paid": amount_paid,
            "total": 2900, "currency": "usd", "created": 1, "subscription": "sub_1",
        });
        parse(&object.to_string()).unwrap().0
    }

    #[test]
    fn joining_views_gives_the_latest_in_any_order() {
        let views = [
            view("draft", 0, 0),
            view("open", 0, 0),
            view("open", 1, 0),
            view("open", 2, 0),
            view("uncollectible", 2, 0),
            view("paid", 3, 2900),
        ];
        for first in &views {
            for second in &views {
                let joined = first.clone().join(second.clone());
                assert_eq!(joined, second.clone().join(first.clone()));
                assert_eq!(joined.clone().join(first.clone()), joined);
            }
        }
        let last = views.iter().cloned().rev().reduce(Invoice::join).unwrap();
        assert_eq!(last, view("paid", 3, 2900));
    }
}
