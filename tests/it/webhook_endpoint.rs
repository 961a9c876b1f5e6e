//! `tollgate webhook-endpoint` against the sandbox and a stand-in for Secrets Manager: the endpoint is exact, its
//! secret is handed over or the endpoint is gone again, and replacing it loses no event.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::event::types_acted_on;
use tollgate::catalog::command::Mode;
use tollgate::webhook_endpoint::command::{Asked, retire, sync};

use crate::harness::World;

const PATH: &str = "/api/webhooks/stripe";
const ARN: &str =
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:tollgate-test-webhook-AbCdEf";

/// One secret, as far as Secrets Manager's protocol is needed, and whether writes are refused or their answers lost.
#[derive(Clone)]
struct Manager {
    text: Arc<Mutex<String>>,
    on_put: Arc<Mutex<Put>>,
    url: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Put {
    Done,
    Refused,
    DoneButUnanswered,
}

/// Listens on a free port, and says where.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async { axum::serve(listener, router).await });
    format!("http://localhost:{port}")
}

impl Manager {
    async fn start(text: &str) -> Self {
        let (text, on_put) = (
            Arc::new(Mutex::new(text.to_owned())),
            Arc::new(Mutex::new(Put::Done)),
        );
        let manager = Self {
            text,
            on_put,
            url: String::new(),
        };
        let url = serve(
            Router::new()
                .route("/", post(answer))
                .with_state(manager.clone()),
        )
        .await;
        Self { url, ..manager }
    }

    fn put(&self, on_put: Put) {
        *self.on_put.lock().unwrap() = on_put;
    }

    fn members(&self) -> Value {
        serde_json::from_str(&self.text.lock().unwrap()).unwrap()
    }

