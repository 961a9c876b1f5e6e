//! Requests as an HTTP API hands them to a function.

use super::*;
use std::net::Ipv4Addr;

pub(crate) fn captured(headers: &[(&str, &str)], body: &[u8]) -> Captured {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    Captured {
        method: http::Method::POST,
        path: "/api/webhooks/stripe".into(),
        query: "a=1&a=2&b=x%20y".into(),
        headers: map,
        body: body.to_vec(),
        source_ip: Ipv4Addr::LOCALHOST.into(),
        port: 3000,
        received_at: "2026-11-20T10:00:00.25Z".parse().unwrap(),
        request_id: "r1".into(),
    }
}

#[test]
fn event_has_the_shape_of_payload_format_2() {
    let headers = [
        ("Host", "localhost:3000"),
        ("Content-Type", "application/json"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("Cookie", "c=1; d=2"),
    ];
    let event = http_api(&captured(&headers, b"{}"), "POST /api/webhooks/stripe");
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["routeKey"], "POST /api/webhooks/stripe");
    assert_eq!(event["rawQueryString"], "a=1&a=2&b=x%20y");
    assert_eq!(
        event["queryStringParameters"],
        json!({"a": "1,2", "b": "x y"})
    );
    assert_eq!(event["cookies"], json!(["c=1", "d=2"]));
    assert_eq!(event["headers"]["x-a"], "1,2");
    assert_eq!(event["headers"].get("cookie"), None);
    assert_eq!(event["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(
        event["requestContext"]["time"],
        "20/Nov/2026:10:00:00 +0000"
    );
    assert_eq!(event["requestContext"]["timeEpoch"], 1_795_168_800_250_i64);
    assert_eq!(event["body"], "{}");
    assert_eq!(event["isBase64Encoded"], false);
}

#[test]
fn only_some_media_types_are_text() {
    let table: [(Option<&str>, &[u8], bool); 11] = [
        (Some("application/json"), b"{}", false),
        (Some("Application/JSON; charset=utf-8"), b"{}", false),
        (Some("text/plain"), b"a", false),
        (Some("application/xml"), b"<a/>", false),
        (Some("application/javascript"), b"1", false),
        (Some("application/json"), b"\xff{}", true),
        (Some("application/x-www-form-urlencoded"), b"a=b", true),
        (Some("application/problem+json"), b"{}", true),
        (Some("application/octet-stream"), b"a", true),
        (Some("text"), b"a", true),
        (None, b"{}", true),
    ];
    for (content_type, body, encoded) in table {
        let headers: Vec<(&str, &str)> = content_type
            .map(|value| ("content-type", value))
            .into_iter()
            .collect();
        let event = http_api(&captured(&headers, body), "$default");
        assert_eq!(
            event["isBase64Encoded"], encoded,
            "{content_type:?} {body:?}"
        );
        let text = event["body"].as_str().unwrap();
        let back = if encoded {
            STANDARD.decode(text).unwrap()
        } else {
            text.as_bytes().to_vec()
        };
        assert_eq!(back, body);
    }
}

#[test]
fn an_empty_body_is_absent_and_connection_headers_are_dropped() {
    let headers = [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("content-type", "image/png"),
    ];
    let event = http_api(&captured(&headers, b""), "$default");
    assert_eq!(event.get("body"), None);
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["headers"].get("transfer-encoding"), None);
    assert_eq!(event["headers"].get("connection"), None);
    assert_eq!(event["headers"]["content-length"], "0");
}
