//! The life of subscriptions, payments and sessions, without HTTP and without waiting: the clock is moved.

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::json::Fields;
use crate::world::{CardInput, PayOutcome, World};

const DAY: i64 = 86_400;

struct Shop {
    world: World,
    monthly: String,
    larger: String,
    yearly: String,
    pack: String,
    customer: String,
}

fn shop() -> Shop {
    let mut world = World::open(None, Clock::default(), "http://localhost:12111".to_owned()).unwrap();
    let product = made(&mut world, "/v1/products", json!({ "name": "Pro" }));
    let mut price = |amount: i64, recurring: Value| {
        let mut params = json!({ "product": product, "currency": "usd", "unit_amount": amount });
        params.set("currency_options", json!({ "eur": { "unit_amount": amount - 100 } }));
        if !recurring.is_null() {
            params.set("recurring", recurring);
        }
        made(&mut world, "/v1/prices", params)
    };
    let monthly = price(2000, json!({ "interval": "month" }));
    let larger = price(4000, json!({ "interval": "month" }));
    let yearly = price(20000, json!({ "interval": "year" }));
    let pack = price(500, Value::Null);
    let customer = made(&mut world, "/v1/customers", json!({ "email": "ada@example.com" }));
    Shop { world, monthly, larger, yearly, pack, customer }
}

fn made(world: &mut World, path: &str, params: Value) -> String {
    world.call("POST", path, &params).unwrap().text("id").to_owned()
}

fn card(number: &str) -> CardInput {
    CardInput { number: number.to_owned(), ..CardInput::default() }
}

impl Shop {
    fn session(&mut self, mode: &str, price: &str, more: Value) -> String {
        let mut params = json!({
            "mode": mode, "customer": self.customer, "success_url": "http://x/s?id={CHECKOUT_SESSION_ID}",
            "line_items": [{ "price": price, "quantity": 1 }],
        });
        super::copy_all(&mut params, &more);
        made(&mut self.world, "/v1/checkout/sessions", params)
    }

    /// A paid monthly subscription.
    fn subscribed(number: &str) -> (Self, String) {
        let mut shop = shop();
        let price = shop.monthly.clone();
        let session = shop.session("subscription", &price, json!({ "subscription_data": { "metadata": { "u": "7" } } }));
        assert_eq!(shop.world.pay_checkout(&session, &card(number)), Ok(PayOutcome::Complete));
        let id = shop.world.object(&session).unwrap().text("subscription").to_owned();
        (shop, id)
    }

    fn get(&self, id: &str, path: &str) -> Value {
        self.world.object(id).unwrap().at(path).clone()
    }

    fn update(&mut self, id: &str, params: Value) -> Value {
        self.world.call("POST", &format!("/v1/subscriptions/{id}"), &params).unwrap()
    }

    fn types_after(&self, seq: u64) -> Vec<String> {
        self.world.events_after(seq).iter().map(|(_, event)| event.text("type").to_owned()).collect()
    }
}

#[test]
fn checkout_of_a_subscription_announces_its_parts_in_order() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let session = shop.session("subscription", &price, json!({ "subscription_data": { "metadata": { "u": "7" } } }));
    let before = shop.world.newest_event();
    shop.world.pay_checkout(&session, &card("4242424242424242")).unwrap();
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
    assert_eq!((session.text("status"), session.text("payment_status")), ("complete", "paid"));
    let invoice = shop.world.object(session.text("invoice")).unwrap();
    assert_eq!(invoice.at("parent/subscription_details/metadata"), &json!({ "u": "7" }));
    assert_eq!((invoice.text("status"), invoice.int("amount_paid")), ("paid", 2000));
    assert_eq!(shop.get(session.text("subscription"), "status"), "active");
}

