//! The heart: what an event changes, given what is known. Pure, synchronous, total.
//!
//! No I/O and no clock. Whatever the order, repetition or delay of events, applying their decisions ends
//! in the account that Stripe's objects describe.

use jiff::Timestamp;

use crate::account::Account;
use crate::catalog::{Catalog, Item};
use crate::event::{
    BilledItem, CheckoutSession, Event, InvoiceStatus, PaymentMethod, PaymentStatus,
};
use crate::event::{Charge, Invoice};
use crate::ids::CustomerId;
use crate::sale::{LedgerEntry, Sale, SaleId};
use crate::subscription::Subscription;

/// What is known before the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The user's account.
    pub account: Account,
    /// The record that the event is about, as far as it was seen before.
    pub record: Record,
}

/// A record beside the account that an event may change.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The event has none.
    None,
    /// An invoice or a payment, with its tokens.
    Sale(SaleId, Box<Sale>),
    /// A payment method, if it was seen before.
    PaymentMethod(Option<PaymentMethod>),
}

/// The customer's subscriptions, as Stripe answered to a fetch that began after the account was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// When the fetch began.
    pub at: Timestamp,
    /// All of them, whatever their status.
    pub subscriptions: Vec<Subscription>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing that is known changes.
    NoChange,
    /// These change, together or not at all.
    Change(Box<Changes>),
}

/// What one event changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// The account as it is to be, if it changes.
    pub account: Option<Account>,
    /// The record as it is to be, if it changes.
    pub record: Option<Record>,
    /// Entries of the token ledger; their sum is already in the account's balance.
    pub ledger: Vec<LedgerEntry>,
}

