//! The functions of a running stack as `template.yaml` deploys them: with the variables that it sets and
//! no other, with secrets from Secrets Manager, and behind the policy that it gives them. What is not
//! allowed is refused as AWS refuses it, and fails the test.
//!
//! IAM's rules are followed as far as the template uses them: actions, resources, leading keys.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html>

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use local::functions::Deploy;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::secrets::{INTERNAL_SECRET, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET};

use crate::tap::{tapped, target};
use crate::template::Template;

/// One thing that a statement allows: an action, on items under one pattern of keys or on one resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Grant {
    pub function: &'static str,
    pub sid: String,
    pub action: String,
    pub on: String,
}

/// A statement of a function's role.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sid: String,
    pub actions: Vec<String>,
    pub resources: Vec<String>,
    /// Patterns of `dynamodb:LeadingKeys`; none when the statement has no such condition.
    pub leading_keys: Vec<String>,
}

/// One action as IAM sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Call {
    action: String,
    resource: String,
    leading_keys: Vec<String>,
}

impl Statement {
    /// What of this statement allows the call, if it does.
    fn allows(&self, call: &Call) -> Option<Vec<String>> {
        if !self.actions.contains(&call.action) || !self.resources.contains(&call.resource) {
            return None;
        }
        if self.leading_keys.is_empty() {
            return Some(vec![call.resource.clone()]);
        }
        let patterns = call.leading_keys.iter().map(|key| {
            let mut patterns = self.leading_keys.iter();
            patterns.find(|pattern| is_like(pattern, key)).cloned()
        });
        patterns.collect()
    }

    /// Everything that it allows.
    pub fn grants(&self, function: &'static str) -> BTreeSet<Grant> {
        let on = if self.leading_keys.is_empty() {
            &self.resources
        } else {
            &self.leading_keys
        };
        let pairs = self
            .actions
            .iter()
            .flat_map(|action| on.iter().map(move |on| (action, on)));
        pairs
            .map(|(action, on)| Grant {
                function,
                sid: self.sid.clone(),
                action: action.clone(),
                on: on.clone(),
            })
            .collect()
    }
}

/// `StringLike`, with a star at the end only.
fn is_like(pattern: &str, key: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == key, |prefix| key.starts_with(prefix))
}

/// Stands between the functions of a stack and AWS.
#[derive(Clone, Default)]
pub struct Gate(Arc<Passed>);

#[derive(Default)]
struct Passed {
    used: Mutex<BTreeSet<Grant>>,
    denied: Mutex<Vec<String>>,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// How the functions of a stack are deployed.
    pub fn deploy(&self) -> Deploy {
        let gate = self.clone();
        Arc::new(move |function, environment| {
            let variables = TEMPLATE.environment(function, environment);
            (variables, gate.client(function, environment))
        })
    }

    /// A client that may do what the function may.
    fn client(&self, function: &'static str, environment: &Environment) -> HttpClient {
        let statements = TEMPLATE.statements(function);
        let (gate, secrets) = (self.clone(), secrets(environment));
        tapped(move |request, inner| {
            if !gate.lets_through(function, &statements, &request) {
                return HttpConnectorFuture::ready(Ok(access_denied()));
            }
            match secret_asked_for(&request) {
                Some(name) => HttpConnectorFuture::ready(Ok(answer(200, &secrets[&name]))),
                None => inner.call(request),
            }
        })
    }

    /// What was made use of so far.
    pub fn used(&self) -> BTreeSet<Grant> {
        locked(&self.0.used).clone()
    }

    pub fn assert_nothing_was_denied(&self) {
        let denied = locked(&self.0.denied);
        assert!(
            denied.is_empty(),
            "template.yaml does not allow: {denied:#?}"
        );
    }

    fn lets_through(
        &self,
        function: &'static str,
        statements: &[Statement],
        request: &HttpRequest,
    ) -> bool {
        for call in calls(request) {
            let mut allowing = statements.iter();
            let allowed = allowing.find_map(|statement| {
                let on = statement.allows(&call)?;
                Some((statement.sid.clone(), on))
            });
            let Some((sid, patterns)) = allowed else {
                locked(&self.0.denied).push(format!("{function}: {call:?}"));
                return false;
            };
            locked(&self.0.used).extend(patterns.into_iter().map(|on| Grant {
                function,
                sid: sid.clone(),
                action: call.action.clone(),
                on,
            }));
        }
        true
    }
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::read);

