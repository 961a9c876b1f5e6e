//! Payments, sessions, refunds, disputes and what stays after a restart.

use serde_json::json;

use super::{DAY, Shop, card, made, shop};
use crate::clock::Clock;
use crate::json::Fields;
use crate::world::{PayOutcome, World};

#[test]
fn checkout_of_a_subscription_announces_its_parts_in_order() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let session = shop.session(
        "subscription",
        &price,
        json!({ "subscription_data": { "metadata": { "u": "7" } } }),
    );
    let before = shop.world.newest_event();
    shop.world
        .pay_checkout(&session, &card("4242424242424242"))
        .unwrap();
    assert_eq!(
        shop.types_after(before),
        [
            "payment_intent.created",
            "payment_method.attached",
            "charge.succeeded",
            "payment_intent.succeeded",
            "customer.updated",
            "customer.subscription.created",
            "invoice.created",
            "invoice.finalized",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid",
            "customer.subscription.updated",
            "checkout.session.completed",
        ]
    );
    let session = shop.world.object(&session).unwrap().clone();
    assert_eq!(
        (session.text("status"), session.text("payment_status")),
        ("complete", "paid")
    );
    let invoice = shop.world.object(session.text("invoice")).unwrap();
    assert_eq!(
        invoice.at("parent/subscription_details/metadata"),
        &json!({ "u": "7" })
    );
    assert_eq!(
        (invoice.text("status"), invoice.int("amount_paid")),
        ("paid", 2000)
    );
    assert_eq!(shop.get(session.text("subscription"), "status"), "active");
}

#[test]
fn a_declined_card_leaves_the_session_open() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let session = shop.session("subscription", &price, json!({}));
    for (number, code, decline_code) in [
        ("4000000000000002", "card_declined", Some("generic_decline")),
        (
            "4000000000009995",
            "card_declined",
            Some("insufficient_funds"),
        ),
        ("4000000000000069", "expired_card", None),
        ("4000000000000127", "incorrect_cvc", None),
    ] {
        let error = shop
            .world
            .pay_checkout(&session, &card(number))
            .unwrap_err();
        assert_eq!((error.status, error.code.as_deref()), (402, Some(code)));
        assert_eq!(error.decline_code.as_deref(), decline_code);
    }
    assert_eq!(shop.get(&session, "status"), "open");
    assert!(shop.world.list("subscription").is_empty());
    assert_eq!(
        shop.world.pay_checkout(&session, &card("4242424242424242")),
        Ok(PayOutcome::Complete)
    );
    assert_eq!(shop.world.list("payment_intent").len(), 1);
}

#[test]
fn three_d_secure_waits_for_its_answer() {
    let mut shop = shop();
    let pack = shop.pack.clone();
    let session = shop.session("payment", &pack, json!({}));
    let mut asked = card("4000002760003184");
    assert_eq!(
        shop.world.pay_checkout(&session, &asked),
        Ok(PayOutcome::RequiresAction)
    );
    asked.authenticated = Some(false);
    let error = shop.world.pay_checkout(&session, &asked).unwrap_err();
    assert_eq!(
        error.code.as_deref(),
        Some("payment_intent_authentication_failure")
    );
    asked.authenticated = Some(true);
    assert_eq!(
        shop.world.pay_checkout(&session, &asked),
        Ok(PayOutcome::Complete)
    );
}

#[test]
fn an_unpaid_first_invoice_expires_the_subscription() {
    let mut shop = shop();
    let params = json!({
        "customer": shop.customer, "items": [{ "price": shop.monthly }], "payment_behavior": "default_incomplete",
    });
    let id = made(&mut shop.world, "/v1/subscriptions", params);
    shop.world.advance(DAY).unwrap();
    assert_eq!(shop.get(&id, "status"), "incomplete_expired");
    assert_eq!(
        shop.world
            .list("invoice")
            .first()
            .map(|invoice| invoice.text("status")),
        Some("void")
    );
}

