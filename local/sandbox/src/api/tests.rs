//! Keys, limits and refusals as a client meets them, without a socket.

use axum::http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::*;
use crate::clock::Clock;

fn world() -> World {
    World::open(None, Clock::default(), "http://localhost:12111".to_owned()).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer sk_test_1"),
    );
    for (name, value) in pairs {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn send(
    world: &mut World,
    method: &str,
    path: &str,
    body: &str,
    pairs: &[(&'static str, &str)],
) -> Answer {
    let request = Request {
        method,
        path,
        query: "",
        body: body.to_owned(),
    };
    respond(
        world,
        &request,
        &headers(pairs),
        &format!("req_{}", alphanumeric(14)),
    )
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .iter()
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value.as_str())
}

#[test]
fn a_key_answers_the_same_for_a_day() {
    let mut world = world();
    let key = [("idempotency-key", "k1")];
    let first = send(
        &mut world,
        "POST",
        "/v1/customers",
        "email=ada@example.com",
        &key,
    );
    let again = send(
        &mut world,
        "POST",
        "/v1/customers",
        "email=ada@example.com",
        &key,
    );
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    assert_eq!(
        header(&again, "original-request"),
        header(&first, "original-request")
    );
    assert_eq!(world.list("customer").len(), 1);
    world.advance(KEY_LIFETIME_SECONDS).unwrap();
    let later = send(
        &mut world,
        "POST",
        "/v1/customers",
        "email=ada@example.com",
        &key,
    );
    assert_ne!(later.body, first.body);
}

#[test]
fn a_key_belongs_to_its_parameters() {
    let mut world = world();
    let key = [("idempotency-key", "k1")];
    send(&mut world, "POST", "/v1/customers", "name=Ada", &key);
    let other = send(&mut world, "POST", "/v1/customers", "name=Eve", &key);
    assert_eq!(
        (other.status, other.body.text("error/type")),
        (400, "idempotency_error")
    );
    assert_eq!(world.list("customer").len(), 1);
}

#[test]
fn errors_are_kept_once_the_request_began() {
    let mut world = world();
    let key = [("idempotency-key", "k1")];
    let missing = send(
        &mut world,
        "POST",
        "/v1/subscriptions",
        "customer=cus_1&items[0][price]=price_1",
        &key,
    );
    assert_eq!(missing.status, 400);
    let again = send(
        &mut world,
        "POST",
        "/v1/subscriptions",
        "customer=cus_1&items[0][price]=price_1",
        &key,
    );
    assert_eq!(
        (again.status, header(&again, "idempotent-replayed")),
        (400, Some("true"))
    );
    let key = [("idempotency-key", "k2")];
    assert_eq!(
        send(&mut world, "POST", "/v1/customers", "nam=Ada", &key).status,
        400
    );
    assert_eq!(
        send(&mut world, "POST", "/v1/customers", "name=Ada", &key).status,
        200
    );
}

#[test]
fn events_name_the_request_that_caused_them() {
    let mut world = world();
    send(
        &mut world,
        "POST",
        "/v1/customers",
        "name=Ada",
        &[("idempotency-key", "k1")],
    );
    let event = world.events_after(0).pop().unwrap().1;
    assert_eq!(event.text("request/idempotency_key"), "k1");
    assert!(event.text("request/id").starts_with("req_"));
}

#[test]
fn who_has_no_key_is_told_so() {
    let mut world = world();
    for given in ["", "Bearer ", "Bearer sk_live_1", "Basic bm9wZTo="] {
        let answer = send(
            &mut world,
            "GET",
            "/v1/customers",
            "",
            &[("authorization", given)],
        );
        assert_eq!(
            (answer.status, answer.body.text("error/type")),
            (401, "invalid_request_error"),
            "{given}"
        );
    }
    let basic = format!("Basic {}", STANDARD.encode("sk_test_1:"));
    assert_eq!(
        send(
            &mut world,
            "GET",
            "/v1/customers",
            "",
            &[("authorization", &basic)]
        )
        .status,
        200
    );
}

#[test]
fn the_limit_is_for_each_endpoint_and_second() {
    let mut world = world();
    world.set_moment(Some(1_790_000_000));
    world.set_rate_limit(Some(2));
    let statuses: Vec<u16> = (0..3)
        .map(|_| send(&mut world, "GET", "/v1/customers", "", &[]).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(send(&mut world, "GET", "/v1/products", "", &[]).status, 200);
    let refused = send(&mut world, "GET", "/v1/customers", "", &[]);
    assert_eq!(refused.body.at("error/code"), &json!("rate_limit"));
    assert_eq!(
        header(&refused, "stripe-rate-limited-reason"),
        Some("endpoint-rate")
    );
    world.set_moment(Some(1_790_000_001));
    assert_eq!(
        send(&mut world, "GET", "/v1/customers", "", &[]).status,
        200
    );
}

#[test]
fn what_is_not_there_is_named() {
    let mut world = world();
    let answer = send(&mut world, "GET", "/v1/subscriptions/sub_1", "", &[]);
    assert_eq!(
        (answer.status, answer.body.text("error/code")),
        (404, "resource_missing")
    );
    assert_eq!(answer.body.text("error/param"), "id");
    assert_eq!(send(&mut world, "GET", "/v1/nothing", "", &[]).status, 404);
}
