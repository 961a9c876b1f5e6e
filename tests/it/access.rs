//! A payment turns into access, and access follows what Stripe says: the main job.

use serde_json::json;

use crate::harness::{DAY, DECLINED_CARD, FAILS_LATER_CARD, GOOD_CARD, World};

#[tokio::test]
async fn a_payment_turns_into_access() {
    let world = World::start().await;
    let before = world.me("alice").await;
    assert_eq!(
        (&before["access"], &before["plan"]),
        (&json!("inactive"), &json!(null))
    );

    let opened = world
        .checkout("alice", &json!({"plan": "starter", "interval": "month"}))
        .await;
    assert_eq!(opened.status, 200, "{opened:?}");
    assert!(
        opened.body["url"]
            .as_str()
            .unwrap()
            .contains(opened.body["session_id"].as_str().unwrap())
    );
    let declined = world
        .pay(opened.body["session_id"].as_str().unwrap(), DECLINED_CARD)
        .await;
    assert_eq!(
        (declined.status, &declined.body["error"]["code"]),
        (402, &json!("card_declined"))
    );
    world.settle().await;
    assert_eq!(world.me("alice").await["access"], "inactive");

    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.settle().await;
    let me = world.me("alice").await;
    assert_eq!(
        (&me["access"], &me["plan"], &me["interval"]),
        (&json!("active"), &json!("starter"), &json!("month"))
    );
    assert_eq!(
        (&me["status"], &me["features"]["export"]),
        (&json!("active"), &json!(true))
    );
    assert!(
        me["stripe_customer_id"]
            .as_str()
            .unwrap()
            .starts_with("cus_")
    );
    world.assert_equals_stripe("alice").await;
}

#[tokio::test]
async fn a_trial_gives_access_once_and_becomes_a_subscription() {
    let world = World::start().await;
    let me = world.subscribe("alice", "pro").await;
    assert_eq!(
        (&me["access"], &me["plan"], &me["features"]["seats"]),
        (&json!("trialing"), &json!("pro"), &json!(5))
    );
    assert_eq!(me["trial_end"], me["current_period_end"]);
    world.advance(15 * DAY).await;
    assert_eq!(world.me("alice").await["access"], "active");
    world.assert_equals_stripe("alice").await;
}

#[tokio::test]
async fn a_failed_renewal_has_grace_and_recovers() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap().to_owned();
    let card = format!("customers/{customer}/default-card");
    world
        .control(&card, &json!({"card": FAILS_LATER_CARD}))
        .await;
    world.advance(32 * DAY).await;
    let behind = world.me("alice").await;
    assert_eq!(
        (&behind["access"], &behind["status"]),
        (&json!("grace"), &json!("past_due"))
    );
    assert!(behind["grace_until"].is_string());
    world.assert_equals_stripe("alice").await;

    world.control(&card, &json!({"card": GOOD_CARD})).await;
    let invoices = world
        .stripe_get(&format!("/v1/invoices?customer={customer}&status=open"))
        .await;
    let invoice = invoices["data"][0]["id"].as_str().unwrap();
    assert_eq!(
        world
            .stripe_post(&format!("/v1/invoices/{invoice}/pay"), &[])
            .await
            .status,
        200
    );
    world.settle().await;
    assert_eq!(world.me("alice").await["access"], "active");
    world.assert_equals_stripe("alice").await;
}

#[tokio::test]
async fn grace_ends_by_the_clock_alone() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    let card = format!(
        "customers/{}/default-card",
        me["stripe_customer_id"].as_str().unwrap()
    );
    world
        .control(&card, &json!({"card": FAILS_LATER_CARD}))
        .await;
    world.advance(32 * DAY).await;
    assert_eq!(world.me("alice").await["access"], "grace");
    world.stop_delivery().await;
    world
        .control("clock/advance", &json!({"seconds": 7 * DAY}))
        .await;
    assert_eq!(world.me("alice").await["access"], "inactive");
}

#[tokio::test]
async fn a_cancellation_keeps_what_was_paid_for() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let path = world.subscription_path(customer).await;
    world
        .stripe_post(&path, &[("cancel_at_period_end", "true")])
        .await;
    world.settle().await;
    let ending = world.me("alice").await;
    assert_eq!(
        (&ending["access"], &ending["cancel_at"]),
        (&json!("active"), &me["current_period_end"])
    );
    world.assert_equals_stripe("alice").await;
    world.advance(32 * DAY).await;
    let ended = world.me("alice").await;
    assert_eq!(
        (&ended["access"], &ended["plan"], &ended["status"]),
        (&json!("inactive"), &json!(null), &json!("canceled"))
    );
}

#[tokio::test]
async fn a_token_pack_is_credited_once_it_is_paid() {
    let world = World::start().await;
    let opened = world
        .checkout("alice", &json!({"pack": "tokens_1000", "quantity": 2}))
        .await;
    assert_eq!(opened.status, 200, "{opened:?}");
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.settle().await;
    assert_eq!(world.me("alice").await["tokens"]["balance"], 2_000);
    let customer = world.me("alice").await["stripe_customer_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for event in world.events_of(&customer).await {
        let again = world.deliver(&event).await;
        assert_eq!(again.body["outcome"], "duplicate", "{event}");
    }
    assert_eq!(world.me("alice").await["tokens"]["balance"], 2_000);
}

#[tokio::test]
async fn the_portal_opens_for_customers_only() {
    let world = World::start().await;
    let stranger = world
        .post("/api/billing/portal-session", "bob", &json!({}))
        .await;
    assert_eq!(
        (stranger.status, &stranger.body["code"]),
        (409, &json!("no_customer"))
    );
    world.subscribe("alice", "starter").await;
    let opened = world
        .post("/api/billing/portal-session", "alice", &json!({}))
        .await;
    assert_eq!(opened.status, 200, "{opened:?}");
    assert!(opened.body["url"].as_str().unwrap().contains("/p/session/"));
}

#[tokio::test]
async fn plans_show_what_the_catalogue_sells() {
    let world = World::start().await;
    let plans = world
        .call(reqwest::Method::GET, "/api/billing/plans", None, None)
        .await;
    assert_eq!(plans.status, 200);
    let pro = &plans.body["plans"][1];
    assert_eq!(
        (&pro["key"], &pro["trial_days"]),
        (&json!("pro"), &json!(14))
    );
    let price = pro["prices"][0]["price_id"].as_str().unwrap();
    let opened = world.checkout("alice", &json!({"price_id": price})).await;
    assert_eq!(opened.status, 200, "{opened:?}");
}
