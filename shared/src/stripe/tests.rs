//! What is sent to Stripe, to the letter, and how its answers are read.

use stripe_client_core::StripeRequest;

use super::customers::session_request;
use super::*;
use crate::account::tests::at;
use crate::account::{Checkout, Purchase, PurchaseKind};

fn checkout() -> Checkout {
    Checkout {
        attempt: 3,
        purchase: Purchase {
            key: "pro".to_owned(),
            kind: PurchaseKind::Plan,
            price_id: "price_pro_month".into(),
            recurring: true,
            quantity: 2,
            seats: Some((1, 100)),
            currency: "eur".to_owned(),
            success_url: "https://app.example/?s={CHECKOUT_SESSION_ID}".to_owned(),
            cancel_url: "https://app.example/".to_owned(),
            trial_days: Some(14),
            promotion_codes: true,
            automatic_tax: true,
        },
        begun_at: at(1_790_000_000),
        expires_at: at(1_790_043_200),
        session: None,
    }
}

fn body(checkout: &Checkout) -> String {
    let request = session_request(&"alice".into(), &"cus_1".into(), checkout);
    let (method, path, body) = parts(request.build());
    assert_eq!((method, path.as_str()), ("POST", "/v1/checkout/sessions"));
    body.unwrap()
}

#[test]
fn f39_a_repeat_is_the_same_body_to_the_letter() {
    let first = body(&checkout());
    for _ in 0..20 {
        assert_eq!(body(&checkout()), first);
    }
}

#[test]
fn a_plan_is_sold_with_everything_that_ties_it_to_its_user() {
    let body = body(&checkout());
    let pairs: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
    for (name, value) in [
        ("mode", "subscription"),
        ("customer", "cus_1"),
        ("client_reference_id", "alice"),
        ("currency", "eur"),
        ("line_items[0][price]", "price_pro_month"),
        ("line_items[0][quantity]", "2"),
        ("line_items[0][adjustable_quantity][maximum]", "100"),
        ("metadata[user_id]", "alice"),
        ("metadata[plan]", "pro"),
        ("subscription_data[metadata][user_id]", "alice"),
        ("subscription_data[trial_period_days]", "14"),
        ("allow_promotion_codes", "true"),
        ("automatic_tax[enabled]", "true"),
        ("customer_update[address]", "auto"),
        ("expires_at", "1790043200"),
        (
            "success_url",
            "https://app.example/?s={CHECKOUT_SESSION_ID}",
        ),
    ] {
        assert_eq!(
            pairs.get(name).map(String::as_str),
            Some(value),
            "{name} in {pairs:?}"
        );
    }
}

#[test]
fn a_pack_is_a_payment_whose_intent_names_the_user() {
    let mut checkout = checkout();
    checkout.purchase.recurring = false;
    checkout.purchase.kind = PurchaseKind::Pack;
    checkout.purchase.key = "tokens_1000".to_owned();
    let body = body(&checkout);
    let pairs: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
    assert_eq!(pairs["mode"], "payment");
    assert_eq!(pairs["payment_intent_data[metadata][user_id]"], "alice");
    assert_eq!(pairs["metadata[pack]"], "tokens_1000");
    assert!(!body.contains("subscription_data"));
}

#[test]
fn f29_the_idempotency_key_tells_owner_intent_and_attempt_apart() {
    let key = idempotency_key(&["checkout", "alice", "cus_1", "1"]);
    assert_eq!(key, idempotency_key(&["checkout", "alice", "cus_1", "1"]));
    for other in [
        ["checkout", "alice", "cus_1", "2"],
        ["checkout", "alic", "ecus_1", "1"],
        ["expire", "alice", "cus_1", "1"],
    ] {
        assert_ne!(key, idempotency_key(&other));
    }
}

#[test]
fn stripe_itself_says_whether_another_attempt_is_worth_it() {
    let response = |status, should_retry| Response {
        status,
        body: vec![],
        retry_after_seconds: None,
        should_retry,
        request_id: None,
        rate_limited_reason: None,
    };
    for (status, should_retry, expected) in [
        (200, None, false),
        (200, Some(true), false),
        (402, None, false),
        (409, None, true),
        (409, Some(false), false),
        (429, None, true),
        (500, None, true),
        (400, Some(true), true),
    ] {
        assert_eq!(
            is_worth_another(&response(status, should_retry)),
            expected,
            "{status} {should_retry:?}"
        );
    }
}