#[test]
fn a_declined_card_leaves_the_session_open() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let session = shop.session("subscription", &price, json!({}));
    for (number, code, decline_code) in [
        ("4000000000000002", "card_declined", Some("generic_decline")),
        ("4000000000009995", "card_declined", Some("insufficient_funds")),
        ("4000000000000069", "expired_card", None),
        ("4000000000000127", "incorrect_cvc", None),
    ] {
        let error = shop.world.pay_checkout(&session, &card(number)).unwrap_err();
        assert_eq!((error.status, error.code.as_deref()), (402, Some(code)));
        assert_eq!(error.decline_code.as_deref(), decline_code);
    }
    assert_eq!(shop.get(&session, "status"), "open");
    assert!(shop.world.list("subscription").is_empty());
    assert_eq!(shop.world.pay_checkout(&session, &card("4242424242424242")), Ok(PayOutcome::Complete));
    assert_eq!(shop.world.list("payment_intent").len(), 1);
}

#[test]
fn three_d_secure_waits_for_its_answer() {
    let mut shop = shop();
    let pack = shop.pack.clone();
    let session = shop.session("payment", &pack, json!({}));
    let mut asked = card("4000002760003184");
    assert_eq!(shop.world.pay_checkout(&session, &asked), Ok(PayOutcome::RequiresAction));
    asked.authenticated = Some(false);
    let error = shop.world.pay_checkout(&session, &asked).unwrap_err();
    assert_eq!(error.code.as_deref(), Some("payment_intent_authentication_failure"));
    asked.authenticated = Some(true);
    assert_eq!(shop.world.pay_checkout(&session, &asked), Ok(PayOutcome::Complete));
}

#[test]
fn a_renewal_is_drafted_and_collected_an_hour_later() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let end = shop.get(&id, "items/data/0/current_period_end").as_i64().unwrap();
    let before = shop.world.newest_event();
    shop.world.advance(end - shop.world.now() + 3600).unwrap();
    let events = shop.world.events_after(before);
    let at = |kind: &str| {
        let found = events.iter().find(|(_, event)| event.text("type") == kind);
        found.map(|(_, event)| event.int("created") - end)
    };
    assert_eq!(at("invoice.upcoming"), Some(-3 * DAY));
    assert_eq!(at("invoice.created"), Some(0));
    assert_eq!(at("customer.subscription.updated"), Some(0));
    assert_eq!(at("invoice.finalized"), Some(3600));
    assert_eq!(at("invoice.paid"), Some(3600));
    assert_eq!(shop.get(&id, "items/data/0/current_period_start"), end);
}

#[test]
fn months_keep_their_day() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let anchor = shop.get(&id, "billing_cycle_anchor").as_i64().unwrap();
    shop.world.advance(400 * DAY).unwrap();
    let end = shop.get(&id, "items/data/0/current_period_end").as_i64().unwrap();
    assert_eq!(end, crate::calendar::after(anchor, "month", 14));
}

#[test]
fn failed_renewals_are_retried_and_end_the_subscription() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let customer = shop.customer.clone();
    shop.world.set_default_card(&customer, &card("4000000000000341")).unwrap();
    let end = shop.get(&id, "items/data/0/current_period_end").as_i64().unwrap();
    shop.world.advance(end - shop.world.now() + 3600).unwrap();
    assert_eq!(shop.get(&id, "status"), "past_due");
    let before = shop.world.newest_event();
    shop.world.advance(15 * DAY).unwrap();
    let failed: Vec<i64> = shop
        .world
        .events_after(before)
        .iter()
        .filter(|(_, event)| event.text("type") == "invoice.payment_failed")
        .map(|(_, event)| (event.int("created") - end) / DAY)
        .collect();
    assert_eq!(failed, [3, 8, 15]);
    assert_eq!(shop.get(&id, "status"), "canceled");
    assert_eq!(shop.get(&id, "cancellation_details/reason"), "payment_failed");
}

