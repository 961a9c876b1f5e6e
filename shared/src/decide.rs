//! The heart: what an event changes, given what is known. Pure, synchronous, total.
//!
//! No I/O and no clock. Whatever the order, repetition or delay of events, applying their decisions ends
//! in the account that Stripe's objects describe.

use jiff::Timestamp;

use crate::account::Account;
use crate::catalog::Catalog;
use crate::event::{CheckoutSession, Event, Invoice, PaymentStatus};
use crate::subscription::Subscription;

/// What is known before the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The user's account.
    pub account: Account,
    /// The invoice that the event is about, if it was seen before.
    pub invoice: Option<Invoice>,
    /// Whether the payment that the event is about was granted before.
    pub granted: bool,
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
    /// The account as it is to be.
    pub account: Account,
    /// The invoice as it is to be recorded.
    pub invoice: Option<Invoice>,
    /// Tokens to grant.
    pub grant: Option<Grant>,
}

/// An entry of the token ledger, keyed by what was paid and not by the event that told us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The payment that it is for.
    pub source: String,
    /// How many tokens.
    pub tokens: i64,
    /// The catalogue's key of what was bought.
    pub key: String,
}

/// Whether the event may have changed the customer's subscriptions, so that they are to be fetched
/// unless the account already contains it.
pub fn concerns_subscriptions(event: &Event) -> bool {
    match event {
        Event::CheckoutSession(_) | Event::Subscription => true,
        Event::Invoice(invoice) => invoice.subscription_id.is_some(),
    }
}

/// Decides one event.
pub fn decide(
    known: &Known,
    event: &Event,
    fetched: Option<Fetched>,
    catalog: &Catalog,
) -> Decision {
    let mut account = known.account.clone();
    if let Some(fetched) = fetched {
        account.sync(fetched.subscriptions, fetched.at);
    }
    let mut invoice_to_write = None;
    let mut grant = None;
    match event {
        Event::Subscription => {}
        Event::Invoice(invoice) => {
            let joined = match &known.invoice {
                Some(recorded) => recorded.clone().join(invoice.clone()),
                None => invoice.clone(),
            };
            invoice_to_write = (known.invoice.as_ref() != Some(&joined)).then_some(joined);
        }
        Event::CheckoutSession(session) => {
            close_checkout(&mut account, session);
            grant = (!known.granted)
                .then(|| pack_grant(session, catalog))
                .flatten();
        }
    }
    if let Some(grant) = &grant {
        account.token_balance = account.token_balance.saturating_add(grant.tokens);
    }
    if account.same_facts(&known.account) && invoice_to_write.is_none() {
        return Decision::NoChange;
    }
    Decision::Change(Box::new(Changes {
        account,
        invoice: invoice_to_write,
        grant,
    }))
}

/// What pays for a session, and so names the grant: its payment, or itself where there was nothing to pay.
pub fn grant_source(session: &CheckoutSession) -> String {
    session
        .payment_intent
        .as_ref()
        .map_or_else(|| session.id.to_string(), ToString::to_string)
}

/// All of a session's events tell that nobody can pay it any more.
fn close_checkout(account: &mut Account, session: &CheckoutSession) {
    let is_this = account
        .checkout
        .as_ref()
        .and_then(|checkout| checkout.session.as_ref())
        .is_some_and(|open| open.id == session.id);
    if is_this {
        account.checkout = None;
    }
}

