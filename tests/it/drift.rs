//! What no delivery ever said: the scheduled run finds it in Stripe's own list and puts it right (P7).

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::http::HttpClient;

use crate::harness::{GOOD_CARD, World};

async fn run(world: &World, after: SignedDuration) -> reconcile::Report {
    let state = reconcile::State::new(&world.environment(), HttpClient::new()).unwrap();
    let at = world.now() + after;
    let invocation = format!("run-{at}");
    reconcile::handle(&state, &invocation, at).await.unwrap()
}

#[tokio::test]
async fn f24_events_that_never_arrived_are_found_and_take_effect_once() {
    let world = World::without_schedule().await;
    let minutes = SignedDuration::from_mins;
    assert_eq!(run(&world, minutes(0)).await.missed, 0, "a first look");
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    world.settle().await;
    world.stop_delivery().await;
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    assert_eq!(
        world.me("alice").await["access"],
        "inactive",
        "nobody said so"
    );

    // What may still be on its way is left alone.
    assert_eq!(run(&world, minutes(9)).await, reconcile::Report::default());
    let report = run(&world, minutes(11)).await;
    assert!(report.missed >= 1, "{report:?}");
    let me = world.me("alice").await;
    assert_eq!(
        (&me["access"], &me["tokens"]["balance"]),
        (&json!("active"), &json!(1_000))
    );
    world.assert_equals_stripe("alice").await;
    assert_eq!(run(&world, minutes(12)).await, reconcile::Report::default());

    // Those that do arrive later change nothing.
    let events = world
        .events_of(me["stripe_customer_id"].as_str().unwrap())
        .await;
    for event in &events {
        let outcome: Value = world.deliver(event).await.body["outcome"].clone();
        assert!(outcome == "duplicate" || outcome == "ignored", "{event}");
    }
    assert_eq!(world.me("alice").await["tokens"]["balance"], 1_000);
}

#[tokio::test]
async fn f24_a_busy_time_is_compared_piece_by_piece_and_to_the_end() {
    let world = World::without_schedule().await;
    run(&world, SignedDuration::ZERO).await;
    world.stop_delivery().await;
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    // More than is read of one stretch of time, the purchase amid them.
    let sandbox = world.stack.sandbox().unwrap();
    let noise = |count: usize| {
        let mut stripe = sandbox.world();
        for _ in 0..count {
            stripe.call("POST", "/v1/customers", &json!({})).unwrap();
        }
    };
    noise(1_100);
    world.advance(600).await;
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.advance(600).await;
    noise(1_100);
    let report = run(&world, SignedDuration::from_mins(11)).await;
    assert!(report.missed >= 1, "{report:?}");
    assert_eq!(world.me("alice").await["access"], "active");
}
