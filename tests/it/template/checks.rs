//! What is deployed is what the code needs, and nothing else: policies, variables, routes, table, alarms.
//!
//! That each function is allowed what it does is shown by all tests, because [`crate::policy::Gate`] stands
//! in their way. Here is the rest: that nothing is allowed which no function does.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use local::functions::ROUTES;
use reqwest::Method;
use serde_json::{Value, json};
use shared::http::HttpClient;
use shared::stripe::API_VERSION;
use shared::telemetry::{METRICS, NAMESPACE};

use super::{
    DONE_BY_AWS, FUNCTIONS, OPTIONAL, SET_BY_LAMBDA, Template, function_id, list, text_of,
};
use crate::call;
use crate::harness::{World, last_of};
use crate::policy::Grant;
use crate::start::start_error;

/// Delivers to a webhook function for which Stripe is not there.
async fn deliver_without_stripe(world: &World, event: &Value) -> Value {
    let (environment, http) = world.gate.deploy()("webhook", &world.environment());
    let set = [
        "SECRETS_ARN",
        "TABLE_NAME",
        "LIVEMODE",
        "AWS_ENDPOINT_URL_DYNAMODB",
    ];
    let variables = set.iter().chain(&SET_BY_LAMBDA);
    let variables = variables.map(|name| {
        (
            (*name).to_owned(),
            environment.get(name).unwrap().to_owned(),
        )
    });
    let nowhere = (
        "STRIPE_API_BASE".to_owned(),
        "http://127.0.0.1:9".to_owned(),
    );
    let environment = variables.chain([nowhere]).collect();
    call::webhook_in(world, &environment, event, http)
        .await
        .unwrap()
        .1
}

async fn reconcile(world: &World, at: Timestamp) -> reconcile::Report {
    let (environment, http) = world.gate.deploy()("reconcile", &world.environment());
    let state = reconcile::State::new(&environment, http).unwrap();
    let invocation = format!("run-{at}");
    reconcile::handle(&state, &invocation, at).await.unwrap()
}

