//! The life of subscriptions, payments and sessions, without HTTP and without waiting: the clock is moved.

mod payments;

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
    let mut world =
        World::open(None, Clock::default(), "http://localhost:12111".to_owned()).unwrap();
    let product = made(&mut world, "/v1/products", json!({ "name": "Pro" }));
    let mut price = |amount: i64, recurring: Value| {
        let mut params = json!({ "product": product, "currency": "usd", "unit_amount": amount });
        params.set(
            "currency_options",
            json!({ "eur": { "unit_amount": amount - 100 } }),
        );
        if !recurring.is_null() {
            params.set("recurring", recurring);
        }
        made(&mut world, "/v1/prices", params)
    };
    let monthly = price(2000, json!({ "interval": "month" }));
    let larger = price(4000, json!({ "interval": "month" }));
    let yearly = price(20000, json!({ "interval": "year" }));
    let pack = price(500, Value::Null);
    let customer = made(
        &mut world,
        "/v1/customers",
        json!({ "email": "ada@example.com" }),
    );
    Shop {
        world,
        monthly,
        larger,
        yearly,
        pack,
        customer,
    }
}

fn made(world: &mut World, path: &str, params: Value) -> String {
    world
        .call("POST", path, &params)
        .unwrap()
        .text("id")
        .to_owned()
}

fn card(number: &str) -> CardInput {
    CardInput {
        number: number.to_owned(),
        ..CardInput::default()
    }
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
        let session = shop.session(
            "subscription",
            &price,
            json!({ "subscription_data": { "metadata": { "u": "7" } } }),
        );
        assert_eq!(
            shop.world.pay_checkout(&session, &card(number)),
            Ok(PayOutcome::Complete)
        );
        let id = shop
            .world
            .object(&session)
            .unwrap()
            .text("subscription")
            .to_owned();
        (shop, id)
    }

    fn get(&self, id: &str, path: &str) -> Value {
        self.world.object(id).unwrap().at(path).clone()
    }

    fn update(&mut self, id: &str, params: Value) -> Value {
        self.world
            .call("POST", &format!("/v1/subscriptions/{id}"), &params)
            .unwrap()
    }

    fn types_after(&self, seq: u64) -> Vec<String> {
        self.world
            .events_after(seq)
            .iter()
            .map(|(_, event)| event.text("type").to_owned())
            .collect()
    }
}

#[test]
fn a_renewal_is_drafted_and_collected_an_hour_later() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let end = shop
        .get(&id, "items/data/0/current_period_end")
        .as_i64()
        .unwrap();
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
    let end = shop
        .get(&id, "items/data/0/current_period_end")
        .as_i64()
        .unwrap();
    assert_eq!(end, crate::calendar::after(anchor, "month", 14));
}

#[test]
fn failed_renewals_are_retried_and_end_the_subscription() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let customer = shop.customer.clone();
    shop.world
        .set_default_card(&customer, &card("4000000000000341"))
        .unwrap();
    let end = shop
        .get(&id, "items/data/0/current_period_end")
        .as_i64()
        .unwrap();
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
    assert_eq!(
        shop.get(&id, "cancellation_details/reason"),
        "payment_failed"
    );
}

#[test]
fn a_renewal_that_needs_its_holder_waits_for_the_answer() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let customer = shop.customer.clone();
    shop.world
        .set_default_card(&customer, &card("4000002760003184"))
        .unwrap();
    let before = shop.world.newest_event();
    shop.world.advance(32 * DAY).unwrap();
    assert!(
        shop.types_after(before)
            .contains(&"invoice.payment_action_required".to_owned())
    );
    assert_eq!(shop.get(&id, "status"), "past_due");
    let waiting = shop
        .world
        .list("payment_intent")
        .first()
        .map(|intent| intent.text("id").to_owned())
        .unwrap();
    shop.world.answer_challenge(&waiting, true).unwrap();
    assert_eq!(shop.get(&id, "status"), "active");
}

#[test]
fn a_change_that_waits_for_its_payment_happens_with_it_or_never() {
    for paid in [true, false] {
        let (mut shop, id) = Shop::subscribed("4242424242424242");
        let (customer, larger) = (shop.customer.clone(), shop.larger.clone());
        shop.world
            .set_default_card(&customer, &card("4000000000000341"))
            .unwrap();
        let (item, monthly) = (shop.get(&id, "items/data/0/id"), shop.monthly.clone());
        let change = json!({
            "items": [{ "id": item, "price": larger }], "proration_behavior": "always_invoice",
            "payment_behavior": "pending_if_incomplete",
        });
        let waiting = shop.update(&id, change);
        assert!(waiting.is_set("pending_update"));
        assert_eq!(
            (
                waiting.text("status"),
                waiting.text("items/data/0/price/id")
            ),
            ("active", monthly.as_str())
        );
        if paid {
            let path = format!("/v1/invoices/{}/pay", waiting.text("latest_invoice"));
            shop.world
                .call("POST", &path, &json!({ "payment_method": "pm_card_visa" }))
                .unwrap();
        } else {
            shop.world.advance(DAY).unwrap();
        }
        let price = if paid { larger } else { monthly };
        assert_eq!(shop.get(&id, "items/data/0/price/id"), price.as_str());
        assert_eq!(
            (shop.get(&id, "pending_update"), shop.get(&id, "status")),
            (Value::Null, json!("active"))
        );
    }
}

