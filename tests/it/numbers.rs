//! What an event costs and how long it may take, as numbers that a change must not exceed.
//!
//! Requests and units are counted in the function's own connections; see `meter`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::join_all;
use local::invocation;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::harness::{Answer, Attribute, DAY, GOOD_CARD, World, captured, within};
use crate::meter::{Meter, Tally};

/// Delivers an event to a function of the test's own, as Lambda does.
async fn receive(
    world: &World,
    state: &std::sync::Arc<webhook::State>,
    stripe_event: &Value,
) -> Answer {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (body, now) = (stripe_event.to_string(), world.now());
    let signature = world.signature(body.as_bytes(), now);
    let headers = [
        ("stripe-signature", signature.as_str()),
        ("content-type", "application/json"),
    ];
    let path = "/api/webhooks/stripe";
    let event = local::event::http_api(
        &captured(&headers, path, body.as_bytes()),
        &format!("POST {path}"),
    );
    let state = std::sync::Arc::clone(state);
    let handler = move |request| async move { webhook::handle(&state, request, now).await };
    // As long as the ids that Lambda gives.
    let id = format!("00000000-0000-0000-0000-{number:012}");
    let answer = invocation::invoke(event, &id, now, handler).await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        body: serde_json::from_slice(answer.body()).unwrap(),
    }
}

/// One line of the table: an event, what became of it, and what it took.
struct Line {
    event_type: String,
    outcome: String,
    tally: Tally,
}

async fn measure(
    world: &World,
    state: &std::sync::Arc<webhook::State>,
    meter: &Meter,
    events: &[Value],
) -> Vec<Line> {
    let mut lines = Vec::new();
    for event in events {
        let answer = receive(world, state, event).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        lines.push(Line {
            event_type: event["type"].as_str().unwrap().to_owned(),
            outcome: answer.body["outcome"].as_str().unwrap().to_owned(),
            tally: meter.take(),
        });
    }
    lines
}

fn print(lines: &[Line]) {
    println!("| event | outcome | requests | write units | read units |");
    println!("|---|---|---|---|---|");
    for line in lines {
        let Line {
            event_type,
            outcome,
            tally,
            ..
        } = line;
        let (requests, writes, reads) = (tally.shown(), tally.write_units, tally.read_units);
        println!("| `{event_type}` | {outcome} | {requests} | {writes} | {reads} |");
    }
}

/// A user with a first period behind them, whose renewal has happened at Stripe and not been told.
async fn renewed(world: &World) -> (Value, Vec<Value>) {
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap().to_owned();
    let before = world.events_of(&customer).await;
    world.stop_delivery().await;
    world.advance(31 * DAY).await;
    let mut events = world.events_of(&customer).await;
    let renewal = events.split_off(before.len());
    (before.into_iter().next_back().unwrap(), renewal)
}

#[tokio::test]
async fn a_renewal_takes_one_read_one_call_and_one_write_of_at_most_8_units_for_each_event() {
    let world = World::start().await;
    let (warming, renewal) = renewed(&world).await;
    let meter = Meter::new();
    let state =
        std::sync::Arc::new(webhook::State::new(&world.environment(), meter.client()).unwrap());
    receive(&world, &state, &warming).await;
    meter.take();

    let first = measure(&world, &state, &meter, &renewal).await;
    print(&first);
    for line in &first {
        let Line {
            event_type,
            outcome,
            tally,
        } = line;
        assert!(tally.count("BatchGetItem") <= 1, "{event_type}: {tally:?}");
        assert!(tally.of_stripe() <= 1, "{event_type}: {tally:?}");
        assert!(
            tally.count("TransactWriteItems") <= 1,
            "{event_type}: {tally:?}"
        );
        assert_eq!(tally.count("GetItem"), 0, "{event_type}: {tally:?}");
        assert_eq!(tally.writes(), 1, "{event_type}: {tally:?}");
        assert!(tally.read_units <= 4.0, "{event_type}: {tally:?}");
        let units = match outcome.as_str() {
            "applied" if event_type == "invoice.paid" => 8.0,
            "applied" => 6.0,
            "no_change" | "ignored" => {
                assert_eq!(tally.count("PutItem"), 1, "{event_type}: {tally:?}");
                2.0
            }
            other => panic!("{event_type}: {other}"),
        };
        assert!(tally.write_units <= units, "{event_type}: {tally:?}");
        // Otherwise the meter is broken, and every bound holds.
        assert!(tally.write_units > 0.0, "{event_type}: {tally:?}");
    }
    let outcome_of = |event_type: &str| {
        let line = first.iter().find(|line| line.event_type == event_type);
        line.unwrap().outcome.as_str()
    };
    assert_eq!(outcome_of("invoice.paid"), "applied");
    assert_eq!(
        outcome_of("invoice.payment_succeeded"),
        "no_change",
        "it says what invoice.paid has said"
    );
    assert_eq!(world.me("alice").await["tokens"]["balance"], 2_000);

    let again = measure(&world, &state, &meter, &renewal).await;
    print(&again);
    for Line {
        event_type,
        outcome,
        tally,
        ..
    } in &again
    {
        assert_eq!(outcome, "duplicate", "{event_type}");
        assert!(tally.writes() <= 1, "{event_type}: {tally:?}");
        assert!(tally.write_units <= 2.0, "{event_type}: {tally:?}");
        assert_eq!(tally.of_stripe(), 0, "{event_type}: {tally:?}");
    }
}