/// A one-time pack is granted once its money is there; delayed methods such as SEPA say so later.
fn pack_grant(session: &CheckoutSession, catalog: &Catalog) -> Option<Grant> {
    let key = session.metadata.pack.as_deref()?;
    let is_paid = match session.payment_status {
        PaymentStatus::Paid | PaymentStatus::NoPaymentRequired => true,
        PaymentStatus::Unpaid | PaymentStatus::Unknown => false,
    };
    let pack = catalog
        .definition
        .packs
        .iter()
        .find(|pack| pack.key == key && pack.interval.is_none())?;
    let quantity: i64 = session
        .metadata
        .quantity
        .as_deref()
        .unwrap_or("1")
        .parse()
        .ok()
        .filter(|q| *q > 0)?;
    is_paid.then(|| Grant {
        source: grant_source(session),
        tokens: pack.tokens.saturating_mul(quantity),
        key: key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::account::tests::{START, account, at, subscription};
    use crate::account::{Checkout, Purchase, PurchaseKind, Session};
    use crate::catalog::tests::shipped;
    use crate::subscription::SubscriptionStatus;

    fn known(account: Account) -> Known {
        Known {
            account,
            invoice: None,
            granted: false,
        }
    }

    fn session(id: &str, payment_status: &str, metadata: serde_json::Value) -> CheckoutSession {
        serde_json::from_value(json!({
            "id": id, "payment_status": payment_status, "payment_intent": "pi_1", "metadata": metadata,
        }))
        .unwrap()
    }

    fn changes(decision: Decision) -> Changes {
        match decision {
            Decision::Change(changes) => *changes,
            Decision::NoChange => panic!("no change"),
        }
    }

    #[test]
    fn f01_state_comes_from_the_fetch_and_not_from_the_event() {
        let active = subscription("sub_1", SubscriptionStatus::Active);
        let fetched = || {
            Some(Fetched {
                at: at(START),
                subscriptions: vec![active.clone()],
            })
        };
        let first = changes(decide(
            &known(account(vec![])),
            &Event::Subscription,
            fetched(),
            &shipped(),
        ));
        assert_eq!(first.account.subscriptions, std::slice::from_ref(&active));
        let again = decide(
            &known(first.account),
            &Event::Subscription,
            fetched(),
            &shipped(),
        );
        assert_eq!(again, Decision::NoChange);
    }

    #[test]
    fn f23_a_pack_is_granted_when_its_money_is_there_and_once() {
        let pack = json!({"pack": "tokens_1000", "quantity": "3"});
        let catalog = shipped();
        for (payment_status, granted, expected) in [
            ("paid", false, Some(3_000)),
            ("no_payment_required", false, Some(3_000)),
            ("unpaid", false, None),
            ("processing", false, None),
            ("paid", true, None),
        ] {
            let known = Known {
                granted,
                ..known(account(vec![]))
            };
            let event = Event::CheckoutSession(session("cs_1", payment_status, pack.clone()));
            let decided = decide(&known, &event, None, &catalog);
            let tokens = match decided {
                Decision::Change(changes) => Some(changes.account.token_balance),
                Decision::NoChange => None,
            };
            assert_eq!(tokens, expected, "{payment_status} {granted}");
        }
    }

    #[test]
    fn f10_a_recurring_pack_is_not_granted_by_its_session() {
        let event =
            Event::CheckoutSession(session("cs_1", "paid", json!({"pack": "tokens_monthly"})));
        assert_eq!(
            decide(&known(account(vec![])), &event, None, &shipped()),
            Decision::NoChange
        );
        for quantity in ["0", "-1", "x"] {
            let metadata = json!({"pack": "tokens_1000", "quantity": quantity});
            let event = Event::CheckoutSession(session("cs_1", "paid", metadata));
            assert_eq!(
                decide(&known(account(vec![])), &event, None, &shipped()),
                Decision::NoChange
            );
        }
    }

    #[test]
    fn a_session_ends_its_own_reservation_only() {
        let mut holder = account(vec![]);
        holder.checkout = Some(Checkout {
            attempt: 1,
            purchase: Purchase {
                key: "pro".to_owned(),
                kind: PurchaseKind::Plan,
                price_id: "price_pro_month".into(),
                recurring: true,
                quantity: 1,
                seats: None,
                currency: "usd".to_owned(),
                success_url: String::new(),
                cancel_url: String::new(),
                trial_days: None,
                promotion_codes: false,
                automatic_tax: false,
            },
            begun_at: at(START),
            expires_at: at(START + 3600),
            session: Some(Session {
                id: "cs_1".into(),
                url: String::new(),
            }),
        });
        let other = Event::CheckoutSession(session("cs_2", "unpaid", json!({})));
        assert_eq!(
            decide(&known(holder.clone()), &other, None, &shipped()),
            Decision::NoChange
        );
        let this = Event::CheckoutSession(session("cs_1", "unpaid", json!(null)));
        assert_eq!(
            changes(decide(&known(holder), &this, None, &shipped()))
                .account
                .checkout,
            None
        );
    }

    #[test]
    fn an_invoice_is_recorded_in_its_latest_state() {
        let invoice = |status: &str| -> Invoice {
            serde_json::from_value(json!({
                "id": "in_1", "status": status, "total": 2900, "currency": "usd", "created": START,
            }))
            .unwrap()
        };
        let paid = Known {
            invoice: Some(invoice("paid")),
            ..known(account(vec![]))
        };
        assert_eq!(
            decide(&paid, &Event::Invoice(invoice("open")), None, &shipped()),
            Decision::NoChange
        );
        let open = Known {
            invoice: Some(invoice("open")),
            ..known(account(vec![]))
        };
        let changes = changes(decide(
            &open,
            &Event::Invoice(invoice("paid")),
            None,
            &shipped(),
        ));
        assert_eq!(changes.invoice, Some(invoice("paid")));
    }
}
