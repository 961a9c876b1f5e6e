//! A running stack and what tests do with it: sign in, call the API, pay, move the clock, read the table.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use local::event::Captured;
use local::issuer::TokenRequest;
use local::stack::{Options, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::signature::{SigningSecret, sign};
use shared::stripe::{Call, Stripe};

use crate::policy::Gate;

/// A card that pays, one that is declined, and one that is attached but fails later.
pub const GOOD_CARD: &str = "4242424242424242";
pub const DECLINED_CARD: &str = "4000000000000002";
pub const FAILS_LATER_CARD: &str = "4000000000000341";

pub const DAY: i64 = 86_400;

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// A fresh stack's options. What its sandbox gives out is recorded where `TOLLGATE_SANDBOX_RECORD` says, to
/// be judged by Stripe's own schema.
fn recorded() -> Options {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let record = std::env::var_os("TOLLGATE_SANDBOX_RECORD")
        .map(|directory| std::path::Path::new(&directory).join(number.to_string()));
    Options {
        record,
        ..Options::ephemeral()
    }
}

pub struct World {
    pub stack: Stack,
    /// Stands between the stack's functions and AWS, and lets through what the template allows.
    pub gate: Gate,
    client: reqwest::Client,
}

impl World {
    /// A fresh stack with the shipped catalogue.
    pub async fn start() -> Self {
        Self::with(recorded()).await
    }

    /// The same, in which nothing is tried again unless the test does it.
    pub async fn without_schedule() -> Self {
        Self::with(Options {
            schedule: None,
            ..recorded()
        })
        .await
    }

    pub async fn with(mut options: Options) -> Self {
        let gate = Gate::new();
        options.deploy = gate.deploy();
        let stack = tollgate::start::start(options).await.unwrap();
        Self {
            stack,
            gate,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub async fn stop(self) {
        self.stack.stop().await;
    }

    pub fn now(&self) -> Timestamp {
        self.stack.clock().now()
    }

    pub fn environment(&self) -> Environment {
        self.stack.environment().iter().cloned().collect()
    }

    pub fn variable(&self, name: &str) -> String {
        self.environment().get(name).unwrap().to_owned()
    }

    pub fn token(&self, user: &str) -> String {
        self.stack
            .issuer()
            .access_token(&TokenRequest::user(user))
            .unwrap()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.gate.assert_nothing_was_denied();
        Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    /// Calls the gateway with a bearer token, or without one.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.stack.addresses().gateway));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        self.send(request).await
    }

    pub async fn post(&self, path: &str, user: &str, body: &Value) -> Answer {
        self.call(
            Method::POST,
            path,
            Some(&self.token(user)),
            Some(body.to_string().into_bytes()),
        )
        .await
    }

    pub async fn me(&self, user: &str) -> Value {
        let answer = self
            .call(Method::GET, "/api/user/me", Some(&self.token(user)), None)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub async fn checkout(&self, user: &str, body: &Value) -> Answer {
        self.post("/api/billing/checkout-session", user, body).await
    }

    /// Subscribes a user and waits until the events have arrived.
    pub async fn subscribe(&self, user: &str, plan: &str) -> Value {
        let opened = self
            .checkout(user, &json!({"plan": plan, "interval": "month"}))
            .await;
        assert_eq!(opened.status, 200, "{opened:?}");
        let paid = self
            .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
            .await;
        assert_eq!(paid.status, 200, "{paid:?}");
        self.settle().await;
        self.me(user).await
    }

    /// Has a user buy something without a word of it to the functions, and returns what Stripe would have
    /// told.
    pub async fn buy_untold(&self, user: &str, wanted: &Value) -> Vec<Value> {
        let opened = self.checkout(user, wanted).await;
        assert_eq!(opened.status, 200, "{opened:?}");
        self.settle().await;
        self.stop_delivery().await;
        let paid = self
            .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
            .await;
        assert_eq!(paid.status, 200, "{paid:?}");
        let me = self.me(user).await;
        self.events_of(me["stripe_customer_id"].as_str().unwrap())
            .await
    }

    /// The customer that the user's first Checkout will claim, made at Stripe before it: the same
    /// idempotency key is answered by the same customer.
    pub async fn customer_to_be(&self, user: &str) -> String {
        let (environment, http) = (self.environment(), HttpClient::new());
        let stripe = Stripe::new(&environment, &http).unwrap();
        let secrets = Secrets::new(&environment, &http, &[STRIPE_SECRET_KEY]).unwrap();
        let call = Call {
            secrets: &secrets,
            now: self.now(),
        };
        let created = stripe.create_customer(call, &user.into(), 0).await;
        created.unwrap().to_string()
    }

    /// Where Stripe keeps the customer's newest subscription.
    pub async fn subscription_path(&self, customer: &str) -> String {
        let listed = self
            .stripe_get(&format!("/v1/subscriptions?customer={customer}"))
            .await;
        let id = listed["data"][0]["id"].as_str().unwrap();
        format!("/v1/subscriptions/{id}")
    }

    fn sandbox_url(&self) -> String {
        self.stack.addresses().sandbox.clone().unwrap()
    }

    /// A control call of the sandbox.
    pub async fn control(&self, path: &str, body: &Value) -> Answer {
        self.send(
            self.client
                .post(format!("{}/_sandbox/{path}", self.sandbox_url()))
                .json(body),
        )
        .await
    }

    pub async fn pay(&self, session_id: &str, card: &str) -> Answer {
        self.control(
            &format!("checkout/sessions/{session_id}/pay"),
            &json!({"card": card}),
        )
        .await
    }

    pub async fn advance(&self, seconds: i64) {
        let answer = self
            .control("clock/advance", &json!({"seconds": seconds}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.settle().await;
    }

    /// Waits until the sandbox has nothing left to deliver.
    pub async fn settle(&self) {
        let answer = self.control("settle", &json!({"timeout_ms": 20_000})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Nothing is delivered any more unless a test does it.
    pub async fn stop_delivery(&self) {
        let answer = self.control("webhook", &json!({"enabled": false})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Asks the sandbox as a client of Stripe would.
    pub async fn stripe_get(&self, path: &str) -> Value {
        let key = self.variable("STRIPE_SECRET_KEY");
        let answer = self
            .send(
                self.client
                    .get(format!("{}{path}", self.sandbox_url()))
                    .bearer_auth(key),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub async fn stripe_post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let key = self.variable("STRIPE_SECRET_KEY");
        let body: String = form
            .iter()
            .map(|(name, value)| format!("{name}={value}&"))
            .collect();
        let request = self
            .client
            .post(format!("{}{path}", self.sandbox_url()))
            .bearer_auth(key);
        self.send(
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body),
        )
        .await
    }

    pub async fn stripe_delete(&self, path: &str) {
        let key = self.variable("STRIPE_SECRET_KEY");
        let url = format!("{}{path}", self.sandbox_url());
        let answer = self.send(self.client.delete(url).bearer_auth(key)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// All events at the sandbox about a customer, oldest first.
    pub async fn events_of(&self, customer: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut after = String::new();
        loop {
            let page = self
                .stripe_get(&format!("/v1/events?limit=100{after}"))
                .await;
            events.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                break;
            }
            after = format!(
                "&starting_after={}",
                events.last().unwrap()["id"].as_str().unwrap()
            );
        }
        events.reverse();
        let is_about = |event: &Value| {
            let object = &event["data"]["object"];
            object["customer"] == customer || object["id"] == customer
        };
        events.into_iter().filter(is_about).collect()
    }

    /// Delivers an event to the gateway, signed as Stripe signs.
    pub async fn deliver(&self, event: &Value) -> Answer {
        let body = event.to_string();
        let header = self.signature(body.as_bytes(), self.now());
        self.webhook(body.into_bytes(), Some(&header)).await
    }

    pub fn signature(&self, body: &[u8], at: Timestamp) -> String {
        sign(
            body,
            &SigningSecret::new(&self.variable("STRIPE_WEBHOOK_SECRET")).unwrap(),
            at,
        )
    }

    pub async fn webhook(&self, body: Vec<u8>, signature: Option<&str>) -> Answer {
        let url = format!("{}/api/webhooks/stripe", self.stack.addresses().gateway);
        let mut request = self
            .client
            .post(url)
            .header("content-type", "application/json; charset=utf-8");
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        self.send(request.body(body)).await
    }

    /// The whole table, by key, once nothing is on its way any more.
    pub async fn table(&self) -> BTreeMap<(String, String), HashMap<String, Attribute>> {
        self.settle().await;
        let client = shared::aws::dynamodb(&self.environment(), &HttpClient::new()).unwrap();
        let items = client
            .scan()
            .table_name(self.variable("TABLE_NAME"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .unwrap();
        let key =
            |item: &HashMap<String, Attribute>, name: &str| item[name].as_s().unwrap().clone();
        items
            .into_iter()
            .map(|item| ((key(&item, "pk"), key(&item, "sk")), item))
            .collect()
    }

    /// One item, as its attributes.
    pub async fn item(&self, pk: &str, sk: &str) -> Option<HashMap<String, Attribute>> {
        let client = shared::aws::dynamodb(&self.environment(), &HttpClient::new()).unwrap();
        let answer = client
            .get_item()
            .table_name(self.variable("TABLE_NAME"))
            .key("pk", Attribute::S(pk.to_owned()))
            .key("sk", Attribute::S(sk.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .unwrap();
        answer.item
    }

    /// Sets one attribute of an item, as a person would with the console.
    pub async fn set(&self, pk: &str, sk: &str, (name, value): (&str, Attribute)) {
        let client = shared::aws::dynamodb(&self.environment(), &HttpClient::new()).unwrap();
        client
            .update_item()
            .table_name(self.variable("TABLE_NAME"))
            .key("pk", Attribute::S(pk.to_owned()))
            .key("sk", Attribute::S(sk.to_owned()))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .unwrap();
    }

    /// What a user has, beside what Stripe's objects say: the promise P3.
    pub async fn assert_equals_stripe(&self, user: &str) {
        let me = self.me(user).await;
        let customer = me["stripe_customer_id"].as_str().unwrap();
        let listed = self
            .stripe_get(&format!("/v1/subscriptions?customer={customer}&status=all"))
            .await;
        let newest = &listed["data"][0];
        assert_eq!(me["status"], newest["status"]);
        assert_eq!(me["price_id"], newest["items"]["data"][0]["price"]["id"]);
        let end: Timestamp = me["current_period_end"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            newest["items"]["data"][0]["current_period_end"],
            end.as_second()
        );
        let cancel_at = me["cancel_at"]
            .as_str()
            .map(|at| at.parse::<Timestamp>().unwrap().as_second());
        let expected = newest["cancel_at"]
            .as_i64()
            .or_else(|| (newest["cancel_at_period_end"] == true).then(|| end.as_second()));
        assert_eq!(cancel_at, expected);
        let invoices = self
            .stripe_get(&format!("/v1/invoices?customer={customer}&limit=100"))
            .await;
        for invoice in invoices["data"].as_array().unwrap() {
            let id = invoice["id"].as_str().unwrap();
            let recorded = self
                .item(&format!("USER#{user}"), &format!("INVOICE#{id}"))
                .await;
            let status = recorded.map(|item| {
                let invoice = item["invoice"].as_m().unwrap();
                invoice["status"].as_s().unwrap().clone()
            });
            let is_draft = invoice["status"] == "draft";
            assert!(
                is_draft || status.as_deref() == invoice["status"].as_str(),
                "{id}: {status:?}, {invoice}"
            );
        }
    }
}

/// A POST as the gateway would capture it.
pub fn captured(headers: &[(&str, &str)], path: &str, body: &[u8]) -> Captured {
    let headers = headers.iter().map(|(name, value)| {
        (
            http::HeaderName::try_from(*name).unwrap(),
            http::HeaderValue::try_from(*value).unwrap(),
        )
    });
    let mut headers: http::HeaderMap = headers.collect();
    headers.insert("host", http::HeaderValue::from_static("localhost"));
    Captured {
        method: http::Method::POST,
        path: path.to_owned(),
        query: String::new(),
        headers,
        body: body.to_vec(),
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 443,
        received_at: Timestamp::UNIX_EPOCH,
        request_id: "captured".to_owned(),
    }
}

pub use aws_sdk_dynamodb::types::AttributeValue as Attribute;

/// The last event of a type.
pub fn last_of<'e>(events: &'e [Value], event_type: &str) -> &'e Value {
    let mut newest_first = events.iter().rev();
    newest_first
        .find(|event| event["type"] == event_type)
        .unwrap()
}

/// Ends a test that hangs.
pub async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), work)
        .await
        .expect("the test takes too long")
}