/// The size of an item as DynamoDB counts it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size_of(item: &HashMap<String, Attribute>) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &Attribute) -> usize {
    match value {
        Attribute::S(text) => text.len(),
        Attribute::N(digits) => {
            let digits = digits.trim_start_matches('-').len();
            digits.div_ceil(2) + 2
        }
        Attribute::B(bytes) => bytes.as_ref().len(),
        Attribute::Bool(_) | Attribute::Null(_) => 1,
        Attribute::L(values) => {
            3 + values
                .iter()
                .map(|value| 1 + value_size(value))
                .sum::<usize>()
        }
        Attribute::M(members) => 3 + members.len() + size_of(members),
        other => panic!("{other:?} is not written by us"),
    }
}

#[tokio::test]
async fn the_account_and_the_markers_stay_under_1024_bytes() {
    let world = World::start().await;
    // As long as the subjects that identity providers give.
    let user = "auth0|64f1c0ffee64f1c0ffee64f1c0ffee64f1c0ffee";
    world.subscribe(user, "starter").await;
    world.advance(31 * DAY).await;
    let opened = world.checkout(user, &json!({"pack": "tokens_1000"})).await;
    let session = opened.body["session_id"].as_str().unwrap();
    world.pay(session, GOOD_CARD).await;
    let table = world.table().await;
    let (mut largest, mut markers) = (BTreeMap::new(), 0);
    for ((pk, sk), item) in &table {
        let kind = match sk.as_str() {
            "ACCOUNT" => "account",
            "EVENT" => "marker",
            _ => continue,
        };
        markers += usize::from(kind == "marker");
        let size = size_of(item);
        let known = largest.entry(kind).or_insert(0);
        *known = size.max(*known);
        assert!(size < 1_024, "{pk} {sk}: {size} bytes");
    }
    println!("largest of {markers} markers and the account, in bytes: {largest:?}");
    assert!(
        markers >= 20 && largest.len() == 2,
        "{markers} markers, {largest:?}"
    );
}

/// An address that takes connections and never says anything.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn whoever_is_silent_the_webhook_answers_within_8_seconds() {
    let world = World::start().await;
    let events = world.buy_untold("alice", &json!({"plan": "starter"})).await;
    let of_type = |event_type: &str| {
        events
            .iter()
            .find(|event| event["type"] == event_type)
            .unwrap()
    };

    let silent = silent().await;
    let (stripe, dynamodb) = ("STRIPE_API_BASE", "AWS_ENDPOINT_URL_DYNAMODB");
    let manager = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
    let cases = [
        (
            "customer.subscription.created",
            vec![stripe],
            vec!["pending"],
        ),
        ("invoice.paid", vec![dynamodb], vec!["try_again"]),
        (
            "checkout.session.completed",
            vec![stripe, dynamodb],
            vec!["try_again"],
        ),
        ("invoice.finalized", vec![manager], vec!["try_again"]),
    ];
    let tried = cases.iter().map(|(event_type, mute, expected)| {
        let mut variables: HashMap<String, String> =
            world.stack.environment().iter().cloned().collect();
        variables.extend(mute.iter().map(|name| ((*name).to_owned(), silent.clone())));
        if mute.contains(&manager) {
            variables.insert(
                "SECRETS_ARN".to_owned(),
                "arn:aws:secretsmanager:us-east-1:0:secret:s".to_owned(),
            );
        }
        let environment: Environment = variables.into_iter().collect();
        let state =
            std::sync::Arc::new(webhook::State::new(&environment, HttpClient::new()).unwrap());
        let (world, event) = (&world, of_type(event_type));
        async move {
            let began = Instant::now();
            let answer = within(20, receive(world, &state, event)).await;
            let took = began.elapsed();
            println!(
                "silent: {mute:?}: {} {} after {took:?}",
                answer.status, answer.body
            );
            let said = answer.body["outcome"]
                .as_str()
                .or(answer.body["code"].as_str())
                .unwrap();
            assert!(expected.contains(&said), "{mute:?}: {answer:?}");
            let is_kept = world
                .item(&format!("EVENT#{}", event["id"].as_str().unwrap()), "EVENT")
                .await
                .is_some();
            assert_eq!(
                (answer.status == 200, is_kept),
                (is_kept, answer.status == 200),
                "P1: {answer:?}"
            );
            assert!(
                answer.status == 200 || answer.status == 503,
                "{mute:?}: {answer:?}"
            );
            assert!(took < Duration::from_secs(8), "{mute:?}: {took:?}");
        }
    });
    join_all(tried).await;
}