#[test]
fn a_good_card_recovers_at_the_next_retry_or_at_once() {
    for at_once in [false, true] {
        let (mut shop, id) = Shop::subscribed("4242424242424242");
        let customer = shop.customer.clone();
        shop.world
            .set_default_card(&customer, &card("4000000000000341"))
            .unwrap();
        shop.world.advance(32 * DAY).unwrap();
        assert_eq!(shop.get(&id, "status"), "past_due");
        shop.world
            .set_default_card(&customer, &card("5555555555554444"))
            .unwrap();
        if at_once {
            let invoice = shop.get(&id, "latest_invoice");
            let path = format!("/v1/invoices/{}/pay", invoice.as_str().unwrap());
            assert_eq!(
                shop.world
                    .call("POST", &path, &json!({}))
                    .unwrap()
                    .text("status"),
                "paid"
            );
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
    let session = shop.session(
        "subscription",
        &price,
        json!({ "subscription_data": { "trial_period_days": 14 } }),
    );
    shop.world
        .pay_checkout(&session, &card("4242424242424242"))
        .unwrap();
    let id = shop
        .get(&session, "subscription")
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(shop.get(&session, "payment_status"), "no_payment_required");
    assert_eq!(shop.get(&id, "status"), "trialing");
    let before = shop.world.newest_event();
    shop.world.advance(14 * DAY + 3600).unwrap();
    let types = shop.types_after(before);
    assert_eq!(
        types.first().map(String::as_str),
        Some("customer.subscription.trial_will_end")
    );
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
        let end = shop
            .get(&id, "items/data/0/current_period_end")
            .as_i64()
            .unwrap();
        shop.world.advance((end - shop.world.now()) / 2).unwrap();
        let item = shop.get(&id, "items/data/0/id");
        let larger = shop.larger.clone();
        shop.update(
            &id,
            json!({ "items": [{ "id": item, "price": larger }], "proration_behavior": behavior }),
        );
        assert_eq!(shop.world.list("invoice").len(), invoices, "{behavior}");
        assert_eq!(shop.get(&id, "items/data/0/price/id"), larger.as_str());
        if behavior == "always_invoice" {
            let invoice = shop
                .world
                .object(shop.get(&id, "latest_invoice").as_str().unwrap())
                .unwrap();
            assert!(
                (990..=1010).contains(&invoice.int("total")),
                "{}",
                invoice.int("total")
            );
            assert_eq!(invoice.text("status"), "paid");
        }
        shop.world.advance(20 * DAY).unwrap();
        let renewal = shop
            .world
            .list("invoice")
            .first()
            .map_or(0, |invoice| invoice.int("total"));
        let expected = if behavior == "create_prorations" {
            4990..=5010
        } else {
            4000..=4000
        };
        assert!(expected.contains(&renewal), "{behavior}: {renewal}");
    }
}

#[test]
fn another_interval_begins_a_new_period_at_once() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let (item, yearly) = (shop.get(&id, "items/data/0/id"), shop.yearly.clone());
    shop.update(&id, json!({ "items": [{ "id": item, "price": yearly }] }));
    let start = shop
        .get(&id, "items/data/0/current_period_start")
        .as_i64()
        .unwrap();
    let end = shop
        .get(&id, "items/data/0/current_period_end")
        .as_i64()
        .unwrap();
    assert_eq!(end, crate::calendar::after(start, "year", 1));
    assert_eq!(shop.world.list("invoice").len(), 2);
}

#[test]
fn a_smaller_plan_leaves_a_credit_that_is_used_up() {
    let (mut shop, id) = Shop::subscribed("4242424242424242");
    let (item, larger, monthly) = (
        shop.get(&id, "items/data/0/id"),
        shop.larger.clone(),
        shop.monthly.clone(),
    );
    for price in [larger, monthly] {
        shop.update(
            &id,
            json!({ "items": [{ "id": item, "price": price }], "proration_behavior": "always_invoice" }),
        );
    }
    let customer = shop.customer.clone();
    assert!((-2010..=-1990).contains(&shop.get(&customer, "balance").as_i64().unwrap()));
    shop.world.advance(32 * DAY).unwrap();
    assert_eq!(
        shop.get(&customer, "balance")
            .as_i64()
            .map(|balance| balance.abs() <= 10),
        Some(true)
    );
}
