//! What each kind of event changes, in every order that matters.

use serde_json::{Value, json};

use super::*;
use crate::account::tests::{START, account, at, subscription};
use crate::account::{Checkout, Purchase, PurchaseKind, Session};
use crate::catalog::tests::shipped;
use crate::event::{Acted, Content, Envelope};
use crate::subscription::SubscriptionStatus;

fn event(event_type: &str, object: &Value) -> Event {
    let body = json!({"id": "evt_1", "type": event_type, "created": START, "livemode": false, "data": {"object": object}});
    match Envelope::parse(body.to_string().as_bytes())
        .unwrap()
        .content
    {
        Content::Acted(Acted { event, .. }) => event,
        other @ (Content::Other | Content::Thin(_) | Content::NotUnderstood(_)) => {
            panic!("{other:?}")
        }
    }
}

fn session(payment_status: &str, metadata: &Value) -> Event {
    let object = json!({
        "id": "cs_1", "customer": "cus_1", "payment_status": payment_status, "payment_intent": "pi_1",
        "metadata": metadata,
    });
    event("checkout.session.completed", &object)
}

fn invoice(status: &str, billing_reason: &str, price_id: &str) -> Event {
    let object = json!({
        "id": "in_1", "customer": "cus_1", "status": status, "total": 2900, "amount_paid": 2900, "currency": "usd",
        "created": START, "billing_reason": billing_reason,
        "lines": {"data": [{"quantity": 2, "pricing": {"price_details": {"price": price_id}}}]},
    });
    event("invoice.paid", &object)
}

fn known(account: Account, event: &Event) -> Known {
    let record = match sale_of(event, None) {
        Some(id) => Record::Sale(id, Box::default()),
        None => Record::None,
    };
    Known { account, record }
}

fn decided(known: &Known, event: &Event, fetched: Option<Fetched>) -> Decision {
    decide(known, &"cus_1".into(), event, None, fetched, &shipped())
}

fn changes(decision: Decision) -> Changes {
    match decision {
        Decision::Change(changes) => *changes,
        Decision::NoChange => panic!("no change"),
    }
}