#[test]
fn a_good_card_recovers_at_the_next_retry_or_at_once() {
    for at_once in [false, true] {
        let (mut shop, id) = Shop::subscribed("4242424242424242");
        let customer = shop.customer.clone();
        shop.world.set_default_card(&customer, &card("4000000000000341")).unwrap();
        shop.world.advance(32 * DAY).unwrap();
        assert_eq!(shop.get(&id, "status"), "past_due");
        shop.world.set_default_card(&customer, &card("5555555555554444")).unwrap();
        if at_once {
            let invoice = shop.get(&id, "latest_invoice");
            let path = format!("/v1/invoices/{}/pay", invoice.as_str().unwrap());
            assert_eq!(shop.world.call("POST", &path, &json!({})).unwrap().text("status"), "paid");
        } else {
            shop.world.advance(4 * DAY).unwrap();
        }
        assert_eq!(shop.get(&id, "status"), "active");
    }
}

#[test]
fn a_trial_costs_nothing_until_it_ends() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let session = shop.session("subscription", &price, json!({ "subscription_data": { "trial_period_days": 14 } }));
    shop.world.pay_checkout(&session, &card("4242424242424242")).unwrap();
    let id = shop.get(&session, "subscription").as_str().unwrap().to_owned();
    assert_eq!(shop.get(&session, "payment_status"), "no_payment_required");
    assert_eq!(shop.get(&id, "status"), "trialing");
    let before = shop.world.newest_event();
    shop.world.advance(14 * DAY + 3600).unwrap();
    let types = shop.types_after(before);
    assert_eq!(types.first().map(String::as_str), Some("customer.subscription.trial_will_end"));
    assert!(types.contains(&"invoice.paid".to_owned()));
    assert_eq!(shop.get(&id, "status"), "active");
}

#[test]
fn a_set_end_ends_the_subscription_then() {
    for by_portal in [false, true] {
        let (mut shop, id) = Shop::subscribed("4242424242424242");
        if by_portal {
            shop.world.set_cancel_at_period_end(&id, true).unwrap();
            assert_eq!(shop.get(&id, "cancel_at_period_end"), false);
        } else {
            shop.update(&id, json!({ "cancel_at_period_end": true }));
            assert_eq!(shop.get(&id, "cancel_at_period_end"), true);
        }
        let end = shop.get(&id, "items/data/0/current_period_end");
        assert_eq!(shop.get(&id, "cancel_at"), end);
        shop.world.advance(40 * DAY).unwrap();
        assert_eq!(shop.get(&id, "status"), "canceled");
        assert_eq!(shop.get(&id, "ended_at"), end);
        assert_eq!(shop.world.list("invoice").len(), 1);
    }
}

#[test]
fn a_plan_change_is_prorated_now_or_later() {
    for (behavior, invoices) in [("always_invoice", 2), ("create_prorations", 1), ("none", 1)] {
        let (mut shop, id) = Shop::subscribed("4242424242424242");
        let end = shop.get(&id, "items/data/0/current_period_end").as_i64().unwrap();
        shop.world.advance((end - shop.world.now()) / 2).unwrap();
        let item = shop.get(&id, "items/data/0/id");
        let larger = shop.larger.clone();
        shop.update(&id, json!({ "items": [{ "id": item, "price": larger }], "proration_behavior": behavior }));
        assert_eq!(shop.world.list("invoice").len(), invoices, "{behavior}");
        assert_eq!(shop.get(&id, "items/data/0/price/id"), larger.as_str());
        if behavior == "always_invoice" {
            let invoice = shop.world.object(shop.get(&id, "latest_invoice").as_str().unwrap()).unwrap();
            assert!((990..=1010).contains(&invoice.int("total")), "{}", invoice.int("total"));
            assert_eq!(invoice.text("status"), "paid");
        }
        shop.world.advance(20 * DAY).unwrap();
        let renewal = shop.world.list("invoice").first().map_or(0, |invoice| invoice.int("total"));
        let expected = if behavior == "create_prorations" { 4990..=5010 } else { 4000..=4000 };
        assert!(expected.contains(&renewal), "{behavior}: {renewal}");
    }
}

#[test]
fn another_interval_begins_a_new_period_at_once() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let (item, yearly) = (shop.get(&id, "items/data/0/id"), shop.yearly.clone());
    shop.update(&id, json!({ "items": [{ "id": item, "price": yearly }] }));
    let start = shop.get(&id, "items/data/0/current_period_start").as_i64().unwrap();
    let end = shop.get(&id, "items/data/0/current_period_end").as_i64().unwrap();
    assert_eq!(end, crate::calendar::after(start, "year", 1));
    assert_eq!(shop.world.list("invoice").len(), 2);
}

