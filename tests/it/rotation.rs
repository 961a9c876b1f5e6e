//! Secrets that change while a function runs: read when they are needed, no more often than that, and no
//! event is lost on the way. CI shows the same with the real binary and another Secrets Manager.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::secrets::{STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, Secrets};
use shared::signature::{self, SigningSecret};
use shared::stripe::{Call, Stripe};

use crate::tap::{tapped, target};

/// A Secrets Manager that a test holds in its hands.
#[derive(Clone, Default)]
struct Manager(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    secrets: HashMap<String, Value>,
    is_down: bool,
    reads: Vec<String>,
}

impl Manager {
    fn put(&self, arn: &str, members: Value) {
        let mut held = self.0.lock().unwrap();
        held.secrets.insert(arn.to_owned(), members);
    }

    fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    /// Which secrets were asked for since the last time.
    fn reads(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().reads)
    }

    fn client(&self) -> HttpClient {
        let held = Arc::clone(&self.0);
        tapped(move |request, inner| {
            if target(&request) != Some("secretsmanager.GetSecretValue") {
                return inner.call(request);
            }
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let arn = body["SecretId"].as_str().unwrap();
            let mut held = held.lock().unwrap();
            held.reads.push(arn.to_owned());
            if held.is_down {
                return HttpConnectorFuture::ready(Err(ConnectorError::user("down".into())));
            }
            let answer = json!({"SecretString": held.secrets[arn].to_string()});
            let body = SdkBody::from(answer.to_string());
            HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), body)))
        })
    }
}

fn environment() -> Environment {
    [
        ("SECRETS_ARN", "webhook,stripe"),
        ("LIVEMODE", "false"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
    .collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

const NEEDED: [&str; 2] = [STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET];

/// What `webhook` does with a signature.
async fn accepts(secrets: &Secrets, signed_with: &str, now: Timestamp) -> bool {
    let header = signature::sign(b"{}", &SigningSecret::new(signed_with).unwrap(), now);
    let header = Some(header.as_bytes());
    let known = secrets.signing_secrets(now).await.unwrap();
    if signature::verify(header, b"{}", &known, now).is_ok() {
        return true;
    }
    if !secrets.doubt(now).await {
        return false;
    }
    let known = secrets.signing_secrets(now).await.unwrap();
    signature::verify(header, b"{}", &known, now).is_ok()
}

#[tokio::test]
async fn a_rolled_signing_secret_loses_no_event_and_is_read_at_a_bounded_rate() {
    let manager = Manager::default();
    let (old, new) = ("whsec_old_secret", "whsec_new_secret");
    manager.put("webhook", json!({STRIPE_WEBHOOK_SECRET: old}));
    let secrets = Secrets::new(&environment(), &manager.client(), &NEEDED).unwrap();
    assert!(
        manager.reads().is_empty(),
        "nothing is read before it is needed"
    );
    assert!(accepts(&secrets, old, at(0)).await && accepts(&secrets, old, at(1)).await);
    assert_eq!(
        manager.reads(),
        ["webhook"],
        "once, and the other secret not at all"
    );

    manager.put(
        "webhook",
        json!({STRIPE_WEBHOOK_SECRET: format!("{new},{old}")}),
    );
    assert!(accepts(&secrets, new, at(40)).await, "at once");
    assert!(
        accepts(&secrets, old, at(41)).await,
        "signed before it was rolled"
    );
    assert_eq!(manager.reads(), ["webhook"]);

    for second in 41..100 {
        assert!(!accepts(&secrets, "whsec_of_a_stranger", at(second)).await);
    }
    assert!(manager.reads().len() <= 2, "a storm is not passed on");

    manager.put("webhook", json!({STRIPE_WEBHOOK_SECRET: new}));
    assert!(!accepts(&secrets, "whsec_of_a_stranger", at(200)).await);
    assert!(!accepts(&secrets, old, at(201)).await, "taken away");
    manager.reads();

    // A stranger's signature, while Secrets Manager is down, must not cost the good ones.
    manager.set_down(true);
    assert!(!accepts(&secrets, "whsec_of_a_stranger", at(300)).await);
    assert!(accepts(&secrets, new, at(301)).await);
    assert!(!manager.reads().is_empty(), "it was tried");
}

#[tokio::test]
async fn what_is_blank_or_wrong_is_named_and_read_again_once_it_is_put_right() {
    let manager = Manager::default();
    manager.put("webhook", json!({STRIPE_WEBHOOK_SECRET: "whsec_a_secret"}));
    let secrets = Secrets::new(&environment(), &manager.client(), &NEEDED).unwrap();
    for (minute, (value, why)) in (0..).zip([
        ("", "blank"),
        ("pk_test_of_a_page", "it is a Stripe key"),
        ("sk_live_of_the_other_mode", "LIVEMODE"),
    ]) {
        manager.put("stripe", json!({STRIPE_SECRET_KEY: value}));
        let error = secrets
            .stripe_secret_key(at(minute * 60))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(STRIPE_SECRET_KEY) && error.contains(why),
            "{error}"
        );
        assert!(value.is_empty() || !error.contains(value), "{error}");
    }
    manager.put("stripe", json!({STRIPE_SECRET_KEY: "rk_test_of_ours"}));
    let early = secrets.stripe_secret_key(at(121)).await;
    assert!(early.is_err(), "it was read a second ago");
    assert!(secrets.stripe_secret_key(at(200)).await.is_ok());
}

#[tokio::test]
async fn a_rolled_key_of_stripes_is_read_again_when_stripe_refuses_the_old_one() {
    let manager = Manager::default();
    manager.put("webhook", json!({}));
    manager.put("stripe", json!({STRIPE_SECRET_KEY: "rk_test_old"}));
    let expired = Arc::new(Mutex::new("nothing"));
    let refused = Arc::clone(&expired);
    let http = tapped(move |request, _inner| {
        let shown = request.headers().get("authorization").unwrap_or_default();
        let (status, answer) = if shown == format!("Bearer {}", refused.lock().unwrap()) {
            let error = json!({"type": "invalid_request_error", "code": "api_key_expired"});
            (401, json!({"error": error}))
        } else {
            (
                200,
                json!({"object": "list", "data": [], "has_more": false}),
            )
        };
        let body = SdkBody::from(answer.to_string());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), body)))
    });
    let secrets = Secrets::new(&environment(), &manager.client(), &NEEDED).unwrap();
    let stripe = Stripe::new(&environment(), &http).unwrap();
    let ask = async |seconds| {
        let now = at(seconds);
        let secrets = &secrets;
        stripe
            .subscriptions(Call { secrets, now }, &"cus_1".into())
            .await
    };
    assert!(ask(0).await.is_ok());
    manager.put("stripe", json!({STRIPE_SECRET_KEY: "rk_test_new"}));
    manager.reads();
    assert!(ask(20).await.is_ok(), "the old one still works");
    assert!(manager.reads().is_empty());
    *expired.lock().unwrap() = "rk_test_old";
    assert!(ask(25).await.is_err(), "it was read a moment ago");
    assert!(ask(60).await.is_ok());
    assert!(manager.reads().contains(&"stripe".to_owned()));
}
