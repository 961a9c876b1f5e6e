//! Many customers at once while Stripe limits our rate: nothing is lost, and everyone is right soon after.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use local::stack::Options;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Answer, GOOD_CARD, World};

/// How many customers buy at once, and which events of each of them arrive at once.
const CUSTOMERS: usize = 100;
const BURST: [&str; 5] = [
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
];

/// How many of the test's own requests are on their way while it prepares.
const AT_ONCE: usize = 16;

/// All of the sandbox's events of certain types.
async fn events_of_types(world: &World, types: &[&str]) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page = world
            .stripe_get(&format!("/v1/events?limit=100{after}"))
            .await;
        let page_of = page["data"].as_array().unwrap();
        after = format!(
            "&starting_after={}",
            page_of.last().unwrap()["id"].as_str().unwrap()
        );
        let wanted = page_of
            .iter()
            .filter(|event| types.contains(&event["type"].as_str().unwrap()));
        events.extend(wanted.cloned());
        if page["has_more"] != true {
            return events;
        }
    }
}

/// Lists of subscriptions that the functions have asked for, by the sandbox's own record: how many it
/// gave, and how many it refused because they were too many.
fn recorded_lists(record: &std::path::Path) -> (usize, usize) {
    let recorded = std::fs::read_to_string(record.join("requests.jsonl")).unwrap();
    let requests = recorded
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lists = requests.filter(|request| {
        let ours = request["user_agent"]
            .as_str()
            .unwrap()
            .starts_with("Tollgate");
        ours && request["method"] == "GET" && request["path"] == "/v1/subscriptions"
    });
    let (limited, given): (Vec<Value>, Vec<Value>) =
        lists.partition(|request| request["status"] == 429);
    (given.len(), limited.len())
}

/// Delivers an event until it is accepted, as Stripe does: a machine that is busy with other things may say
/// that it could not keep it. How often that took is told as well.
async fn deliver(world: &World, event: &Value) -> (Answer, usize) {
    let mut deliveries = 1;
    loop {
        let answer = world.deliver(event).await;
        if answer.status != 503 {
            return (answer, deliveries);
        }
        deliveries += 1;
    }
}

#[tokio::test]
async fn a_burst_of_500_events_at_25_calls_a_second_leaves_everyone_right_within_30_seconds() {
    let record = std::env::temp_dir().join(format!("tollgate-burst-{:x}", fastrand::u64(..)));
    let world = World::with(Options {
        record: Some(record.clone()),
        ..Options::ephemeral()
    })
    .await;
    world.stop_delivery().await;
    let users: Vec<String> = (0..CUSTOMERS)
        .map(|number| format!("user-{number}"))
        .collect();
    let buy = |user: &String| {
        let (world, user) = (&world, user.clone());
        async move {
            let opened = world.checkout(&user, &json!({"plan": "starter"})).await;
            assert_eq!(opened.status, 200, "{opened:?}");
            let paid = world
                .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
                .await;
            assert_eq!(paid.status, 200, "{paid:?}");
        }
    };
    stream::iter(users.iter().map(buy))
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    let mut events = events_of_types(&world, &BURST).await;
    fastrand::Rng::with_seed(7).shuffle(&mut events);
    assert_eq!(events.len(), CUSTOMERS * BURST.len());
    let (before, _) = recorded_lists(&record);
    let limited = world
        .control("rate_limit", &json!({"per_second": 25}))
        .await;
    assert_eq!(limited.status, 200, "{limited:?}");

    let began = Instant::now();
    let answers = join_all(events.iter().map(|event| deliver(&world, event))).await;
    let answered = began.elapsed();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut redelivered = 0;
    for (answer, deliveries) in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let outcome = answer.body["outcome"].as_str().unwrap();
        assert!(
            outcome != "duplicate" || *deliveries > 1,
            "P2: it was delivered once, and our own write is not somebody else's"
        );
        redelivered += deliveries - 1;
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    for user in &users {
        loop {
            let me = world.me(user).await;
            if me["access"] == "active" && me["tokens"]["balance"] == 1_000 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{user}: {me}");
        }
    }
    let right = began.elapsed();
    let waiting = loop {
        let table = world.table().await;
        let markers = events.iter().map(|event| {
            let key = (
                format!("EVENT#{}", event["id"].as_str().unwrap()),
                "EVENT".to_owned(),
            );
            table
                .get(&key)
                .map(|item| item["outcome"].as_s().unwrap().clone())
        });
        let undone: Vec<Option<String>> = markers
            .filter(|outcome| !matches!(outcome.as_deref(), Some("applied" | "no_change")))
            .collect();
        if undone.is_empty() {
            break began.elapsed();
        }
        assert!(
            undone
                .iter()
                .all(|outcome| outcome.as_deref() == Some("pending")),
            "{undone:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} wait",
            undone.len()
        );
    };
    let (after, limited) = recorded_lists(&record);
    let lists = after - before;
    println!(
        "{} events: {outcomes:?}; {redelivered} delivered again; answered in {answered:?}, everyone right in {right:?}, all done in {waiting:?}; \
         {lists} lists given by Stripe, {limited} refused for the rate",
        events.len(),
    );
    assert!(
        lists + limited < events.len(),
        "{lists} lists and {limited} refusals for {} events",
        events.len()
    );
    std::fs::remove_dir_all(&record).unwrap();
}
