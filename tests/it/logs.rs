//! What a deployed function writes: one line for each delivery, joined by ids, with its measurements, and
//! nothing that must not be there.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::telemetry;

use crate::call;
use crate::harness::{DAY, FAILS_LATER_CARD, World};

thread_local! {
    /// What is logged while a test wants to know. Each test has a thread, on which all of it runs.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log {
                log.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs something that calls functions by [`call`], and returns the lines that they wrote, as they do when
/// deployed. The functions of the test's own stack are not among them.
pub async fn logged<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        let stage = [("STAGE".to_owned(), "prod".to_owned())];
        let environment: Environment = stage.into_iter().collect();
        let subscriber = telemetry::subscriber(&environment, || Timestamp::UNIX_EPOCH, || Log);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LOG.set(Some(Vec::new()));
    let done = work.await;
    let lines = String::from_utf8(LOG.take().unwrap()).unwrap();
    let own = lines.lines().filter(|line| line.contains(call::ID_PREFIX));
    (done, own.map(str::to_owned).collect())
}

/// Delivers an event, and returns the one line that counts it.
async fn line_of(world: &World, event: &Value) -> Value {
    let (answered, lines) = logged(call::webhook(world, event, HttpClient::new())).await;
    assert_eq!(answered.unwrap().0, 200);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert_eq!(line["stripe.event.id"], event["id"], "{line}");
        let request_id = line["requestId"].as_str().unwrap();
        assert!(request_id.starts_with(call::ID_PREFIX), "{line}");
    }
    let counts = |line: &&Value| !line["WebhookLatency"].is_null();
    let mut counted = lines.iter().filter(counts);
    let line = counted.next().unwrap().clone();
    assert!(counted.next().is_none(), "{lines:?}");
    assert_eq!(line["stripe.event.type"], event["type"]);
    line
}

#[tokio::test]
async fn each_delivery_leaves_one_line_that_counts_it() {
    let world = World::without_schedule().await;
    let bought = world.buy_untold("alice", &json!({"plan": "starter"})).await;
    let (mut applied, mut completed) = (0, 0);
    for event in &bought {
        let line = line_of(&world, event).await;
        applied += line["WebhookApplied"].as_u64().unwrap_or_default();
        completed += line["CheckoutCompleted"].as_u64().unwrap_or_default();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["Stage"]]), "{line}");
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{line}");
        }
    }
    assert!(applied >= 3, "{applied}");
    assert_eq!(completed, 1);
    for event in &bought {
        let again = line_of(&world, event).await;
        assert_eq!(again["WebhookDuplicate"], 1, "{again}");
        assert!(again["CheckoutCompleted"].is_null(), "{again}");
    }

    let me = world.me("alice").await;
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let card = json!({"card": FAILS_LATER_CARD});
    let path = format!("customers/{customer}/default-card");
    assert_eq!(world.control(&path, &card).await.status, 200);
    world.advance(31 * DAY).await;
    let events = world.events_of(customer).await;
    let mut failed = 0;
    for event in &events[bought.len()..] {
        let line = line_of(&world, event).await;
        failed += line["PaymentFailed"].as_u64().unwrap_or_default();
    }
    let failures = events
        .iter()
        .filter(|event| event["type"] == "payment_intent.payment_failed");
    assert!(failed >= 1);
    assert_eq!(failed, failures.count() as u64);
}

#[tokio::test]
async fn what_is_refused_is_counted_and_its_bytes_are_not_written() {
    let world = World::without_schedule().await;
    let event = json!({"id": "evt_x", "object": "event", "email": "alice@example.com"});
    let mut environment: Vec<(String, String)> = world.stack.environment().to_vec();
    environment.retain(|(name, _)| name != "STRIPE_WEBHOOK_SECRET");
    environment.push((
        "STRIPE_WEBHOOK_SECRET".to_owned(),
        "whsec_another".to_owned(),
    ));
    let environment: Environment = environment.into_iter().collect();
    let delivered = call::webhook_in(&world, &environment, &event, HttpClient::new());
    let (answered, lines) = logged(delivered).await;
    assert_eq!(answered.unwrap().0, 400);
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((lines.len(), &line["SignatureFailed"]), (1, &json!(1)));

    let token = world.token("alice");
    let state =
        std::sync::Arc::new(profile::State::new(&world.environment(), HttpClient::new()).unwrap());
    let (refused, more) = logged(call::profile_with(
        &world,
        &state,
        &token[..token.len() - 8],
    ))
    .await;
    assert_eq!(refused.unwrap().0, 401);
    let denied: Value = serde_json::from_str(&more[0]).unwrap();
    assert_eq!(denied["AccessDenied"], 1, "{more:?}");
    for line in lines.iter().chain(&more) {
        for secret in ["alice@example.com", "whsec_", &token[..40]] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
