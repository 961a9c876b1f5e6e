//! Everything at once, several times over, in any order: the promises P2 and P3.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{DAY, World, last_of, within};

/// A customer with a year of history, none of which has been delivered.
async fn history(world: &World) -> (String, Vec<Value>) {
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    world.stop_delivery().await;
    world
        .pay(
            opened.body["session_id"].as_str().unwrap(),
            crate::harness::GOOD_CARD,
        )
        .await;
    for _ in 0..8 {
        world
            .control("clock/advance", &json!({"seconds": 31 * DAY}))
            .await;
    }
    let customer = world.me("alice").await["stripe_customer_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let events = world.events_of(&customer).await;
    (customer, events)
}

#[tokio::test]
async fn f02_forty_events_thrice_shuffled_at_once_are_applied_once_each() {
    let world = World::start().await;
    let (_, events) = history(&world).await;
    // The last forty that Tollgate acts on.
    let acted = |event: &&Value| {
        let event_type = event["type"].as_str().unwrap();
        event_type.starts_with("customer.subscription.")
            || (event_type.starts_with("invoice.")
                && !matches!(
                    event_type,
                    "invoice.created" | "invoice.updated" | "invoice.upcoming"
                ))
    };
    let all: Vec<&Value> = events.iter().filter(acted).collect();
    let forty = &all[all.len().saturating_sub(40)..];
    assert!(forty.len() >= 36, "{} events", forty.len());
    let mut deliveries: Vec<&Value> = forty.iter().flat_map(|event| [*event; 3]).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut deliveries);

    let answers = within(
        60,
        join_all(deliveries.iter().map(|event| world.deliver(event))),
    )
    .await;
    let mut outcomes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (event, answer) in deliveries.iter().zip(&answers) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let outcome = answer.body["outcome"].as_str().unwrap().to_owned();
        outcomes
            .entry(event["id"].as_str().unwrap())
            .or_default()
            .push(outcome);
    }
    for (id, outcomes) in outcomes {
        let first = outcomes
            .iter()
            .filter(|outcome| *outcome != "duplicate")
            .count();
        assert_eq!((first, outcomes.len()), (1, 3), "{id}: {outcomes:?}");
        assert!(
            !outcomes
                .iter()
                .any(|outcome| outcome == "pending" || outcome == "parked"),
            "{id}: {outcomes:?}"
        );
    }
    let me = world.me("alice").await;
    assert_eq!(me["access"], "active");
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let listed = world
        .stripe_get(&format!("/v1/subscriptions?customer={customer}"))
        .await;
    let end: jiff::Timestamp = me["current_period_end"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        listed["data"][0]["items"]["data"][0]["current_period_end"],
        end.as_second()
    );
    for event in events {
        world.deliver(&event).await;
    }
    world.assert_equals_stripe("alice").await;
}

#[tokio::test]
async fn chaos_on_the_way_changes_nothing_in_the_end() {
    let world = World::start().await;
    let chaos =
        json!({"seed": 7, "duplicate": 0.5, "reorder": 0.8, "delay_ms": 50, "same_second": true});
    assert_eq!(world.control("chaos", &chaos).await.status, 200);
    world.subscribe("alice", "starter").await;
    world.assert_equals_stripe("alice").await;
    for _ in 0..3 {
        world.advance(31 * DAY).await;
        world.assert_equals_stripe("alice").await;
    }
}

#[tokio::test]
async fn f15_an_endpoint_of_an_older_api_version_is_understood() {
    for version in [
        "2020-08-27",
        "2022-11-15",
        "2024-06-20",
        "2025-03-31.basil",
        "2025-09-30.clover",
    ] {
        let world = World::start().await;
        assert_eq!(
            world
                .control("chaos", &json!({"api_version": version}))
                .await
                .status,
            200
        );
        world.subscribe("alice", "starter").await;
        world.advance(31 * DAY).await;
        assert_eq!(world.me("alice").await["access"], "active", "{version}");
        world.assert_equals_stripe("alice").await;
    }
}

#[tokio::test]
async fn f24_events_that_never_came_are_made_up_for_by_the_next_one() {
    let world = World::start().await;
    let (_, events) = history(&world).await;
    assert_eq!(world.me("alice").await["access"], "inactive");
    let last = events
        .iter()
        .rev()
        .find(|event| event["type"] == "customer.subscription.updated")
        .unwrap();
    assert_eq!(world.deliver(last).await.body["outcome"], "applied");
    assert_eq!(world.me("alice").await["access"], "active");
}

