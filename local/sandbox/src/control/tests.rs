//! The control calls as a test or a demo makes them: over HTTP.

use serde_json::{Value, json};

use crate::{Options, Sandbox};

struct Running {
    base: String,
    sandbox: Sandbox,
}

async fn start() -> Running {
    let sandbox = Sandbox::open(Options::default()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/_sandbox", listener.local_addr().unwrap());
    let router = sandbox.router();
    tokio::spawn(async { axum::serve(listener, router).await });
    Running { base, sandbox }
}

impl Running {
    async fn post(&self, call: &str, body: Value) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{}/{call}", self.base))
            .body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, call: &str) -> Value {
        reqwest::get(format!("{}/{call}", self.base))
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let running = start().await;
    for (call, body, param) in [
        ("clock/advance", json!({}), "seconds"),
        ("clock/advance", json!({"seconds": 1.5}), "seconds"),
        (
            "clock/advance",
            json!({"seconds": 1, "minutes": 1}),
            "minutes",
        ),
        ("checkout/sessions/cs_1/pay", json!({}), "card"),
        (
            "checkout/sessions/cs_1/pay",
            json!({"card": "visa"}),
            "card",
        ),
        (
            "checkout/sessions/cs_1/pay",
            json!({"card": "4242424242424242", "authenticated": "yes"}),
            "authenticated",
        ),
        ("chaos", json!({"drop": 2}), "drop"),
        ("chaos", json!({"dropp": 0.1}), "dropp"),
        ("deliver", json!({}), "event"),
        ("settle", json!({"timeout_ms": -1}), "timeout_ms"),
        (
            "webhook",
            json!({"url": "https://example.com", "secret": "whsec_x"}),
            "url",
        ),
        ("webhook", json!({"url": "http://localhost/x"}), "secret"),
        ("disputes/dp_1/close", json!({}), "won"),
        ("rate_limit", json!({"per_second": -1}), "per_second"),
    ] {
        let (status, answer) = running.post(call, body).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{call} {answer}"
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_is_stripes_404() {
    let running = start().await;
    for (call, body) in [
        (
            "checkout/sessions/cs_none/pay",
            json!({"card": "4242 4242 4242 4242"}),
        ),
        (
            "customers/cus_none/default-card",
            json!({"card": "4242424242424242"}),
        ),
        ("deliver", json!({"event": "evt_none"})),
        ("disputes/dp_none/close", json!({"won": true})),
    ] {
        let (status, answer) = running.post(call, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("resource_missing")),
            "{call} {answer}"
        );
    }
}

/// An open session of 29 dollars.
fn checkout_session(sandbox: &Sandbox) -> String {
    let price = json!({"currency": "usd", "unit_amount": 2900, "product_data": {"name": "Tokens"}});
    let params = json!({"mode": "payment", "success_url": "http://localhost/",
        "line_items": [{"price_data": price, "quantity": 1}]});
    let session = sandbox
        .world()
        .call("POST", "/v1/checkout/sessions", &params)
        .unwrap();
    session["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_declined_challenged_and_paid() {
    let running = start().await;
    let call = format!(
        "checkout/sessions/{}/pay",
        checkout_session(&running.sandbox)
    );
    let (status, answer) = running
        .post(&call, json!({"card": "4000000000009995"}))
        .await;
    assert_eq!(
        (status, &answer["error"]["decline_code"]),
        (402, &json!("insufficient_funds"))
    );
    let (status, answer) = running
        .post(&call, json!({"card": "4000002760003184"}))
        .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (402, &json!("requires_action"))
    );
    let passed = json!({"card": "4000002760003184", "authenticated": true});
    let (status, session) = running.post(&call, passed).await;
    assert_eq!((status, &session["payment_status"]), (200, &json!("paid")));
    let members = session.as_object().unwrap();
    assert!(members.keys().all(|name| !name.starts_with('_')));
    let (status, answer) = running
        .post(&call, json!({"card": "4242424242424242"}))
        .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("checkout_session_not_open"))
    );
}

#[tokio::test]
async fn a_session_is_expired() {
    let running = start().await;
    let call = format!(
        "checkout/sessions/{}/expire",
        checkout_session(&running.sandbox)
    );
    let (status, session) = running.post(&call, json!({})).await;
    assert_eq!((status, &session["status"]), (200, &json!("expired")));
    assert_eq!(running.post(&call, json!({})).await.0, 400);
}

#[tokio::test]
async fn the_clock_moves_forward() {
    let running = start().await;
    let before = running.get("clock").await["now"].as_i64().unwrap();
    let (status, answer) = running
        .post("clock/advance", json!({"seconds": 86_400}))
        .await;
    assert_eq!(status, 200);
    assert!(answer["now"].as_i64().unwrap() >= before + 86_400);
    assert!(answer["events"].is_array());
    assert_eq!(running.sandbox.clock().offset(), 86_400);
}

#[tokio::test]
async fn the_receiver_is_set_and_its_secret_kept() {
    let running = start().await;
    let target =
        json!({"url": "http://127.0.0.1:9/hook", "secret": "whsec_hidden", "enabled": false});
    let (status, answer) = running.post("webhook", target).await;
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"url": "http://127.0.0.1:9/hook", "enabled": false})
        )
    );
    assert_eq!(running.sandbox.webhook().unwrap().secret, "whsec_hidden");
    assert_eq!(running.post("settle", json!({})).await.0, 200);
    assert_eq!(
        running.get("deliveries").await,
        json!({"data": [], "pending": 0})
    );
    assert_eq!(
        running.post("chaos", json!({"drop": 0.1})).await,
        (200, json!({"chaos": true}))
    );
    assert_eq!(
        running.post("chaos", json!({})).await,
        (200, json!({"chaos": false}))
    );
}
