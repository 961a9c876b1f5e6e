//! The pages as a browser without JavaScript uses them.

use axum::http::StatusCode;
use serde_json::json;

use crate::json::Fields;
use crate::{Options, Sandbox};

struct Browser {
    sandbox: Sandbox,
    client: reqwest::Client,
    base: String,
}

impl Browser {
    async fn start() -> Self {
        let sandbox = Sandbox::open(Options::default()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = sandbox.router();
        tokio::spawn(async { axum::serve(listener, router).await });
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            sandbox,
            client: client.build().unwrap(),
            base,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Sends a form; the second part is where to go next, or else the page.
    async fn post(&self, path: &str, form: &str) -> (StatusCode, String) {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let response = request.body(form.to_owned()).send().await.unwrap();
        let location = response
            .headers()
            .get("Location")
            .map(|url| url.to_str().unwrap().to_owned());
        (
            response.status(),
            location.unwrap_or(response.text().await.unwrap()),
        )
    }

    /// A customer's session for a monthly plan of 29 dollars with a trial.
    fn checkout(&self) -> (String, String) {
        let mut world = self.sandbox.world();
        let customer = world
            .call(
                "POST",
                "/v1/customers",
                &json!({"email": "alice@example.com"}),
            )
            .unwrap();
        let price = json!({"currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"},
            "product_data": {"name": "<Pro>"}});
        let params = json!({"mode": "subscription", "customer": customer.text("id"),
            "line_items": [{"price_data": price, "quantity": 1}], "subscription_data": {"trial_period_days": 14},
            "success_url": "http://localhost/done?s={CHECKOUT_SESSION_ID}", "cancel_url": "http://localhost/cancel"});
        let session = world
            .call("POST", "/v1/checkout/sessions", &params)
            .unwrap();
        (
            customer.text("id").to_owned(),
            session.text("id").to_owned(),
        )
    }
}

fn card(number: &str) -> String {
    format!("number={number}&expiry=12+%2F+34&cvc=123")
}

#[tokio::test]
async fn a_declined_card_is_tried_again_and_a_challenge_answered() {
    let browser = Browser::start().await;
    let (_, session) = browser.checkout();
    let path = format!("/c/pay/{session}");
    let (status, html) = browser.get(&path).await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "&lt;Pro&gt;",
        "$29.00",
        "per month",
        "14 days free",
        "alice@example.com",
        "http://localhost/cancel",
    ] {
        assert!(html.contains(part), "{part}");
    }

    let (status, html) = browser.post(&path, &card("4000000000000002")).await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(html.contains("Your card was declined.") && html.contains("id=\"pay\""));

    let challenged = card("4000002760003184");
    let (_, html) = browser.post(&path, &challenged).await;
    assert!(html.contains("Complete authentication"));
    let (status, html) = browser
        .post(&path, &format!("{challenged}&challenge=fail"))
        .await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(html.contains("id=\"error\""));
    let (status, location) = browser
        .post(&path, &format!("{challenged}&challenge=complete"))
        .await;
    assert_eq!(
        (status, location),
        (
            StatusCode::SEE_OTHER,
            format!("http://localhost/done?s={session}")
        )
    );

    let (_, html) = browser.get(&path).await;
    assert!(html.contains("is complete"));
    // A second press of the button changes nothing.
    let (status, html) = browser.post(&path, &card("4242424242424242")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("is complete"));
}

#[tokio::test]
async fn f23_a_debit_completes_the_session_without_the_money() {
    let browser = Browser::start().await;
    let session = {
        let price =
            json!({"currency": "eur", "unit_amount": 500, "product_data": {"name": "Tokens"}});
        let params = json!({"mode": "payment", "success_url": "http://localhost/done",
            "payment_method_types": ["card", "sepa_debit"], "line_items": [{"price_data": price, "quantity": 1}]});
        let mut world = browser.sandbox.world();
        let session = world
            .call("POST", "/v1/checkout/sessions", &params)
            .unwrap();
        session.text("id").to_owned()
    };
    let path = format!("/c/pay/{session}");
    assert!(browser.get(&path).await.1.contains("id=\"pay-debit\""));
    let (status, _) = browser.post(&path, "iban=AT32+1904+3002+3547+3204").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let world = browser.sandbox.world();
    let session = world.object(&session).unwrap();
    assert_eq!(
        (session.text("status"), session.text("payment_status")),
        ("complete", "unpaid")
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let browser = Browser::start().await;
    assert_eq!(
        browser.get("/c/pay/cs_test_none").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        browser.post("/p/session/bps_none/cancel", "").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_portal_changes_the_plan_its_end_and_the_card() {
    let browser = Browser::start().await;
    let (customer, session) = browser.checkout();
    browser
        .post(&format!("/c/pay/{session}"), &card("4242424242424242"))
        .await;
    let (path, subscription, yearly) = {
        let mut world = browser.sandbox.world();
        let product = world.list("product")[0].text("id").to_owned();
        let yearly = json!({"currency": "usd", "unit_amount": 29_000, "product": product,
            "recurring": {"interval": "year"}});
        let yearly = world
            .call("POST", "/v1/prices", &yearly)
            .unwrap()
            .text("id")
            .to_owned();
        let params = json!({"customer": customer, "return_url": "http://localhost/back"});
        let portal = world
            .call("POST", "/v1/billing_portal/sessions", &params)
            .unwrap();
        let subscription = world.list("subscription")[0].text("id").to_owned();
        (portal.text("url").to_owned(), subscription, yearly)
    };
    let (_, html) = browser.get(&path).await;
    for part in [
        "trialing",
        "$29.00 per month",
        "Renews on",
        "4242",
        "http://localhost/back",
        "$290.00 per year",
    ] {
        assert!(html.contains(part), "{part}");
    }
    for (action, form, shown) in [
        (
            "change",
            format!("subscription={subscription}&price={yearly}"),
            "$290.00 per year</p>",
        ),
        (
            "cancel",
            format!("subscription={subscription}"),
            "Cancels on",
        ),
        (
            "resume",
            format!("subscription={subscription}"),
            "Renews on",
        ),
        ("card", card("5555555555554444"), "mastercard"),
    ] {
        let (status, location) = browser.post(&format!("{path}/{action}"), &form).await;
        assert_eq!(
            (status, &location),
            (StatusCode::SEE_OTHER, &path),
            "{action}"
        );
        assert!(browser.get(&path).await.1.contains(shown), "{action}");
    }
    let (status, html) = browser
        .post(&format!("{path}/card"), &card("4000000000000002"))
        .await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(html.contains("Your card was declined."));
}
