//! Deliveries against a receiver on this machine. Nothing sleeps: a test waits for `settle` or for the receiver.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::*;
use crate::{Options, WebhookTarget};

/// A receiver that fails so many times, then accepts.
#[derive(Clone, Default)]
struct Receiver {
    failures: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    receiver.received.lock().unwrap().push((headers, body));
    let failing = receiver
        .failures
        .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok();
    if failing {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

impl Receiver {
    async fn start(failures: usize) -> (Self, WebhookTarget) {
        let receiver = Self::default();
        receiver.failures.store(failures, Ordering::SeqCst);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(receiver.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (
            receiver,
            WebhookTarget {
                url,
                secret: "whsec_test".to_owned(),
            },
        )
    }

    fn events(&self) -> Vec<Value> {
        self.received
            .lock()
            .unwrap()
            .iter()
            .map(|(_, body)| serde_json::from_str(body).unwrap())
            .collect()
    }

    fn ids(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| event.text("id").to_owned())
            .collect()
    }
}

fn sandbox(webhook: Option<WebhookTarget>) -> Sandbox {
    Sandbox::open(Options {
        webhook,
        ..Options::default()
    })
    .unwrap()
}

fn emit(sandbox: &Sandbox, id: &str) -> String {
    sandbox.world().emit(
        "customer.created",
        &json!({"id": id, "object": "customer"}),
        None,
    )
}

fn chaos(sandbox: &Sandbox, body: Value) {
    sandbox
        .deliveries()
        .set_chaos(Chaos::parse(body.as_object().unwrap()).unwrap());
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_event_arrives_signed() {
    let (receiver, target) = Receiver::start(0).await;
    let sandbox = sandbox(Some(target));
    let task = dispatch::start(&sandbox);
    let event = emit(&sandbox, "cus_1");
    assert!(settle(&sandbox, LONG).await);
    assert_eq!(receiver.ids(), [event]);
    let (headers, body) = receiver.received.lock().unwrap()[0].clone();
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let timestamp: i64 = signature["t=".len()..]
        .split(',')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        signature,
        envelope::signature("whsec_test", timestamp, &body)
    );
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(
        headers["user-agent"],
        "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
    );
    task.abort();
}

#[tokio::test]
async fn a_refused_event_is_tried_again() {
    let (receiver, target) = Receiver::start(1).await;
    let sandbox = sandbox(Some(target));
    let task = dispatch::start(&sandbox);
    let event = emit(&sandbox, "cus_1");
    assert!(settle(&sandbox, LONG).await);
    assert_eq!(receiver.ids(), [event.clone(), event]);
    let attempts = sandbox.deliveries().attempts(|_| true);
    assert_eq!(
        (attempts[0].int("status"), attempts[1].int("status")),
        (503, 200)
    );
    assert_eq!(
        (attempts[0].int("attempt"), attempts[1].int("attempt")),
        (1, 2)
    );
    assert!(attempts[0].is_set("next_retry_at") && !attempts[1].is_set("next_retry_at"));
    task.abort();
}

#[tokio::test]
async fn p1_an_owed_event_survives_the_end_of_the_process() {
    let path = std::env::temp_dir().join(format!("sandbox-{}.sqlite", fastrand::u64(..)));
    let options = |webhook| Options {
        data: Some(path.clone()),
        webhook,
        ..Options::default()
    };
    // Nobody listens at the first address.
    let target = WebhookTarget {
        url: "http://127.0.0.1:9/".to_owned(),
        secret: "whsec_test".to_owned(),
    };
    let first = Sandbox::open(options(Some(target))).unwrap();
    let task = dispatch::start(&first);
    let mut changes = first.deliveries().changes.subscribe();
    let tried = emit(&first, "cus_1");
    while first.deliveries().attempts(|_| true).is_empty() {
        changes.changed().await.unwrap();
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // This one was not even looked at.
    let untried = emit(&first, "cus_2");
    drop(first);

    let (receiver, target) = Receiver::start(0).await;
    // As `dev` does: it knows its own address only after the start.
    let second = Sandbox::open(options(None)).unwrap();
    let task = dispatch::start(&second);
    assert!(!settle(&second, Duration::from_millis(50)).await);
    second.set_webhook(Some(target));
    assert!(settle(&second, LONG).await);
    let mut ids = receiver.ids();
    ids.sort();
    let mut expected = [tried, untried];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(second.world().kv_scan(job::PREFIX).is_empty());
    task.abort();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

#[tokio::test]
async fn chaos_repeats_loses_and_ages_events() {
    let (receiver, target) = Receiver::start(0).await;
    let sandbox = sandbox(Some(target));
    let task = dispatch::start(&sandbox);
    chaos(
        &sandbox,
        json!({"duplicate": 1, "same_second": true, "api_version": "2024-06-20", "delay_ms": 20}),
    );
    let twice = emit(&sandbox, "cus_1");
    assert!(settle(&sandbox, LONG).await);
    assert_eq!(receiver.ids(), [twice.clone(), twice.clone()]);
    for event in receiver.events() {
        assert_eq!(event.text("api_version"), "2024-06-20");
        assert_eq!(event.int("created") % 10, 0);
    }

    chaos(&sandbox, json!({"drop": 1}));
    let lost = emit(&sandbox, "cus_2");
    assert!(settle(&sandbox, LONG).await);
    let attempts = sandbox
        .deliveries()
        .attempts(|attempt| attempt.text("event") == lost);
    assert_eq!(
        (attempts.len(), attempts[0].at("chaos")),
        (1, &json!(["drop"]))
    );
    assert_eq!(receiver.ids().len(), 2);

    chaos(&sandbox, json!({}));
    assert_eq!(deliver_again(&sandbox, &lost, |_| true), Some(1));
    assert!(settle(&sandbox, LONG).await);
    assert_eq!(receiver.ids(), [twice.clone(), twice, lost]);
    assert_eq!(deliver_again(&sandbox, "evt_none", |_| true), None);
    task.abort();
}

#[tokio::test]
async fn endpoints_get_what_they_enabled_and_the_default_can_be_switched_off() {
    let (default, target) = Receiver::start(0).await;
    let (endpoint, its_target) = Receiver::start(0).await;
    let sandbox = sandbox(Some(target));
    let task = dispatch::start(&sandbox);
    sandbox.world().put(json!({"id": "we_1", "object": "webhook_endpoint", "status": "enabled", "url": its_target.url,
        "_secret": "whsec_other", "enabled_events": ["invoice.paid"], "api_version": "2022-11-15"}));
    let customer = emit(&sandbox, "cus_1");
    assert!(settle(&sandbox, LONG).await);
    set_enabled(&sandbox, false);
    let invoice = json!({"id": "in_1", "object": "invoice", "status": "paid"});
    let paid = sandbox.world().emit("invoice.paid", &invoice, None);
    assert!(settle(&sandbox, LONG).await);
    assert_eq!(
        (default.ids(), endpoint.ids()),
        (vec![customer], vec![paid])
    );
    let (headers, body) = endpoint.received.lock().unwrap()[0].clone();
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let timestamp: i64 = signature["t=".len()..]
        .split(',')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        signature,
        envelope::signature("whsec_other", timestamp, &body)
    );
    assert_eq!(endpoint.events()[0].at("data/object/paid"), &json!(true));
    task.abort();
}

#[tokio::test]
async fn settling_takes_no_longer_than_asked() {
    let target = WebhookTarget {
        url: "http://127.0.0.1:9/".to_owned(),
        secret: "whsec_test".to_owned(),
    };
    let sandbox = sandbox(Some(target));
    let task = dispatch::start(&sandbox);
    emit(&sandbox, "cus_1");
    assert!(!settle(&sandbox, Duration::from_millis(50)).await);
    set_enabled(&sandbox, false);
    task.abort();
}

#[tokio::test]
async fn an_event_is_owed_until_it_is_delivered_and_a_disabled_endpoint_is_owed_nothing() {
    let sandbox = sandbox(None);
    let task = dispatch::start(&sandbox);
    let (endpoint, its_target) = Receiver::start(usize::MAX).await;
    let params = json!({"url": its_target.url, "enabled_events": ["customer.created"], "api_version": "2024-06-20"});
    let made = sandbox
        .world()
        .call("POST", "/v1/webhook_endpoints", &params)
        .unwrap();
    let event = emit(&sandbox, "cus_1");
    let owed = |sandbox: &Sandbox| {
        let undelivered = json!({"delivery_success": false});
        let listed = sandbox
            .world()
            .call("GET", "/v1/events", &undelivered)
            .unwrap();
        let events = listed.items("data").iter();
        events
            .map(|event| (event.text("id").to_owned(), event.int("pending_webhooks")))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        owed(&sandbox),
        [(event.clone(), 1)],
        "nobody has looked at it"
    );
    assert!(!settle(&sandbox, Duration::from_millis(50)).await);
    assert_eq!(owed(&sandbox), [(event.clone(), 1)], "it was refused");
    assert_eq!(endpoint.events()[0].text("api_version"), "2024-06-20");
    let its_path = format!("/v1/webhook_endpoints/{}", made.text("id"));
    sandbox
        .world()
        .call("POST", &its_path, &json!({"disabled": true}))
        .unwrap();
    assert!(settle(&sandbox, LONG).await, "its retries have ended");
    assert_eq!(owed(&sandbox), []);
    emit(&sandbox, "cus_2");
    assert!(settle(&sandbox, LONG).await);
    assert!(endpoint.ids().iter().all(|id| *id == event));
    task.abort();
}
