//! Stopped between any two steps and started again: nothing is lost and nothing is doubled. And the
//! same for every reply that is lost on its way.

use serde_json::{Value, json};
use shared::http::HttpClient;

use crate::call::{checkout, webhook};
use crate::faults::{Fault, Faulty};
use crate::harness::{Attribute, World, last_of};

/// More requests than any function makes for one call.
const REQUESTS_MAX: usize = 40;

const ALL_FAULTS: [Fault; 4] = [
    Fault::EndsBefore,
    Fault::EndsAfter,
    Fault::BreaksBefore,
    Fault::ReplyLost,
];

async fn customers_and_sessions(world: &World, user: &str) -> (usize, usize) {
    let customers = world.stripe_get("/v1/customers?limit=100").await;
    let all = customers["data"].as_array().unwrap().iter();
    let of_user: Vec<&Value> = all
        .filter(|customer| customer["metadata"]["user_id"] == user)
        .collect();
    let mut open = 0;
    for customer in &of_user {
        let id = customer["id"].as_str().unwrap();
        let listed = world
            .stripe_get(&format!("/v1/checkout/sessions?customer={id}"))
            .await;
        open += listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|session| session["status"] == "open")
            .count();
    }
    (of_user.len(), open)
}

#[tokio::test]
async fn f39_a_checkout_stopped_anywhere_is_taken_up_again() {
    let world = World::start().await;
    for fault in ALL_FAULTS {
        let mut at = 0;
        loop {
            assert!(at < REQUESTS_MAX);
            let user = format!("user-{fault:?}-{at}");
            let faulty = Faulty::new(at, fault);
            let first = faulty
                .run(checkout(&world, &user, faulty.client()))
                .await
                .flatten();
            if !faulty.was_met() {
                assert_eq!(first.unwrap().0, 200);
                assert!(at >= 8, "the flow has at least these steps");
                break;
            }
            let second = checkout(&world, &user, HttpClient::new()).await.unwrap();
            assert_eq!(second.0, 200, "{fault:?} at {at}: {second:?}");
            assert_eq!(
                customers_and_sessions(&world, &user).await,
                (1, 1),
                "{fault:?} at {at}"
            );
            if let Some((200, body)) = first {
                assert_eq!(body["url"], second.1["url"], "{fault:?} at {at}");
            }
            at += 1;
        }
    }
}

#[tokio::test]
async fn f32_an_event_stopped_anywhere_takes_effect_exactly_once() {
    let world = World::start().await;
    world.stop_delivery().await;
    for fault in ALL_FAULTS {
        let mut at = 0;
        loop {
            assert!(at < REQUESTS_MAX);
            let user = format!("user-{fault:?}-{at}");
            let events = world
                .buy_untold(&user, &json!({"pack": "tokens_1000"}))
                .await;
            let completed = last_of(&events, "checkout.session.completed");

            let faulty = Faulty::new(at, fault);
            let first = faulty
                .run(webhook(&world, completed, faulty.client()))
                .await
                .flatten();
            if let Some((status, body)) = &first {
                let durable = marker(&world, completed).await.is_some();
                assert!(
                    *status == 503 || durable,
                    "P1: {fault:?} at {at}: {status} {body}"
                );
            }
            let second = webhook(&world, completed, HttpClient::new()).await.unwrap();
            assert_eq!(second.0, 200, "{fault:?} at {at}: {second:?}");
            let applied = [first.clone(), Some(second)].into_iter().flatten();
            let applied = applied
                .filter(|(_, body)| body["outcome"] == "applied")
                .count();
            assert!(applied <= 1, "{fault:?} at {at}");
            assert_eq!(
                world.me(&user).await["tokens"]["balance"],
                1_000,
                "{fault:?} at {at}"
            );
            assert_eq!(
                marker(&world, completed).await.as_deref(),
                Some("applied"),
                "{fault:?} at {at}"
            );
            if !faulty.was_met() {
                assert_eq!(first.unwrap().1["outcome"], "applied");
                assert!(at >= 4, "catalogue, batch, fetch, transaction");
                break;
            }
            at += 1;
        }
    }
}

#[tokio::test]
async fn f32_our_own_lost_reply_is_not_taken_for_a_duplicate() {
    let world = World::start().await;
    world.stop_delivery().await;
    let events = world
        .buy_untold("alice", &json!({"pack": "tokens_1000"}))
        .await;
    let completed = last_of(&events, "checkout.session.completed");
    // Catalogue, batch, fetch: the fourth request is the transaction.
    let faulty = Faulty::new(3, Fault::ReplyLost);
    let (status, body) = webhook(&world, completed, faulty.client()).await.unwrap();
    assert!(faulty.sent() > 4, "it was looked for or sent again");
    assert_eq!((status, &body["outcome"]), (200, &json!("applied")));
}

#[tokio::test]
async fn f32_our_own_lost_put_is_not_taken_for_a_duplicate() {
    let world = World::start().await;
    let event = json!({
        "id": "evt_1", "object": "event", "type": "charge.updated", "created": world.now().as_second(),
        "livemode": false, "data": {"object": {"id": "ch_1"}},
    });
    // Its one request is the put; the SDK sends it again and meets our own item.
    let faulty = Faulty::new(0, Fault::ReplyLost);
    let (status, body) = webhook(&world, &event, faulty.client()).await.unwrap();
    assert!(faulty.sent() > 1, "it was sent again");
    assert_eq!((status, &body["outcome"]), (200, &json!("ignored")));
}

async fn marker(world: &World, event: &Value) -> Option<String> {
    let item = world
        .item(&format!("EVENT#{}", event["id"].as_str().unwrap()), "EVENT")
        .await?;
    match item.get("outcome") {
        Some(Attribute::S(outcome)) => Some(outcome.clone()),
        other => panic!("{other:?}"),
    }
}
