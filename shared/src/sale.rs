//! One sale: an invoice or a one-time payment, with the tokens that it granted and the money that went
//! back. Pure.
//!
//! Every fact only moves forward, so that order and repetition do not matter. Tokens follow the money:
//! what of it went back takes its share of the tokens back, and a won dispute returns them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Charge, Dispute, DisputeStatus, Invoice, Payment};
use crate::ids::{ChargeId, DisputeId, InvoiceId};

/// Which sale: what was paid, and what the ledger calls it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SaleId {
    /// An invoice.
    Invoice(InvoiceId),
    /// A one-time payment; a Checkout in which there was nothing to pay stands for its payment.
    Payment(String),
}

impl SaleId {
    /// The id of what was paid, for the ledger.
    pub fn source(&self) -> &str {
        match self {
            Self::Invoice(id) => id.as_str(),
            Self::Payment(id) => id,
        }
    }
}

/// The record of a sale.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sale {
    /// The invoice, if it is one and was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<Invoice>,
    /// The payment, if it is one and was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// Charges of which money went back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charges: BTreeMap<ChargeId, ChargedBack>,
    /// Disputes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disputes: BTreeMap<DisputeId, Disputed>,
    /// Tokens that the payment granted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub granted: i64,
    /// Tokens of them that are taken back at the moment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taken_back: i64,
    /// How many entries the ledger has for money that went back or returned.
    #[serde(default, skip_serializing_if = "is_none")]
    pub corrections: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(tokens: &i64) -> bool {
    *tokens == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// A charge of which money went back.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChargedBack {
    /// What was charged.
    pub amount: i64,
    /// What of it was refunded in all.
    pub refunded: i64,
}

/// A dispute of a charge.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Disputed {
    /// How much is disputed.
    pub amount: i64,
    /// Where it stands.
    pub status: DisputeStatus,
}

/// An entry of the token ledger.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LedgerEntry {
    /// What it is for; there is one entry of it, ever.
    pub source: String,
    /// How many tokens come, or go if negative.
    pub tokens: i64,
    /// Why.
    pub reason: Reason,
}

/// Why tokens come or go.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// They were paid for.
    Grant,
    /// Money went back: a refund or a dispute.
    TakenBack,
    /// Money returned: a dispute was won.
    GivenBack,
    /// They were spent.
    Spend,
}

impl Sale {
    /// Takes an invoice's state over.
    pub fn see_invoice(&mut self, invoice: &Invoice) {
        let known = self.invoice.take();
        self.invoice =
            Some(known.map_or_else(|| invoice.clone(), |known| known.join(invoice.clone())));
    }

    /// Takes a payment's state over.
    pub fn see_payment(&mut self, payment: &Payment) {
        let known = self.payment.take();
        self.payment =
            Some(known.map_or_else(|| payment.clone(), |known| known.join(payment.clone())));
    }

    /// Takes over what was refunded of a charge.
    pub fn see_refund(&mut self, charge: &Charge) {
        let known = self.charges.entry(charge.id.clone()).or_default();
        known.amount = known.amount.max(charge.amount);
        known.refunded = known.refunded.max(charge.amount_refunded);
    }

    /// Takes a dispute's state over; the charge tells what the disputed amount is a part of.
    pub fn see_dispute(&mut self, dispute: &Dispute, charge: &Charge) {
        self.see_refund(charge);
        let latest = Disputed {
            amount: dispute.amount,
            status: dispute.status,
        };
        let known = self.disputes.entry(dispute.id.clone()).or_insert(latest);
        known.amount = known.amount.max(latest.amount);
        known.status = known.status.max(latest.status);
    }

    /// Grants tokens, unless the sale has granted any.
    pub fn grant(&mut self, id: &SaleId, tokens: i64) -> Option<LedgerEntry> {
        if self.granted != 0 || tokens <= 0 {
            return None;
        }
        self.granted = tokens;
        Some(LedgerEntry {
            source: id.source().to_owned(),
            tokens,
            reason: Reason::Grant,
        })
    }

    /// The entry by which the ledger follows the money, if it does not yet.
    pub fn correct(&mut self, id: &SaleId) -> Option<LedgerEntry> {
        let due = self.share_gone();
        let more = due - self.taken_back;
        if more == 0 {
            return None;
        }
        self.taken_back = due;
        self.corrections = self.corrections.saturating_add(1);
        let source = format!("{}#{}", id.source(), self.corrections);
        let reason = if more > 0 {
            Reason::TakenBack
        } else {
            Reason::GivenBack
        };
        Some(LedgerEntry {
            source,
            tokens: -more,
            reason,
        })
    }