#[test]
fn elements_pay_with_the_confirmation_secret() {
    let mut shop = shop();
    let params = json!({
        "customer": shop.customer, "items": [{ "price": shop.monthly }], "payment_behavior": "default_incomplete",
        "payment_settings": { "save_default_payment_method": "on_subscription" },
        "expand": ["latest_invoice.confirmation_secret"],
    });
    let subscription = shop
        .world
        .call("POST", "/v1/subscriptions", &params)
        .unwrap();
    assert_eq!(subscription.text("status"), "incomplete");
    let secret = subscription
        .text("latest_invoice/confirmation_secret/client_secret")
        .to_owned();
    let path = format!(
        "/v1/payment_intents/{}/confirm",
        secret.split("_secret_").next().unwrap()
    );
    let confirm = |world: &mut World, method: &str| {
        world.call(
            "POST",
            &path,
            &json!({ "payment_method": method, "client_secret": secret }),
        )
    };
    assert_eq!(
        confirm(&mut shop.world, "pm_card_chargeDeclined")
            .unwrap_err()
            .status,
        402
    );
    let asked = confirm(&mut shop.world, "pm_card_authenticationRequired").unwrap();
    assert_eq!(asked.text("status"), "requires_action");
    let failed = shop
        .world
        .answer_challenge(asked.text("id"), false)
        .unwrap_err();
    assert_eq!(
        failed.code.as_deref(),
        Some("payment_intent_authentication_failure")
    );
    assert_eq!(
        confirm(&mut shop.world, "pm_card_visa")
            .unwrap()
            .text("status"),
        "succeeded"
    );
    let id = subscription.text("id");
    assert_eq!(shop.get(id, "status"), "active");
    assert!(shop.get(id, "default_payment_method").is_string());
}

#[test]
fn everything_is_there_after_a_restart() {
    let path = std::env::temp_dir().join(format!("sandbox-{}.sqlite", fastrand::u64(..)));
    let open =
        || World::open(Some(&path), Clock::default(), "http://localhost".to_owned()).unwrap();
    let mut world = open();
    let customer = made(
        &mut world,
        "/v1/customers",
        json!({ "email": "ada@example.com" }),
    );
    world.kv_put("delivery/1", json!({ "due": 1 }));
    world.advance(10 * DAY).unwrap();
    let (now, newest) = (world.now(), world.newest_event());
    world.commit().unwrap();
    // No farewell: what was committed must be enough.
    std::mem::forget(world);
    let world = open();
    assert_eq!(
        world.object(&customer).unwrap().text("email"),
        "ada@example.com"
    );
    assert_eq!(world.kv_scan("delivery/").len(), 1);
    assert_eq!(world.newest_event(), newest);
    assert!((now..now + 5).contains(&world.now()));
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", path.display())).ok();
    }
}

#[test]
fn updates_say_what_was_before() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let before = shop.world.newest_event();
    shop.update(&id, json!({ "metadata": { "u": "8" } }));
    shop.update(&id, json!({ "metadata": { "u": "8" } }));
    let events = shop.world.events_after(before);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].1.at("data/previous_attributes"),
        &json!({ "metadata": { "u": "7" } })
    );
}

#[test]
fn deleting_a_customer_ends_what_it_pays_for() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let path = format!("/v1/customers/{}", shop.customer);
    shop.world.call("DELETE", &path, &json!({})).unwrap();
    assert_eq!(shop.get(&id, "status"), "canceled");
    assert!(
        shop.world
            .call("GET", &path, &json!({}))
            .unwrap()
            .flag("deleted")
    );
    assert_eq!(
        shop.world
            .call("POST", &path, &json!({ "name": "x" }))
            .unwrap_err()
            .status,
        404
    );
}

#[test]
fn a_customer_keeps_one_currency() {
    let (mut shop, _) = Shop::subscribed("4242424242424242");
    let params = json!({
        "mode": "subscription", "customer": shop.customer, "currency": "eur", "success_url": "http://x/",
        "line_items": [{ "price": shop.monthly, "quantity": 1 }],
    });
    let error = shop
        .world
        .call("POST", "/v1/checkout/sessions", &params)
        .unwrap_err();
    assert!(error.message.starts_with("You cannot combine currencies"));
}