fn balance(decision: Decision) -> Option<i64> {
    match decision {
        Decision::Change(changes) => changes.account.map(|account| account.token_balance),
        Decision::NoChange => None,
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
    let before = known(account(vec![]), &Event::Subscription);
    let first = changes(decided(&before, &Event::Subscription, fetched()))
        .account
        .unwrap();
    assert_eq!(first.subscriptions, std::slice::from_ref(&active));
    let after = known(first, &Event::Subscription);
    assert_eq!(
        decided(&after, &Event::Subscription, fetched()),
        Decision::NoChange
    );
}

#[test]
fn f20_a_replaced_customer_has_no_say_about_the_subscriptions() {
    let fetched = Some(Fetched {
        at: at(START),
        subscriptions: vec![],
    });
    let before = known(
        account(vec![subscription("sub_1", SubscriptionStatus::Active)]),
        &Event::Subscription,
    );
    let decision = decide(
        &before,
        &"cus_former".into(),
        &Event::Subscription,
        None,
        fetched,
        &shipped(),
    );
    assert_eq!(decision, Decision::NoChange);
    let deleted = decide(
        &before,
        &"cus_former".into(),
        &Event::CustomerDeleted,
        None,
        None,
        &shipped(),
    );
    assert_eq!(deleted, Decision::NoChange);
}

#[test]
fn f25_a_deleted_customer_takes_everything_at_stripe_along() {
    let before = known(
        account(vec![subscription("sub_1", SubscriptionStatus::Active)]),
        &Event::CustomerDeleted,
    );
    let account = changes(decided(&before, &Event::CustomerDeleted, None))
        .account
        .unwrap();
    assert_eq!(
        (
            account.customer_id,
            account.subscriptions.len(),
            account.customer_attempts
        ),
        (None, 0, 1)
    );
}

#[test]
fn f23_a_pack_is_granted_when_its_money_is_there() {
    let pack = json!({"pack": "tokens_1000", "quantity": "3"});
    for (payment_status, expected) in [
        ("paid", Some(3_000)),
        ("no_payment_required", Some(3_000)),
        ("unpaid", None),
        ("processing", None),
    ] {
        let event = session(payment_status, &pack);
        assert_eq!(
            balance(decided(&known(account(vec![]), &event), &event, None)),
            expected,
            "{payment_status}"
        );
    }
}

#[test]
fn f10_what_is_paid_is_granted_once() {
    let event = session("paid", &json!({"pack": "tokens_1000"}));
    let first = changes(decided(&known(account(vec![]), &event), &event, None));
    let again = Known {
        account: first.account.unwrap(),
        record: first.record.unwrap(),
    };
    assert_eq!(decided(&again, &event, None), Decision::NoChange);
    let recurring = session("paid", &json!({"pack": "tokens_monthly"}));
    let decision = decided(&known(account(vec![]), &recurring), &recurring, None);
    assert_eq!(decision, Decision::NoChange, "its invoice grants it");
    for quantity in ["0", "-1", "x"] {
        let event = session(
            "paid",
            &json!({"pack": "tokens_1000", "quantity": quantity}),
        );
        assert_eq!(
            balance(decided(&known(account(vec![]), &event), &event, None)),
            None,
            "{quantity}"
        );
    }
}

#[test]
fn a_paid_period_grants_its_tokens_and_a_change_within_it_none() {
    for (status, reason, price, expected) in [
        (
            "paid",
            "subscription_create",
            "price_pro_month",
            Some(20_000),
        ),
        (
            "paid",
            "subscription_cycle",
            "price_tokens_monthly",
            Some(10_000),
        ),
        ("paid", "subscription_update", "price_pro_month", None),
        ("paid", "manual", "price_pro_month", None),
        ("open", "subscription_cycle", "price_pro_month", None),
        ("paid", "subscription_cycle", "price_elsewhere", None),
    ] {
        let event = invoice(status, reason, price);
        let decision = decided(&known(account(vec![]), &event), &event, None);
        assert_eq!(balance(decision), expected, "{status} {reason} {price}");
    }
}

#[test]
fn f11_a_refund_that_is_told_before_its_payment_counts_as_well() {
    let refund = event(
        "charge.refunded",
        &json!({"id": "ch_1", "customer": "cus_1", "amount": 500, "amount_refunded": 250, "payment_intent": "pi_1",
            "metadata": {"pack": "tokens_1000"}}),
    );
    let Event::Refund(charge) = &refund else {
        panic!()
    };
    let paid = session("paid", &json!({"pack": "tokens_1000"}));
    for order in [[&refund, &paid], [&paid, &refund]] {
        let mut state = known(account(vec![]), &paid);
        for event in order {
            assert_eq!(
                sale_of(event, Some(charge)),
                Some(SaleId::Payment("pi_1".to_owned()))
            );
            let changed = changes(decide(
                &state,
                &"cus_1".into(),
                event,
                Some(charge),
                None,
                &shipped(),
            ));
            state = Known {
                account: changed.account.unwrap_or(state.account),
                record: changed.record.unwrap_or(state.record),
            };
        }
        assert_eq!(state.account.token_balance, 500, "{order:?}");
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
            id: "cs_2".into(),
            url: String::new(),
        }),
    });
    let event = session("unpaid", &json!({}));
    assert_eq!(
        decided(&known(holder.clone(), &event), &event, None),
        Decision::NoChange
    );
    holder.checkout.as_mut().unwrap().session = Some(Session {
        id: "cs_1".into(),
        url: String::new(),
    });
    let event = session("unpaid", &json!(null));
    assert_eq!(
        changes(decided(&known(holder, &event), &event, None))
            .account
            .unwrap()
            .checkout,
        None
    );
}

#[test]
fn an_invoice_is_recorded_in_its_latest_state() {
    let (open, paid) = (
        invoice("open", "manual", "x"),
        invoice("paid", "manual", "x"),
    );
    let first = changes(decided(&known(account(vec![]), &paid), &paid, None));
    assert_eq!(first.account, None, "the account has nothing to do with it");
    let seen = Known {
        account: account(vec![]),
        record: first.record.unwrap(),
    };
    assert_eq!(decided(&seen, &open, None), Decision::NoChange);
}

#[test]
fn a_payment_method_is_kept_in_its_latest_state() {
    let method = |customer: Value, exp_year: u16| {
        let object = json!({"id": "pm_1", "type": "card", "customer": customer,
            "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": exp_year}});
        let body = json!({"id": "evt_1", "type": "payment_method.updated", "created": START, "livemode": false,
            "data": {"object": object, "previous_attributes": {"customer": "cus_1"}}});
        match Envelope::parse(body.to_string().as_bytes())
            .unwrap()
            .content
        {
            Content::Acted(acted) => acted.event,
            other @ (Content::Other | Content::Thin(_) | Content::NotUnderstood(_)) => {
                panic!("{other:?}")
            }
        }
    };
    let told = [
        method(json!("cus_1"), 2030),
        method(json!("cus_1"), 2034),
        method(json!(null), 2034),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut record = Record::PaymentMethod(None);
        for index in order {
            let known = Known {
                account: account(vec![]),
                record: record.clone(),
            };
            if let Decision::Change(changes) = decided(&known, &told[index], None) {
                record = changes.record.unwrap();
            }
        }
        let Record::PaymentMethod(Some(last)) = record else {
            panic!()
        };
        assert!(last.detached && last.exp_year == Some(2034), "{order:?}");
    }
}