#[tokio::test]
async fn f05_an_event_that_cannot_be_dealt_with_is_kept_and_tried_again() {
    let world = World::without_schedule().await;
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    world.stop_delivery().await;
    world
        .pay(
            opened.body["session_id"].as_str().unwrap(),
            crate::harness::GOOD_CARD,
        )
        .await;
    let customer = world.me("alice").await["stripe_customer_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let events = world.events_of(&customer).await;
    let completed = last_of(&events, "checkout.session.completed");

    // A function whose Stripe does not answer: the address is a port at which nobody listens.
    let mut variables = world.stack.environment().to_vec();
    variables
        .iter_mut()
        .filter(|(name, _)| name == "STRIPE_API_BASE")
        .for_each(|(_, base)| {
            *base = "http://localhost:9".to_owned();
        });
    let state = webhook::State::new(
        &variables.into_iter().collect(),
        shared::http::HttpClient::new(),
    )
    .unwrap();
    let body = completed.to_string();
    let now = world.now();
    let signature = world.signature(body.as_bytes(), now);
    let captured = crate::harness::captured(
        &[
            ("stripe-signature", &signature),
            ("content-type", "application/json"),
        ],
        "/api/webhooks/stripe",
        body.as_bytes(),
    );
    let event = local::event::http_api(&captured, "POST /api/webhooks/stripe");
    let handler = move |request| async move { webhook::handle(&state, request, now).await };
    let answer = local::invocation::invoke(event, "stripe-is-down", now, handler)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answered: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(answered["outcome"], "pending");
    assert_eq!(world.me("alice").await["access"], "inactive");

    let state =
        reconcile::State::new(&world.environment(), shared::http::HttpClient::new()).unwrap();
    let early = reconcile::handle(&state, "early", world.now())
        .await
        .unwrap();
    assert_eq!((early.done, early.pending), (0, 0), "it is not due yet");
    let due = world
        .now()
        .saturating_add(jiff::SignedDuration::from_secs(30))
        .unwrap();
    let report = reconcile::handle(&state, "due", due).await.unwrap();
    assert_eq!((report.done, report.pending, report.parked), (1, 0, 0));
    assert_eq!(world.me("alice").await["access"], "active");
    assert_eq!(world.deliver(completed).await.body["outcome"], "duplicate");
}

#[tokio::test]
async fn f21_an_event_that_is_not_ours_is_recorded_and_acknowledged() {
    let world = World::start().await;
    let event = |id: &str, change: &dyn Fn(&mut Value)| {
        let mut event = json!({
            "id": id, "object": "event", "type": "customer.subscription.updated", "created": world.now().as_second(),
            "livemode": false, "api_version": "2026-08-26.dahlia",
            "data": {"object": {"id": "sub_1", "customer": "cus_nobody"}},
        });
        change(&mut event);
        event
    };
    for (event, outcome, reason) in [
        (
            event("evt_live", &|e| e["livemode"] = json!(true)),
            "ignored",
            "mode",
        ),
        (
            event("evt_connect", &|e| e["account"] = json!("acct_other")),
            "ignored",
            "account",
        ),
        (
            event("evt_type", &|e| e["type"] = json!("charge.updated")),
            "ignored",
            "type",
        ),
        (
            event("evt_shape", &|e| {
                e["data"]["object"] = json!({"id": 7, "customer": 7})
            }),
            "parked",
            "an unexpected value",
        ),
        (event("evt_nobody", &|_| ()), "parked", "no such user"),
    ] {
        let answer = world.deliver(&event).await;
        assert_eq!(
            (answer.status, answer.body["outcome"].as_str()),
            (200, Some(outcome)),
            "{event}"
        );
        let id = event["id"].as_str().unwrap();
        let kept = world.item(&format!("EVENT#{id}"), "EVENT").await.unwrap();
        assert!(
            kept["reason"].as_s().unwrap().starts_with(reason),
            "{:?}",
            kept["reason"]
        );
        assert_eq!(kept.contains_key("body"), outcome != "ignored");
    }
    let body = b"not json at all".to_vec();
    let signature = world.signature(&body, world.now());
    let answer = world.webhook(body, Some(&signature)).await;
    assert_eq!(
        (answer.status, answer.body["outcome"].as_str()),
        (200, Some("parked")),
        "authentic, so it is kept"
    );
}