#[test]
fn sessions_expire_when_their_time_is_over() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let soon = shop.world.now() + 1800;
    let session = shop.session("subscription", &price, json!({ "expires_at": soon }));
    shop.world.advance(1801).unwrap();
    assert_eq!(shop.get(&session, "status"), "expired");
    assert!(
        shop.world
            .pay_checkout(&session, &card("4242424242424242"))
            .is_err()
    );
}

#[test]
fn a_dispute_opens_after_the_payment_and_is_won_or_lost() {
    for won in [true, false] {
        let mut shop = shop();
        let pack = shop.pack.clone();
        let session = shop.session("payment", &pack, json!({}));
        shop.world
            .pay_checkout(&session, &card("4000000000000259"))
            .unwrap();
        let before = shop.world.newest_event();
        let id = shop
            .world
            .list("dispute")
            .first()
            .map(|dispute| dispute.text("id").to_owned())
            .unwrap();
        shop.world.close_dispute(&id, won).unwrap();
        assert!(shop.world.close_dispute(&id, won).is_err());
        let expected: &[&str] = if won {
            &["charge.dispute.closed", "charge.dispute.funds_reinstated"]
        } else {
            &["charge.dispute.closed"]
        };
        assert_eq!(shop.types_after(before), expected);
    }
}

#[test]
fn refunds_add_up_and_stop_at_the_amount() {
    let mut shop = shop();
    let pack = shop.pack.clone();
    let session = shop.session("payment", &pack, json!({}));
    shop.world
        .pay_checkout(&session, &card("4242424242424242"))
        .unwrap();
    let intent = shop.get(&session, "payment_intent");
    let refund = |world: &mut World, amount: i64| {
        world.call(
            "POST",
            "/v1/refunds",
            &json!({ "payment_intent": intent, "amount": amount }),
        )
    };
    refund(&mut shop.world, 200).unwrap();
    assert_eq!(
        refund(&mut shop.world, 301).unwrap_err().param.as_deref(),
        Some("amount")
    );
    refund(&mut shop.world, 300).unwrap();
    assert_eq!(
        refund(&mut shop.world, 1).unwrap_err().code.as_deref(),
        Some("charge_already_refunded")
    );
    let charge = shop
        .world
        .list("charge")
        .first()
        .map(|charge| (charge.int("amount_refunded"), charge.flag("refunded")));
    assert_eq!(charge, Some((500, true)));
}

#[test]
fn a_subscription_by_debit_is_trusted_until_it_fails() {
    for (iban, status) in [
        ("AT321904300235473204", "active"),
        ("AT591904300235473203", "past_due"),
    ] {
        let (mut shop, id) = Shop::subscribed(iban);
        assert_eq!(shop.get(&id, "status"), "active");
        shop.world.advance(200).unwrap();
        assert_eq!(shop.get(&id, "status"), status);
    }
}

#[test]
fn a_debit_is_money_only_later() {
    for (iban, event, status) in [
        (
            "AT321904300235473204",
            "checkout.session.async_payment_succeeded",
            "paid",
        ),
        (
            "AT591904300235473203",
            "checkout.session.async_payment_failed",
            "unpaid",
        ),
    ] {
        let mut shop = shop();
        let pack = shop.pack.clone();
        let session = shop.session(
            "payment",
            &pack,
            json!({ "payment_method_types": ["card", "sepa_debit"] }),
        );
        shop.world.pay_checkout(&session, &card(iban)).unwrap();
        assert_eq!(
            (
                shop.get(&session, "status"),
                shop.get(&session, "payment_status")
            ),
            (json!("complete"), json!("unpaid"))
        );
        shop.world.advance(200).unwrap();
        assert_eq!(shop.get(&session, "payment_status"), status);
        let last = shop.world.events_after(0).pop().unwrap().1;
        assert_eq!(last.text("type"), event);
    }
}
