//! One step at a time, from every state that an account can be in.

use shared::account::PurchaseKind;
use shared::subscription::{Subscription, SubscriptionStatus};

use super::*;

const NOW: i64 = 1_790_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn wanted(key: &str, recurring: bool) -> Wanted {
    Wanted {
        purchase: Purchase {
            key: key.to_owned(),
            kind: PurchaseKind::Plan,
            price_id: format!("price_{key}").as_str().into(),
            recurring,
            quantity: 1,
            seats: None,
            currency: "usd".to_owned(),
            success_url: "https://app.example/".to_owned(),
            cancel_url: "https://app.example/".to_owned(),
            trial_days: Some(14),
            promotion_codes: true,
            automatic_tax: false,
        },
        currency: None,
        currencies: vec!["eur".to_owned(), "usd".to_owned()],
    }
}

fn customer() -> Account {
    Account {
        version: 2,
        customer_id: Some("cus_1".into()),
        ..Account::new("alice".into())
    }
}

fn session() -> Session {
    Session {
        id: "cs_1".into(),
        url: "https://checkout.stripe.com/c/pay/cs_1".to_owned(),
    }
}

fn reserved(session: Option<Session>) -> Account {
    let checkout = Checkout {
        session,
        ..reservation(&customer(), wanted("pro", true).purchase, at(NOW))
    };
    Account {
        checkouts_begun: 1,
        checkout: Some(checkout),
        ..customer()
    }
}

fn subscription(status: SubscriptionStatus) -> Subscription {
    Subscription {
        id: "sub_1".into(),
        status,
        price_id: None,
        quantity: 1,
        currency: "eur".to_owned(),
        created: at(NOW),
        current_period_start: at(NOW),
        current_period_end: at(NOW + 1),
        cancel_at: None,
        trial_end: None,
        ended_at: None,
        awaits_payment: false,
        unpaid_since: None,
    }
}

fn step(account: &Account, now: i64) -> Step {
    next_step(account, &wanted("pro", true), at(now)).unwrap()
}

#[test]
fn the_steps_lead_from_a_stranger_to_an_open_session() {
    assert_eq!(
        step(&Account::new("alice".into()), NOW),
        Step::ClaimCustomer
    );
    let Step::Reserve { checkout, .. } = step(&customer(), NOW) else {
        panic!()
    };
    assert_eq!((checkout.attempt, checkout.session.is_none()), (1, true));
    assert!(
        matches!(step(&reserved(None), NOW + 1), Step::OpenSession { checkout, .. } if checkout.attempt == 1)
    );
    let open = step(&reserved(Some(session())), NOW + 1);
    assert_eq!(
        open,
        Step::Return {
            session: session(),
            expires_at: at(NOW + 12 * 3600)
        }
    );
}

#[test]
fn f30_a_session_for_something_else_is_closed_first() {
    let other = wanted("starter", true);
    let step = next_step(&reserved(Some(session())), &other, at(NOW)).unwrap();
    assert!(matches!(step, Step::CloseSession { .. }));
}

#[test]
fn a_session_about_to_end_is_closed_and_never_handed_out() {
    let ends = NOW + 12 * 3600;
    assert!(matches!(
        step(&reserved(Some(session())), ends - 600),
        Step::Return { .. }
    ));
    assert!(matches!(
        step(&reserved(Some(session())), ends - 599),
        Step::CloseSession { .. }
    ));
    assert!(matches!(
        step(&reserved(Some(session())), ends + 1),
        Step::CloseSession { .. }
    ));
}

#[test]
fn f39_a_reservation_that_was_never_opened_is_completed_first_also_for_another_purchase() {
    let unopened = reserved(None);
    for wanted in [wanted("pro", true), wanted("starter", true)] {
        let step = next_step(&unopened, &wanted, at(NOW + 11 * 3600 - 1)).unwrap();
        assert!(
            matches!(step, Step::OpenSession { checkout, .. } if checkout == unopened.checkout.clone().unwrap())
        );
        let step = next_step(&unopened, &wanted, at(NOW + 11 * 3600)).unwrap();
        assert!(matches!(step, Step::Reserve { checkout, .. } if checkout.attempt == 2));
    }
}

#[test]
fn f08_whoever_has_a_live_subscription_gets_no_second_one() {
    use SubscriptionStatus::{
        Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unknown, Unpaid,
    };
    for (status, refused) in [
        (Active, true),
        (Trialing, true),
        (PastDue, true),
        (Unpaid, true),
        (Paused, true),
        (Unknown, true),
        (Canceled, false),
        (Incomplete, false),
        (IncompleteExpired, false),
    ] {
        let account = Account {
            subscriptions: vec![subscription(status)],
            ..customer()
        };
        let plan = next_step(&account, &wanted("pro", true), at(NOW));
        assert_eq!(
            plan == Err(Problem::AlreadySubscribed),
            refused,
            "{status:?}"
        );
        assert!(
            next_step(&account, &wanted("tokens_1000", false), at(NOW)).is_ok(),
            "a one-time pack is always sold"
        );
    }
}

#[test]
fn f27_a_trial_is_offered_once() {
    let first = step(&customer(), NOW);
    assert!(
        matches!(first, Step::Reserve { checkout, .. } if checkout.purchase.trial_days == Some(14))
    );
    let account = Account {
        trial_claimed_at: Some(at(NOW - 1)),
        ..customer()
    };
    assert!(
        matches!(step(&account, NOW), Step::Reserve { checkout, .. } if checkout.purchase.trial_days.is_none())
    );
}

#[test]
fn f30_the_customers_currency_is_honoured() {
    let account = Account {
        subscriptions: vec![subscription(SubscriptionStatus::Canceled)],
        ..customer()
    };
    let Step::Reserve { checkout, .. } = step(&account, NOW) else {
        panic!()
    };
    assert_eq!(checkout.purchase.currency, "eur");
    let asked = Wanted {
        currency: Some("usd".to_owned()),
        ..wanted("pro", true)
    };
    let refused = next_step(&account, &asked, at(NOW)).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("currency: this customer pays in eur")
    );
    let only_usd = Wanted {
        currencies: vec!["usd".to_owned()],
        ..wanted("pro", true)
    };
    assert!(next_step(&account, &only_usd, at(NOW)).is_err());
}