#[test]
fn a_smaller_plan_leaves_a_credit_that_is_used_up() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let (item, larger, monthly) = (shop.get(&id, "items/data/0/id"), shop.larger.clone(), shop.monthly.clone());
    for price in [larger, monthly] {
        shop.update(
            &id,
            json!({ "items": [{ "id": item, "price": price }], "proration_behavior": "always_invoice" }),
        );
    }
    let customer = shop.customer.clone();
    assert!((-2010..=-1990).contains(&shop.get(&customer, "balance").as_i64().unwrap()));
    shop.world.advance(32 * DAY).unwrap();
    assert_eq!(shop.get(&customer, "balance").as_i64().map(|balance| balance.abs() <= 10), Some(true));
}

#[test]
fn elements_pay_with_the_confirmation_secret() {
    let mut shop = shop();
    let params = json!({
        "customer": shop.customer, "items": [{ "price": shop.monthly }], "payment_behavior": "default_incomplete",
        "payment_settings": { "save_default_payment_method": "on_subscription" },
        "expand": ["latest_invoice.confirmation_secret"],
    });
    let subscription = shop.world.call("POST", "/v1/subscriptions", &params).unwrap();
    assert_eq!(subscription.text("status"), "incomplete");
    let secret = subscription.text("latest_invoice/confirmation_secret/client_secret").to_owned();
    let path = format!("/v1/payment_intents/{}/confirm", secret.split("_secret_").next().unwrap());
    let confirm = |world: &mut World, method: &str| {
        world.call("POST", &path, &json!({ "payment_method": method, "client_secret": secret }))
    };
    assert_eq!(confirm(&mut shop.world, "pm_card_chargeDeclined").unwrap_err().status, 402);
    let asked = confirm(&mut shop.world, "pm_card_authenticationRequired").unwrap();
    assert_eq!(asked.text("status"), "requires_action");
    assert_eq!(confirm(&mut shop.world, "pm_card_visa").unwrap().text("status"), "succeeded");
    let id = subscription.text("id");
    assert_eq!(shop.get(id, "status"), "active");
    assert!(shop.get(id, "default_payment_method").is_string());
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
    assert_eq!(shop.world.list("invoice").first().map(|invoice| invoice.text("status")), Some("void"));
}

#[test]
fn a_debit_is_money_only_later() {
    for (iban, event, status) in [
        ("AT321904300235473204", "checkout.session.async_payment_succeeded", "paid"),
        ("AT591904300235473203", "checkout.session.async_payment_failed", "unpaid"),
    ] {
        let mut shop = shop();
        let pack = shop.pack.clone();
        let session = shop.session("payment", &pack, json!({ "payment_method_types": ["card", "sepa_debit"] }));
        shop.world.pay_checkout(&session, &card(iban)).unwrap();
        assert_eq!((shop.get(&session, "status"), shop.get(&session, "payment_status")), (json!("complete"), json!("unpaid")));
        shop.world.advance(200).unwrap();
        assert_eq!(shop.get(&session, "payment_status"), status);
        let last = shop.world.events_after(0).pop().unwrap().1;
        assert_eq!(last.text("type"), event);
    }
}

#[test]
fn a_subscription_by_debit_is_trusted_until_it_fails() {
    for (iban, status) in [("AT321904300235473204", "active"), ("AT591904300235473203", "past_due")] {
        let (mut shop, id) = Shop::subscribed(iban);
        assert_eq!(shop.get(&id, "status"), "active");
        shop.world.advance(200).unwrap();
        assert_eq!(shop.get(&id, "status"), status);
    }
}

