//! The ways by which events come in beside Stripe's own webhook: a trusted edge, thin notifications, and
//! events that come before their customer is claimed.

use reqwest::Method;
use serde_json::{Value, json};
use shared::http::HttpClient;

use crate::harness::{World, last_of};

const INTERNAL: &str = "/api/internal/stripe-events";

fn starter() -> Value {
    json!({"plan": "starter"})
}

#[tokio::test]
async fn an_edge_that_shows_the_secret_delivers_by_the_same_engine() {
    let world = World::start().await;
    let events = world.buy_untold("alice", &starter()).await;
    let event = last_of(&events, "customer.subscription.created");
    let body = || Some(event.to_string().into_bytes());
    let before = world.table().await;
    for wrong in [None, Some(""), Some("whsec_of_somebody_else")] {
        let refused = world.call(Method::POST, INTERNAL, wrong, body()).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (401, &json!("unauthenticated"))
        );
    }
    let with_token = world
        .call(Method::POST, INTERNAL, Some(&world.token("alice")), body())
        .await;
    assert_eq!(with_token.status, 401, "a user is no edge");
    assert_eq!(world.table().await, before, "nothing is written");

    let secret = world.variable("INTERNAL_SECRET");
    let accepted = world
        .call(Method::POST, INTERNAL, Some(&secret), body())
        .await;
    assert_eq!(
        (accepted.status, &accepted.body["outcome"]),
        (200, &json!("applied"))
    );
    assert_eq!(world.me("alice").await["access"], "active");
    assert_eq!(world.deliver(event).await.body["outcome"], "duplicate");
}

#[tokio::test]
async fn a_thin_notification_does_what_its_event_does() {
    let world = World::start().await;
    let events = world.buy_untold("alice", &starter()).await;
    let object = &last_of(&events, "customer.subscription.created")["data"]["object"];
    let thin = |id: &str, event_type: &str, related: Value| {
        json!({
            "id": id, "object": "v2.core.event", "type": event_type, "created": world.now().to_string(),
            "livemode": false, "related_object": related,
        })
    };
    let related = json!({"id": object["id"], "type": "subscription", "url": "/v1/subscriptions/x"});
    let event = thin(
        "evt_thin",
        "v1.customer.subscription.updated",
        related.clone(),
    );
    assert_eq!(world.deliver(&event).await.body["outcome"], "applied");
    assert_eq!(world.me("alice").await["access"], "active");
    assert_eq!(world.deliver(&event).await.body["outcome"], "duplicate");
    let other = thin("evt_other", "v1.billing.meter.no_meter_found", related);
    assert_eq!(world.deliver(&other).await.body["outcome"], "ignored");
}

#[tokio::test]
async fn an_event_that_comes_before_its_customer_is_claimed_is_not_lost() {
    let world = World::without_schedule().await;
    world.stop_delivery().await;
    let customer = world.customer_to_be("alice").await;
    let method = json!({
        "id": "evt_early", "object": "event", "type": "payment_method.attached",
        "created": world.now().as_second(), "livemode": false, "api_version": "2026-08-26.dahlia",
        "data": {"object": {"id": "pm_early", "type": "card", "customer": customer,
            "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034}}},
    });
    for _ in 0..2 {
        let early = world.deliver(&method).await;
        assert_eq!(
            (early.status, &early.body["outcome"]),
            (200, &json!("parked"))
        );
    }
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let claimed = &world.me("alice").await["stripe_customer_id"];
    assert_eq!(claimed, &json!(customer));

    let state = reconcile::State::new(&world.environment(), HttpClient::new()).unwrap();
    let report = reconcile::handle(&state, "after-the-claim", world.now())
        .await
        .unwrap();
    assert_eq!((report.done, report.pending, report.parked), (1, 0, 0));
    assert!(
        world
            .item("USER#alice", "PAYMENT_METHOD#pm_early")
            .await
            .is_some()
    );
    assert_eq!(world.deliver(&method).await.body["outcome"], "duplicate");
    let pointer = world
        .item(&format!("CUSTOMER#{customer}"), "EVENT#evt_early")
        .await;
    assert!(pointer.is_none(), "nothing is left over");
}

#[tokio::test]
async fn f26_metadata_that_names_somebody_else_changes_nobody_else() {
    let world = World::start().await;
    world.subscribe("bob", "starter").await;
    let bob = world.me("bob").await;
    let events = world.buy_untold("alice", &starter()).await;
    let mut event = last_of(&events, "customer.subscription.created").clone();
    event["data"]["object"]["metadata"]["user_id"] = json!("bob");
    assert_eq!(world.deliver(&event).await.body["outcome"], "applied");
    assert_eq!(world.me("alice").await["access"], "active");
    let after = world.me("bob").await;
    assert_eq!(after["stripe_customer_id"], bob["stripe_customer_id"]);
    assert_eq!(after["current_period_end"], bob["current_period_end"]);
}