/// Whether the event may have changed the customer's subscriptions, so that they are to be fetched
/// unless the account already contains it.
pub fn concerns_subscriptions(event: &Event) -> bool {
    match event {
        Event::CheckoutSession(_) | Event::Subscription => true,
        Event::Invoice(invoice, _) => invoice.subscription_id.is_some(),
        Event::Payment(_)
        | Event::PaymentMethod(_)
        | Event::Refund(_)
        | Event::Dispute(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => false,
    }
}

/// Decides one event about `customer_id`. A refund or dispute comes with the charge that it is of.
pub fn decide(
    known: &Known,
    customer_id: &CustomerId,
    event: &Event,
    charge: Option<&Charge>,
    fetched: Option<Fetched>,
    catalog: &Catalog,
) -> Decision {
    let mut account = known.account.clone();
    // A customer who was replaced has no say about the user's subscriptions any more.
    let is_current = account.customer_id.as_ref() == Some(customer_id);
    if let Some(fetched) = fetched.filter(|_| is_current) {
        account.sync(fetched.subscriptions, fetched.at);
    }
    let mut record = known.record.clone();
    let mut ledger = Vec::new();
    match event {
        Event::CheckoutSession(session) => close_checkout(&mut account, session),
        Event::CustomerDeleted if is_current => account.lose_customer(),
        Event::Subscription
        | Event::Invoice(..)
        | Event::Payment(_)
        | Event::PaymentMethod(_)
        | Event::Refund(_)
        | Event::Dispute(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => {}
    }
    match (&mut record, event) {
        (Record::PaymentMethod(seen), Event::PaymentMethod(method)) => {
            *seen = Some(
                seen.take()
                    .map_or_else(|| method.clone(), |seen| seen.join(method.clone())),
            );
        }
        (Record::Sale(id, sale), event) => {
            see(sale, event, charge);
            ledger.extend(sale.grant(id, tokens_paid_for(event, catalog)));
            ledger.extend(sale.correct(id));
        }
        (Record::None | Record::PaymentMethod(_), _) => {}
    }
    for entry in &ledger {
        account.token_balance = account.token_balance.saturating_add(entry.tokens);
    }
    let account = (!account.same_facts(&known.account)).then_some(account);
    let record = (record != known.record).then_some(record);
    if account.is_none() && record.is_none() {
        return Decision::NoChange;
    }
    Decision::Change(Box::new(Changes {
        account,
        record,
        ledger,
    }))
}

/// Which sale an event is about. A refund or dispute needs the charge, and the invoice that it paid.
pub fn sale_of(event: &Event, charge: Option<&Charge>) -> Option<SaleId> {
    match event {
        Event::Invoice(invoice, _) => Some(SaleId::Invoice(invoice.id.clone())),
        Event::Payment(payment) => Some(SaleId::Payment(payment.id.to_string())),
        Event::CheckoutSession(session) => session.metadata.pack.as_ref().map(|_| {
            let paid = session.payment_intent.as_ref().map(ToString::to_string);
            SaleId::Payment(paid.unwrap_or_else(|| session.id.to_string()))
        }),
        Event::Refund(_) | Event::Dispute(_) => {
            charge.map(
                |charge| match (&charge.invoice_id, &charge.payment_intent_id) {
                    (Some(invoice_id), _) => SaleId::Invoice(invoice_id.clone()),
                    (None, Some(payment)) => SaleId::Payment(payment.to_string()),
                    (None, None) => SaleId::Payment(charge.id.to_string()),
                },
            )
        }
        Event::Subscription
        | Event::PaymentMethod(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => None,
    }
}

fn see(sale: &mut Sale, event: &Event, charge: Option<&Charge>) {
    match event {
        Event::Invoice(invoice, _) => sale.see_invoice(invoice),
        Event::Payment(payment) => sale.see_payment(payment),
        Event::Refund(_) => {
            if let Some(charge) = charge {
                sale.see_refund(charge);
            }
        }
        Event::Dispute(dispute) => {
            if let Some(charge) = charge {
                sale.see_dispute(dispute, charge);
            }
        }
        Event::CheckoutSession(_)
        | Event::Subscription
        | Event::PaymentMethod(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => {}
    }
}

/// All of a session's events tell that nobody can pay it any more.
fn close_checkout(account: &mut Account, session: &CheckoutSession) {
    let open = account
        .checkout
        .as_ref()
        .and_then(|checkout| checkout.session.as_ref());
    if open.is_some_and(|open| open.id == session.id) {
        account.checkout = None;
    }
}

/// Tokens are granted by what is paid: a one-time pack by its session, everything that recurs by the
/// invoice of each period.
fn tokens_paid_for(event: &Event, catalog: &Catalog) -> i64 {
    match event {
        Event::CheckoutSession(session) => pack_tokens(session, catalog),
        Event::Invoice(invoice, items) => period_tokens(invoice, items, catalog),
        Event::Subscription
        | Event::Payment(_)
        | Event::PaymentMethod(_)
        | Event::Refund(_)
        | Event::Dispute(_)
        | Event::CustomerUpdated
        | Event::CustomerDeleted => 0,
    }
}

/// A one-time pack is granted once its money is there; delayed methods such as SEPA say so later.
fn pack_tokens(session: &CheckoutSession, catalog: &Catalog) -> i64 {
    match session.payment_status {
        PaymentStatus::Paid | PaymentStatus::NoPaymentRequired => {}
        PaymentStatus::Unpaid | PaymentStatus::Unknown => return 0,
    }
    let key = session.metadata.pack.as_deref();
    let quantity: i64 = session
        .metadata
        .quantity
        .as_deref()
        .unwrap_or("1")
        .parse()
        .unwrap_or_default();
    let packs = &catalog.definition.packs;
    let pack = packs
        .iter()
        .find(|pack| Some(pack.key.as_str()) == key && pack.interval.is_none());
    pack.map_or(0, |pack| pack.tokens.saturating_mul(quantity.max(0)))
}

fn period_tokens(invoice: &Invoice, items: &[BilledItem], catalog: &Catalog) -> i64 {
    match invoice.status {
        InvoiceStatus::Paid => {}
        InvoiceStatus::Draft
        | InvoiceStatus::Open
        | InvoiceStatus::Uncollectible
        | InvoiceStatus::Void
        | InvoiceStatus::Unknown => return 0,
    }
    let tokens = items.iter().map(|item| {
        let each = match catalog.offer_of(&item.price_id).map(|offer| offer.item) {
            Some(Item::Plan(plan, _)) => plan.tokens_per_period,
            Some(Item::Pack(pack)) => pack.tokens,
            None => 0,
        };
        each.saturating_mul(i64::try_from(item.quantity).unwrap_or_default())
    });
    tokens.fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests;