    /// The granted tokens' share of the money that went back, rounded down.
    fn share_gone(&self) -> i64 {
        let charged: i128 = self
            .charges
            .values()
            .map(|charge| i128::from(charge.amount))
            .sum();
        let invoiced = self
            .invoice
            .as_ref()
            .map_or(0, |invoice| i128::from(invoice.amount_paid));
        let paid = charged.max(invoiced);
        let refunded: i128 = self
            .charges
            .values()
            .map(|charge| i128::from(charge.refunded))
            .sum();
        let disputes = self
            .disputes
            .values()
            .filter(|dispute| dispute.status.withdraws());
        let disputed: i128 = disputes.map(|dispute| i128::from(dispute.amount)).sum();
        let gone = (refunded + disputed).min(paid);
        if paid <= 0 || gone <= 0 {
            return 0;
        }
        i64::try_from(i128::from(self.granted) * gone / paid).unwrap_or(self.granted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SaleId {
        SaleId::Payment("pi_1".to_owned())
    }

    fn charge(refunded: i64) -> Charge {
        Charge {
            id: "ch_1".into(),
            customer_id: None,
            amount: 1_000,
            amount_refunded: refunded,
            payment_intent_id: Some("pi_1".into()),
            invoice_id: None,
            is_of_pack: true,
        }
    }

    fn dispute(amount: i64, status: DisputeStatus) -> Dispute {
        Dispute {
            id: "dp_1".into(),
            charge: "ch_1".into(),
            amount,
            status,
        }
    }

    /// Something that is told about a sale.
    #[derive(Clone, Debug)]
    enum Told {
        Paid,
        Refunded(i64),
        Disputed(i64, DisputeStatus),
    }

    fn tell(sale: &mut Sale, told: &Told) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        match told {
            Told::Paid => entries.extend(sale.grant(&id(), 300)),
            Told::Refunded(amount) => sale.see_refund(&charge(*amount)),
            Told::Disputed(amount, status) => {
                sale.see_dispute(&dispute(*amount, *status), &charge(0))
            }
        }
        entries.extend(sale.correct(&id()));
        entries
    }

    fn balance(told: &[Told]) -> i64 {
        let mut sale = Sale::default();
        told.iter()
            .flat_map(|told| tell(&mut sale, told))
            .map(|entry| entry.tokens)
            .sum()
    }

    #[test]
    fn f11_refund_then_dispute_then_win_nets_right() {
        use DisputeStatus::{Lost, NeedsResponse, WarningNeedsResponse, Won};
        use Told::{Disputed, Paid, Refunded};
        for (told, expected) in [
            (vec![Paid], 300),
            (vec![Paid, Refunded(500)], 150),
            (vec![Paid, Refunded(500), Refunded(1_000)], 0),
            (vec![Paid, Refunded(1)], 300),
            (vec![Paid, Refunded(500), Disputed(500, NeedsResponse)], 0),
            (vec![Paid, Refunded(500), Disputed(1_000, NeedsResponse)], 0),
            (
                vec![
                    Paid,
                    Refunded(500),
                    Disputed(500, NeedsResponse),
                    Disputed(500, Won),
                ],
                150,
            ),
            (
                vec![Paid, Disputed(1_000, NeedsResponse), Disputed(1_000, Lost)],
                0,
            ),
            (vec![Paid, Disputed(1_000, WarningNeedsResponse)], 300),
            (vec![Refunded(1_000), Paid], 0),
        ] {
            assert_eq!(balance(&told), expected, "{told:?}");
        }
    }

    #[test]
    fn each_correction_has_a_source_of_its_own() {
        let mut sale = Sale::default();
        let told = [
            Told::Paid,
            Told::Disputed(1_000, DisputeStatus::NeedsResponse),
            Told::Disputed(1_000, DisputeStatus::Won),
        ];
        let entries: Vec<LedgerEntry> =
            told.iter().flat_map(|told| tell(&mut sale, told)).collect();
        let sources: Vec<&str> = entries.iter().map(|entry| entry.source.as_str()).collect();
        assert_eq!(sources, ["pi_1", "pi_1#1", "pi_1#2"]);
        let reasons: Vec<Reason> = entries.iter().map(|entry| entry.reason).collect();
        assert_eq!(
            reasons,
            [Reason::Grant, Reason::TakenBack, Reason::GivenBack]
        );
    }

    fn any_told() -> impl Strategy<Value = Told> {
        use DisputeStatus::{
            Lost, NeedsResponse, UnderReview, WarningClosed, WarningNeedsResponse, Won,
        };
        let status = prop::sample::select(vec![
            WarningNeedsResponse,
            WarningClosed,
            NeedsResponse,
            UnderReview,
            Won,
            Lost,
        ]);
        prop_oneof![
            Just(Told::Paid),
            (0..=1_000_i64).prop_map(Told::Refunded),
            (1..=1_000_i64, status).prop_map(|(amount, status)| Told::Disputed(amount, status)),
        ]
    }

    proptest! {
        /// P6: whatever is told in whatever order, however often, the ledger nets to the same, between
        /// nothing and what was granted.
        #[test]
        fn p6_the_ledger_follows_the_money_in_any_order(
            told in prop::collection::vec(any_told(), 0..12).prop_shuffle(),
            seed in prop::collection::vec(0..12_usize, 0..12),
        ) {
            let mut other = told.clone();
            other.reverse();
            other.extend(seed.iter().filter_map(|index| told.get(*index).cloned()));
            prop_assert_eq!(balance(&told), balance(&other));
            let paid = told.iter().any(|told| matches!(told, Told::Paid));
            let most = if paid { 300 } else { 0 };
            prop_assert!((0..=most).contains(&balance(&told)));
        }
    }
}