#[test]
fn refunds_add_up_and_stop_at_the_amount() {
    let mut shop = shop();
    let pack = shop.pack.clone();
    let session = shop.session("payment", &pack, json!({}));
    shop.world.pay_checkout(&session, &card("4242424242424242")).unwrap();
    let intent = shop.get(&session, "payment_intent");
    let refund = |world: &mut World, amount: i64| {
        world.call("POST", "/v1/refunds", &json!({ "payment_intent": intent, "amount": amount }))
    };
    refund(&mut shop.world, 200).unwrap();
    assert_eq!(refund(&mut shop.world, 301).unwrap_err().param.as_deref(), Some("amount"));
    refund(&mut shop.world, 300).unwrap();
    assert_eq!(refund(&mut shop.world, 1).unwrap_err().code.as_deref(), Some("charge_already_refunded"));
    let charge = shop.world.list("charge").first().map(|charge| (charge.int("amount_refunded"), charge.flag("refunded")));
    assert_eq!(charge, Some((500, true)));
}

#[test]
fn a_dispute_opens_after_the_payment_and_is_won_or_lost() {
    for won in [true, false] {
        let mut shop = shop();
        let pack = shop.pack.clone();
        let session = shop.session("payment", &pack, json!({}));
        shop.world.pay_checkout(&session, &card("4000000000000259")).unwrap();
        let before = shop.world.newest_event();
        let id = shop.world.list("dispute").first().map(|dispute| dispute.text("id").to_owned()).unwrap();
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
fn sessions_expire_when_their_time_is_over() {
    let mut shop = shop();
    let price = shop.monthly.clone();
    let soon = shop.world.now() + 1800;
    let session = shop.session("subscription", &price, json!({ "expires_at": soon }));
    shop.world.advance(1801).unwrap();
    assert_eq!(shop.get(&session, "status"), "expired");
    assert!(shop.world.pay_checkout(&session, &card("4242424242424242")).is_err());
}

#[test]
fn a_customer_keeps_one_currency() {
    let (mut shop, _) = Shop::subscribed("4242424242424242");
    let params = json!({
        "mode": "subscription", "customer": shop.customer, "currency": "eur", "success_url": "http://x/",
        "line_items": [{ "price": shop.monthly, "quantity": 1 }],
    });
    let error = shop.world.call("POST", "/v1/checkout/sessions", &params).unwrap_err();
    assert!(error.message.starts_with("You cannot combine currencies"));
}

#[test]
fn deleting_a_customer_ends_what_it_pays_for() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let path = format!("/v1/customers/{}", shop.customer);
    shop.world.call("DELETE", &path, &json!({})).unwrap();
    assert_eq!(shop.get(&id, "status"), "canceled");
    assert!(shop.world.call("GET", &path, &json!({})).unwrap().flag("deleted"));
    assert_eq!(shop.world.call("POST", &path, &json!({ "name": "x" })).unwrap_err().status, 404);
}

#[test]
fn updates_say_what_was_before() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let before = shop.world.newest_event();
    shop.update(&id, json!({ "metadata": { "u": "8" } }));
    shop.update(&id, json!({ "metadata": { "u": "8" } }));
    let events = shop.world.events_after(before);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1.at("data/previous_attributes"), &json!({ "metadata": { "u": "7" } }));
}

#[test]
fn everything_is_there_after_a_restart() {
    let path = std::env::temp_dir().join(format!("sandbox-{}.sqlite", fastrand::u64(..)));
    let open = || World::open(Some(&path), Clock::default(), "http://localhost".to_owned()).unwrap();
    let mut world = open();
    let customer = made(&mut world, "/v1/customers", json!({ "email": "ada@example.com" }));
    world.kv_put("delivery/1", json!({ "due": 1 }));
    world.advance(10 * DAY).unwrap();
    let (now, newest) = (world.now(), world.newest_event());
    world.commit().unwrap();
    // No farewell: what was committed must be enough.
    std::mem::forget(world);
    let world = open();
    assert_eq!(world.object(&customer).unwrap().text("email"), "ada@example.com");
    assert_eq!(world.kv_scan("delivery/").len(), 1);
    assert_eq!(world.newest_event(), newest);
    assert!((now..now + 5).contains(&world.now()));
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", path.display())).ok();
    }
}
