//! What the demo does things with: the product's API as a frontend has it, and Stripe's as its
//! customer and its clock have it.

use std::io::Write;

use local::client::client;
use local::listeners::Addresses;
use local::stack::Stack;
use local::stripe::SANDBOX_SECRET_KEY;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Error, text};

/// Seconds of a day.
pub(super) const DAY: i64 = 24 * 60 * 60;

/// One user's walk through a running stack.
pub(super) struct Walk<'a> {
    addresses: &'a Addresses,
    out: &'a mut (dyn Write + Send),
    http: reqwest::Client,
    access_token: String,
    step: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(stack: &'a Stack, out: &'a mut (dyn Write + Send)) -> Self {
        let http = client();
        Self {
            addresses: stack.addresses(),
            out,
            http,
            access_token: String::new(),
            step: 0,
        }
    }

    /// Prints a step that happened and how it turned out.
    pub(super) fn say(&mut self, what: &str, outcome: &str) -> Result<(), Error> {
        self.step = self.step.saturating_add(1);
        writeln!(self.out, "{:>2}  {what}\n    {outcome}", self.step)?;
        Ok(self.out.flush()?)
    }

    pub(super) fn expect(
        &self,
        what: &'static str,
        expected: &str,
        found: &str,
    ) -> Result<(), Error> {
        if expected == found {
            return Ok(());
        }
        Err(Error::Differs {
            what,
            expected: expected.to_owned(),
            found: found.to_owned(),
        })
    }

    pub(super) async fn sign_in(&mut self, user: &str) -> Result<(), Error> {
        let request = self
            .http
            .post(format!("{}/token", self.addresses.issuer))
            .json(&json!({"user": user}));
        let answer = self.send("a token", request, 200).await?;
        self.access_token = text(&answer, "access_token");
        Ok(())
    }

    pub(super) async fn me(&self) -> Result<Value, Error> {
        let request = self
            .http
            .get(format!("{}/api/user/me", self.addresses.gateway))
            .bearer_auth(&self.access_token);
        self.send("GET /api/user/me", request, 200).await
    }

    pub(super) async fn me_with_access(&self, access: &str) -> Result<Value, Error> {
        let me = self.me().await?;
        self.expect("access", access, &text(&me, "access"))?;
        Ok(me)
    }

    pub(super) async fn api_post(
        &self,
        path: &'static str,
        body: &Value,
        status: u16,
    ) -> Result<Value, Error> {
        let request = self
            .http
            .post(format!("{}{path}", self.addresses.gateway))
            .bearer_auth(&self.access_token);
        self.send(path, request.json(body), status).await
    }

    pub(super) async fn sandbox_post(&self, call: &str, body: &Value) -> Result<Value, Error> {
        let request = self
            .http
            .post(format!("{}/_sandbox/{call}", self.stripe()))
            .json(body);
        self.send("the Stripe sandbox", request, 200).await
    }

    /// Waits until every event has been delivered.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.sandbox_post("settle", &json!({"timeout_ms": 10_000}))
            .await
            .map(|_settled| ())
    }

    pub(super) async fn advance(&self, seconds: i64) -> Result<(), Error> {
        self.sandbox_post("clock/advance", &json!({"seconds": seconds}))
            .await?;
        self.settle().await
    }

    pub(super) async fn default_card(&self, card: &str) -> Result<(), Error> {
        let customer_id = text(&self.me().await?, "stripe_customer_id");
        self.sandbox_post(
            &format!("customers/{customer_id}/default-card"),
            &json!({"card": card}),
        )
        .await?;
        self.settle().await
    }

    pub(super) async fn stripe_get(&self, path: &str) -> Result<Value, Error> {
        let request = self
            .http
            .get(format!("{}{path}", self.stripe()))
            .bearer_auth(SANDBOX_SECRET_KEY);
        self.send("Stripe's API", request, 200).await
    }

    /// The user's subscription at Stripe.
    pub(super) async fn subscription(&self) -> Result<Value, Error> {
        let customer_id = text(&self.me().await?, "stripe_customer_id");
        let list = self
            .stripe_get(&format!("/v1/subscriptions?customer={customer_id}"))
            .await?;
        Ok(list.pointer("/data/0").cloned().unwrap_or_default())
    }

    /// Changes a subscription at Stripe, as the Portal does for its customer.
    pub(super) async fn update_subscription(
        &self,
        id: &str,
        change: &[(&str, &str)],
    ) -> Result<(), Error> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(change);
        let request = self
            .http
            .post(format!("{}/v1/subscriptions/{id}", self.stripe()));
        let request = request
            .bearer_auth(SANDBOX_SECRET_KEY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish());
        self.send("Stripe's API", request, 200).await?;
        self.settle().await
    }

    fn stripe(&self) -> &str {
        self.addresses.sandbox.as_deref().unwrap_or_default()
    }

    async fn send(
        &self,
        what: &'static str,
        request: RequestBuilder,
        status: u16,
    ) -> Result<Value, Error> {
        let response = request.send().await?;
        let found = response.status();
        let body: Value = serde_json::from_str(&response.text().await?).unwrap_or_default();
        if found.as_u16() == status {
            return Ok(body);
        }
        Err(Error::Differs {
            what,
            expected: status.to_string(),
            found: format!("{found} {body}"),
        })
    }
}