/// What Secrets Manager answers for the template's secrets, with the values of a stack.
fn secrets(environment: &Environment) -> HashMap<String, Value> {
    let secret = |names: &[&str]| {
        let members: Value = names
            .iter()
            .map(|name| ((*name).to_owned(), json!(environment.get(name))))
            .collect();
        json!({"SecretString": members.to_string()})
    };
    [
        ("StripeSecret", secret(&[STRIPE_SECRET_KEY])),
        (
            "WebhookSecret",
            secret(&[STRIPE_WEBHOOK_SECRET, INTERNAL_SECRET]),
        ),
    ]
    .map(|(name, answer)| (name.to_owned(), answer))
    .into()
}

fn secret_asked_for(request: &HttpRequest) -> Option<String> {
    let call = calls(request).pop()?;
    (call.action == "secretsmanager:GetSecretValue").then_some(call.resource)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn access_denied() -> HttpResponse {
    let denied = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": "User is not authorized to perform this action",
    });
    answer(400, &denied)
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    let body = SdkBody::from(body.to_string());
    HttpResponse::new(status.try_into().unwrap(), body)
}

/// The actions that IAM checks for a request to AWS; none for a request to anyone else.
fn calls(request: &HttpRequest) -> Vec<Call> {
    let Some((service, operation)) = target(request).and_then(|target| target.split_once('.'))
    else {
        return Vec::new();
    };
    let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    if service == "secretsmanager" {
        return vec![Call {
            action: format!("secretsmanager:{operation}"),
            resource: body["SecretId"].as_str().unwrap().to_owned(),
            leading_keys: Vec::new(),
        }];
    }
    let one = |action: &str, leading_keys: Vec<String>| Call {
        action: format!("dynamodb:{action}"),
        resource: body["IndexName"]
            .as_str()
            .map_or("Table.Arn".to_owned(), |index| {
                format!("Table.Arn/index/{index}")
            }),
        leading_keys,
    };
    match operation {
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().unwrap();
            let parts = items.iter().flat_map(|item| item.as_object().unwrap());
            parts
                .map(|(part, of)| one(&format!("{part}Item"), vec![leading_key(of)]))
                .collect()
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().unwrap().values();
            let keys = tables.flat_map(|table| table["Keys"].as_array().unwrap());
            vec![one(operation, keys.map(|key| text(&key["pk"])).collect())]
        }
        "Query" => {
            let condition = body["KeyConditionExpression"].as_str().unwrap();
            let name = condition.split_whitespace().nth(2).unwrap();
            vec![one(
                operation,
                vec![text(&body["ExpressionAttributeValues"][name])],
            )]
        }
        _ => vec![one(operation, vec![leading_key(&body)])],
    }
}

/// The partition key of the item that is read or written.
fn leading_key(request: &Value) -> String {
    let key = [&request["Key"]["pk"], &request["Item"]["pk"]];
    text(key.into_iter().find(|key| !key.is_null()).unwrap())
}

fn text(attribute: &Value) -> String {
    attribute["S"].as_str().unwrap().to_owned()
}

#[test]
fn a_statement_allows_its_actions_on_its_keys_and_no_other() {
    let statement = Statement {
        sid: "Read".to_owned(),
        actions: vec!["dynamodb:BatchGetItem".to_owned()],
        resources: vec!["Table.Arn".to_owned()],
        leading_keys: vec!["USER#*".to_owned(), "CATALOG".to_owned()],
    };
    let call = |action: &str, resource: &str, keys: &[&str]| Call {
        action: action.to_owned(),
        resource: resource.to_owned(),
        leading_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    let read = "dynamodb:BatchGetItem";
    for (asked, allowed) in [
        (call(read, "Table.Arn", &["USER#a", "CATALOG"]), true),
        (call(read, "Table.Arn", &["USER#a", "EVENT#e"]), false),
        (call(read, "Table.Arn", &["CATALOGUE"]), false),
        (call(read, "Table.Arn/index/by_status", &["USER#a"]), false),
        (call("dynamodb:PutItem", "Table.Arn", &["USER#a"]), false),
    ] {
        assert_eq!(statement.allows(&asked).is_some(), allowed, "{asked:?}");
    }
}