    fn signing_secrets(&self) -> String {
        self.members()["STRIPE_WEBHOOK_SECRET"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

async fn answer(
    State(manager): State<Manager>,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let asked: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(asked["SecretId"], ARN);
    let mut text = manager.text.lock().unwrap();
    let named = json!({"ARN": ARN, "Name": "tollgate-test-webhook"});
    let (status, mut answer) = match headers["x-amz-target"].to_str().unwrap() {
        "secretsmanager.GetSecretValue" => (StatusCode::OK, named),
        "secretsmanager.PutSecretValue" => {
            let on_put = *manager.on_put.lock().unwrap();
            if on_put != Put::Refused {
                *text = asked["SecretString"].as_str().unwrap().to_owned();
            }
            match on_put {
                Put::Done => (StatusCode::OK, named),
                Put::Refused => (
                    StatusCode::BAD_REQUEST,
                    json!({"__type": "AccessDeniedException"}),
                ),
                Put::DoneButUnanswered => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    json!({"__type": "InternalServiceError"}),
                ),
            }
        }
        other => panic!("{other}"),
    };
    if status == StatusCode::OK {
        answer["SecretString"] = json!(*text);
    }
    (
        status,
        [("content-type", "application/x-amz-json-1.1")],
        answer.to_string(),
    )
}

/// What a command said, and what it printed.
#[derive(Debug)]
struct Ran {
    error: String,
    said: String,
    printed: String,
}

struct Desk {
    world: World,
    environment: Environment,
}

impl Desk {
    async fn start(manager: Option<&Manager>) -> Self {
        let world = World::start().await;
        let mut variables = world.stack.environment().to_vec();
        let url = manager.map(|manager| {
            (
                "AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(),
                manager.url.clone(),
            )
        });
        variables.extend(url);
        let environment = variables.into_iter().collect();
        Self { world, environment }
    }

    async fn sync(&self, asked: Asked<'_>, mode: Mode) -> Ran {
        let (mut said, mut printed) = (Vec::new(), Vec::new());
        let now = self.world.now();
        let ended = sync(
            &asked,
            &self.environment,
            mode,
            now,
            &mut said,
            &mut printed,
        )
        .await;
        ran(ended.err().map(|error| error.to_string()), &said, &printed)
    }

    async fn retire(&self, id: &str, mode: Mode) -> Ran {
        let mut said = Vec::new();
        let ended = retire(id, &self.environment, mode, self.world.now(), &mut said).await;
        ran(ended.err().map(|error| error.to_string()), &said, &[])
    }

    /// The account's endpoints, newest first.
    fn endpoints(&self) -> Vec<Value> {
        let listed = self.stripe("GET", "/v1/webhook_endpoints", json!({}));
        listed["data"].as_array().unwrap().clone()
    }

    fn stripe(&self, method: &str, path: &str, params: Value) -> Value {
        self.world
            .stack
            .sandbox()
            .unwrap()
            .world()
            .call(method, path, &params)
            .unwrap()
    }
}

fn ran(error: Option<String>, said: &[u8], printed: &[u8]) -> Ran {
    Ran {
        error: error.unwrap_or_default(),
        said: String::from_utf8_lossy(said).into_owned(),
        printed: String::from_utf8_lossy(printed).into_owned(),
    }
}

fn id(endpoint: &Value) -> &str {
    endpoint["id"].as_str().unwrap()
}

fn asked<'a>(url: &'a str, secret_arn: Option<&'a str>) -> Asked<'a> {
    Asked {
        url,
        secret_arn,
        replace: false,
    }
}

#[tokio::test]
async fn the_endpoint_is_shown_made_once_and_kept_exact() {
    let desk = Desk::start(None).await;
    let url = &format!("http://localhost:9{PATH}");
    let shown = desk.sync(asked(url, None), Mode::DryRun).await;
    assert!(
        shown
            .said
            .contains("+ webhook endpoint (27 event types, version 2026-08-26.dahlia)"),
        "{shown:?}"
    );
    assert!(
        shown.said.contains("nothing was changed")
            && shown.printed.is_empty()
            && desk.endpoints().is_empty()
    );

    let made = desk.sync(asked(url, None), Mode::Apply).await;
    assert_eq!(made.error, "");
    let secret = made.printed.strip_suffix('\n').unwrap();
    assert!(
        secret.starts_with("whsec_") && !secret.contains(char::is_whitespace),
        "alone: {secret}"
    );
    assert!(!made.said.contains("whsec_"), "{}", made.said);
    let [endpoint] = &desk.endpoints()[..] else {
        panic!("one endpoint")
    };
    assert_eq!(endpoint["api_version"], "2026-08-26.dahlia");
    assert_eq!(
        (&endpoint["url"], &endpoint["status"]),
        (&json!(url), &json!("enabled"))
    );
    assert_eq!(
        endpoint["enabled_events"],
        json!(types_acted_on().collect::<Vec<_>>())
    );

    let again = desk.sync(asked(url, None), Mode::Apply).await;
    assert!(
        again.said.contains("is as it should be") && again.printed.is_empty(),
        "{again:?}"
    );
    let bent = json!({"enabled_events": ["invoice.paid", "charge.succeeded"], "disabled": true});
    desk.stripe(
        "POST",
        &format!("/v1/webhook_endpoints/{}", id(endpoint)),
        bent,
    );
    let corrected = desk.sync(asked(url, None), Mode::Apply).await;
    assert!(
        corrected.said.contains("- charge.succeeded") && corrected.printed.is_empty(),
        "{corrected:?}"
    );
    assert_eq!(desk.endpoints(), std::slice::from_ref(endpoint));
    desk.world.stop().await;
}

#[tokio::test]
async fn the_secret_is_kept_before_the_old_ones_or_the_endpoint_is_gone_again() {
    let manager = Manager::start(
        r#"{"STRIPE_WEBHOOK_SECRET": "whsec_old_one", "INTERNAL_SECRET": "internal"}"#,
    )
    .await;
    let desk = Desk::start(Some(&manager)).await;
    let url = &format!("http://localhost:9{PATH}");

    manager.put(Put::Refused);
    let refused = desk.sync(asked(url, Some(ARN)), Mode::Apply).await;
    assert!(
        refused.error.contains("AccessDeniedException") && refused.error.contains("deleted again"),
        "{refused:?}"
    );
    assert!(desk.endpoints().is_empty() && manager.signing_secrets() == "whsec_old_one");

    manager.put(Put::DoneButUnanswered);
    let unanswered = desk.sync(asked(url, Some(ARN)), Mode::Apply).await;
    assert_eq!(
        (unanswered.error.as_str(), desk.endpoints().len()),
        ("", 1),
        "it was written"
    );
    let first = manager.signing_secrets();
    assert!(
        first.starts_with("whsec_")
            && first.ends_with(",whsec_old_one")
            && first.matches(',').count() == 1
    );
    assert_eq!(manager.members()["INTERNAL_SECRET"], "internal");

    manager.put(Put::Done);
    let replacing = || Asked {
        replace: true,
        ..asked(url, Some(ARN))
    };
    let replaced = desk.sync(replacing(), Mode::Apply).await;
    assert_eq!((replaced.error.as_str(), desk.endpoints().len()), ("", 2));
    let both = manager.signing_secrets();
    assert!(
        both.ends_with(&format!(",{first}")) && both.matches(',').count() == 2,
        "three are valid"
    );
    let third = desk.sync(replacing(), Mode::Apply).await;
    assert!(
        third.error.contains("deliver there already") && desk.endpoints().len() == 2,
        "{third:?}"
    );

    // A secret that cannot be read is noticed before anything is made.
    *manager.text.lock().unwrap() = "whsec_plain".to_owned();
    let elsewhere = &format!("http://localhost:8{PATH}");
    let unreadable = desk.sync(asked(elsewhere, Some(ARN)), Mode::Apply).await;
    assert!(
        unreadable.error.contains("not a JSON object") && desk.endpoints().len() == 2,
        "{unreadable:?}"
    );
    for ran in [refused, unanswered, replaced, third, unreadable] {
        let all = format!("{ran:?}");
        assert!(
            !all.contains("whsec_") && ran.printed.is_empty(),
            "no value is ever shown: {all}"
        );
    }
    desk.world.stop().await;
}

/// Answers with the status that it holds now.
async fn receive(State(status): State<Arc<Mutex<StatusCode>>>) -> StatusCode {
    *status.lock().unwrap()
}

#[tokio::test]
async fn an_endpoint_of_another_version_is_replaced_without_losing_what_is_owed() {
    let desk = Desk::start(None).await;
    let status = Arc::new(Mutex::new(StatusCode::SERVICE_UNAVAILABLE));
    let receiver = serve(
        Router::new()
            .route(PATH, post(receive))
            .with_state(Arc::clone(&status)),
    )
    .await;
    let url = &format!("{receiver}{PATH}");
    let old =
        json!({"url": url, "enabled_events": ["customer.updated"], "api_version": "2024-06-20"});
    let old = desk.stripe("POST", "/v1/webhook_endpoints", old);
    let customer = desk.stripe("POST", "/v1/customers", json!({}));
    let its_path = format!("/v1/customers/{}", id(&customer));
    desk.stripe(
        "POST",
        &its_path,
        json!({"description": "changed before there was a successor"}),
    );

    let reported = desk.sync(asked(url, None), Mode::Apply).await;
    assert!(
        reported.error.contains("2024-06-20") && reported.error.contains("--replace"),
        "{reported:?}"
    );
    let early = desk.retire(id(&old), Mode::Apply).await;
    assert!(early.error.contains("would lose events"), "{early:?}");
    let replaced = desk
        .sync(
            Asked {
                replace: true,
                ..asked(url, None)
            },
            Mode::Apply,
        )
        .await;
    assert!(
        replaced.said.contains(&format!("retire {}", id(&old))),
        "{replaced:?}"
    );

    let owed = desk.retire(id(&old), Mode::Apply).await;
    assert!(
        owed.error.contains("1 events") && owed.error.contains("customer.updated"),
        "{owed:?}"
    );
    *status.lock().unwrap() = StatusCode::OK;
    desk.world.settle().await;
    let dry = desk.retire(id(&old), Mode::DryRun).await;
    assert!(
        dry.error.is_empty() && dry.said.contains("nothing was changed"),
        "{dry:?}"
    );
    assert_eq!(desk.retire(id(&old), Mode::Apply).await.error, "");
    let statuses: Vec<Value> = desk
        .endpoints()
        .iter()
        .map(|endpoint| endpoint["status"].clone())
        .collect();
    assert_eq!(statuses, ["enabled", "disabled"]);
    let after = desk.sync(asked(url, None), Mode::Apply).await;
    assert!(after.said.contains("is as it should be"), "{after:?}");
    desk.world.stop().await;
}