/// One of each thing that can happen, so that every call that a function makes is made.
async fn live_through_everything(world: &World) {
    let plans = world
        .call(Method::GET, "/api/billing/plans", None, None)
        .await;
    assert_eq!(plans.status, 200);
    let early = |id: &str, customer: &str| {
        json!({
            "id": id, "object": "event", "type": "payment_method.attached",
            "created": world.now().as_second(), "livemode": false, "api_version": API_VERSION,
            "data": {"object": {"id": "pm_early", "type": "card", "customer": customer,
                "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034}}},
        })
    };
    // An event that comes before its customer is claimed and is set free by the claim, and one whose
    // customer nobody ever claims.
    let customer = world.customer_to_be("alice").await;
    for event in [
        early("evt_early", &customer),
        early("evt_stray", "cus_of_nobody"),
    ] {
        assert_eq!(world.deliver(&event).await.body["outcome"], "parked");
    }
    world.subscribe("alice", "starter").await;
    let untold = world
        .buy_untold("alice", &json!({"pack": "tokens_1000"}))
        .await;
    for event in &untold {
        deliver_without_stripe(world, event).await;
    }
    let opened = world
        .post("/api/billing/portal-session", "alice", &json!({}))
        .await;
    assert_eq!(opened.status, 200, "{opened:?}");
    // Trouble with Stripe: kept, and done with later.
    let events = world.events_of(&customer).await;
    let mut renewed = last_of(&events, "customer.subscription.updated").clone();
    renewed["id"] = json!("evt_later");
    renewed["created"] = json!(world.now().as_second() + 60);
    let kept = deliver_without_stripe(world, &renewed).await;
    assert_eq!(kept["outcome"], "pending");
    let later = world.now() + SignedDuration::from_hours(25);
    let report = reconcile(world, later).await;
    assert!(report.done >= 2 && report.parked == 1, "{report:?}");
}

#[tokio::test]
async fn each_policy_allows_what_its_function_does_and_nothing_else() {
    let world = World::without_schedule().await;
    live_through_everything(&world).await;
    let template = Template::read();
    let statements = FUNCTIONS.iter().flat_map(|function| {
        let of_function = template.statements(function);
        of_function
            .into_iter()
            .flat_map(|statement| statement.grants(function))
    });
    let by_the_function = statements.filter(|grant| {
        !DONE_BY_AWS
            .iter()
            .any(|service| grant.action.starts_with(service))
    });
    let allowed: BTreeSet<Grant> = by_the_function.collect();
    let used = world.gate.used();
    assert!(
        used.is_subset(&allowed),
        "the gate lets nothing else through"
    );
    let needless: Vec<_> = allowed.difference(&used).collect();
    assert!(
        needless.is_empty(),
        "allowed, and never done: {needless:#?}"
    );
}

#[tokio::test]
async fn each_variable_is_needed_and_each_that_is_needed_is_set() {
    let world = World::start().await;
    let template = Template::read();
    for function in FUNCTIONS {
        let full = template.environment(function, &world.environment());
        assert_eq!(start_error(function, &full), None);
        for name in template.variables(function).keys() {
            if OPTIONAL.contains(&name.as_str()) {
                continue;
            }
            let names = template.variables(function).into_keys();
            let names = names.chain(SET_BY_LAMBDA.map(str::to_owned));
            let others = names.filter(|other| other != name);
            let without = others.map(|other| {
                let value = full.get(&other).unwrap_or_default().to_owned();
                (other, value)
            });
            let error = start_error(function, &without.collect()).unwrap_or_default();
            // Without SECRETS_ARN the first of the plain secrets is missing.
            let named = error.contains(name.as_str()) || name == "SECRETS_ARN" && !error.is_empty();
            assert!(named, "{function} does not need {name}: {error}");
        }
    }
}

#[test]
fn each_function_is_there_with_its_routes_alarms_and_inputs() {
    let template = Template::read();
    let ids: BTreeSet<String> = FUNCTIONS.iter().map(|name| function_id(name)).collect();
    let found = template.of_type("AWS::Serverless::Function");
    assert_eq!(ids, found.iter().map(|(id, _)| (*id).clone()).collect());
    let events = found.iter().flat_map(|(id, function)| {
        let events = function["Properties"]["Events"]
            .as_object()
            .unwrap()
            .values();
        events.map(move |event| (*id, event))
    });
    let routes: BTreeSet<(String, String)> = events
        .filter(|(_, event)| event["Type"] == "HttpApi")
        .map(|(id, event)| {
            let route = &event["Properties"];
            (
                id.clone(),
                format!("{} {}", text_of(&route["Method"]), text_of(&route["Path"])),
            )
        })
        .collect();
    let expected = ROUTES.iter().map(|route| {
        (
            function_id(&format!("{:?}", route.function).to_lowercase()),
            route.key(),
        )
    });
    assert_eq!(routes, expected.collect());
    for name in FUNCTIONS {
        let alarms = template.of_type("AWS::CloudWatch::Alarm");
        for metric in ["Errors", "Throttles"] {
            let watched = alarms.iter().any(|(_, alarm)| {
                let alarm = &alarm["Properties"];
                alarm["MetricName"] == metric
                    && alarm["Namespace"] == "AWS/Lambda"
                    && text_of(&alarm["Dimensions"][0]["Value"]) == function_id(name)
                    && !list(&alarm["AlarmActions"]).is_empty()
            });
            assert!(watched, "{name} has no alarm for {metric}");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        let inputs = std::fs::read_dir(folder).unwrap().filter(|file| {
            let file = file.as_ref().unwrap().file_name();
            let rest = file.to_str().unwrap().strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['.', '_']))
        });
        assert!(inputs.count() > 0, "{name} has no input in events/");
    }
}

#[tokio::test]
async fn the_table_is_the_one_that_the_code_creates() {
    let world = World::start().await;
    let client = shared::aws::dynamodb(&world.environment(), &HttpClient::new()).unwrap();
    let name = world.variable("TABLE_NAME");
    let described = client
        .describe_table()
        .table_name(&name)
        .send()
        .await
        .unwrap();
    let table = described.table.unwrap();
    let expiry = client
        .describe_time_to_live()
        .table_name(&name)
        .send()
        .await
        .unwrap();
    let expiry = expiry.time_to_live_description.unwrap();

    let template = Template::read();
    let wanted = &template.0["Resources"]["Table"]["Properties"];
    let keys = |schema: &[aws_sdk_dynamodb::types::KeySchemaElement]| -> Value {
        let keys = schema.iter().map(
            |key| json!({"AttributeName": key.attribute_name, "KeyType": key.key_type.as_str()}),
        );
        keys.collect()
    };
    assert_eq!(wanted["KeySchema"], keys(table.key_schema()));
    let attributes: BTreeSet<String> = table
        .attribute_definitions()
        .iter()
        .map(|of| format!("{} {}", of.attribute_name, of.attribute_type.as_str()))
        .collect();
    let wanted_attributes = wanted["AttributeDefinitions"].as_array().unwrap().iter();
    let wanted_attributes = wanted_attributes.map(|of| {
        format!(
            "{} {}",
            text_of(&of["AttributeName"]),
            text_of(&of["AttributeType"])
        )
    });
    assert_eq!(wanted_attributes.collect::<BTreeSet<_>>(), attributes);
    let index = &table.global_secondary_indexes()[0];
    let projection = index.projection().unwrap();
    let wanted_index = &wanted["GlobalSecondaryIndexes"][0];
    assert_eq!(wanted_index["IndexName"], index.index_name().unwrap());
    assert_eq!(wanted_index["KeySchema"], keys(index.key_schema()));
    assert_eq!(
        wanted_index["Projection"],
        json!({
            "ProjectionType": projection.projection_type().unwrap().as_str(),
            "NonKeyAttributes": projection.non_key_attributes(),
        })
    );
    let stream = table.stream_specification().unwrap();
    let view = stream.stream_view_type().unwrap().as_str();
    assert_eq!(wanted["StreamSpecification"]["StreamViewType"], view);
    let attribute = expiry.attribute_name().unwrap();
    assert_eq!(
        wanted["TimeToLiveSpecification"]["AttributeName"],
        attribute
    );
    for (what, expected) in [
        (&wanted["BillingMode"], json!("PAY_PER_REQUEST")),
        (&wanted["SSESpecification"]["SSEEnabled"], json!(true)),
        (
            &wanted["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"],
            json!(true),
        ),
        (
            &template.0["Resources"]["Table"]["DeletionPolicy"],
            json!("Retain"),
        ),
    ] {
        assert_eq!(*what, expected);
    }
}

#[test]
fn alarms_and_dashboard_show_measurements_that_the_code_makes() {
    let template = Template::read();
    let mut shown = BTreeSet::new();
    for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        if alarm["Namespace"] == NAMESPACE {
            assert_eq!(alarm["Dimensions"].as_array().unwrap().len(), 1, "{id}");
            assert_eq!(alarm["Dimensions"][0]["Name"], "Stage", "{id}");
            shown.insert(text_of(&alarm["MetricName"]));
        }
        let told = text_of(&alarm["AlarmDescription"]).len();
        assert!(told > 80, "{id} does not say what to do");
    }
    let (_, dashboard) = template.of_type("AWS::CloudWatch::Dashboard")[0];
    let body = &dashboard["Properties"]["DashboardBody"]["!Sub"];
    let body = body.as_str().unwrap().replace("${", "").replace('}', "");
    let before = format!("\"{NAMESPACE}\", \"");
    let names = body.split(&before).skip(1);
    shown.extend(names.map(|rest| rest.split('"').next().unwrap().to_owned()));
    let made: BTreeSet<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(shown, made, "shown and made");
}

#[test]
fn each_measurement_is_made_somewhere() {
    let sources = crate::tidy::sources(&["shared/src", "functions"]);
    for (name, _) in METRICS {
        let field = format!("{name} = ");
        let made = sources.iter().any(|(_, text)| text.contains(&field));
        assert!(made, "{name} is never measured");
    }
}
