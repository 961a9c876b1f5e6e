//! An HTTP request as the event that API Gateway's HTTP API gives to a function (payload format 2.0).
//!
//! Pure: a captured request goes in, JSON comes out. The other front doors of Lambda are in
//! [`crate::other_events`].
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// One HTTP request, read completely.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Method of the request line.
    pub method: http::Method,
    /// Path as sent, without the query.
    pub path: String,
    /// Query as sent, without the question mark; empty when there is none.
    pub query: String,
    /// Headers as sent.
    pub headers: HeaderMap,
    /// The body's bytes as received.
    pub body: Vec<u8>,
    /// Address of the client.
    pub source_ip: IpAddr,
    /// Port that the request arrived at.
    pub port: u16,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Unique id of the request.
    pub request_id: String,
}

/// A body as an event carries it.
pub(crate) struct EventBody {
    pub(crate) text: Option<String>,
    pub(crate) is_base64_encoded: bool,
}

/// The HTTP API event of `request` for the route `route_key`, such as `GET /api/user/me`.
pub fn http_api(request: &Captured, route_key: &str) -> Value {
    version_2(request, route_key, http_api_context(request, route_key))
}

/// An event in payload format 2.0 around `request_context`.
pub(crate) fn version_2(request: &Captured, route_key: &str, request_context: Value) -> Value {
    let body = version_2_body(request);
    let mut event = Map::new();
    event.insert("version".into(), json!("2.0"));
    event.insert("routeKey".into(), json!(route_key));
    event.insert("rawPath".into(), json!(request.path));
    event.insert("rawQueryString".into(), json!(request.query));
    let cookies = cookies(&request.headers);
    if !cookies.is_empty() {
        event.insert("cookies".into(), json!(cookies));
    }
    event.insert("headers".into(), json!(single_headers(request)));
    if !request.query.is_empty() {
        event.insert(
            "queryStringParameters".into(),
            json!(joined_query(&request.query)),
        );
    }
    event.insert("requestContext".into(), request_context);
    if let Some(text) = body.text {
        event.insert("body".into(), json!(text));
    }
    event.insert("isBase64Encoded".into(), json!(body.is_base64_encoded));
    Value::Object(event)
}

fn http_api_context(request: &Captured, route_key: &str) -> Value {
    json!({
        "accountId": "000000000000",
        "apiId": "local",
        "domainName": host(&request.headers),
        "domainPrefix": "local",
        "http": http_description(request),
        "requestId": request.request_id,
        "routeKey": route_key,
        "stage": "$default",
        "time": common_log_time(request.received_at),
        "timeEpoch": request.received_at.as_millisecond(),
    })
}

/// `requestContext.http` of payload format 2.0.
pub(crate) fn http_description(request: &Captured) -> Value {
    json!({
        "method": request.method.as_str(),
        "path": request.path,
        "protocol": "HTTP/1.1",
        "sourceIp": request.source_ip.to_string(),
        "userAgent": header_text(&request.headers, &header::USER_AGENT),
    })
}

/// The time in the form of the common log format, which API Gateway uses.
pub(crate) fn common_log_time(at: Timestamp) -> String {
    at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

/// The host that the client asked for.
pub(crate) fn host(headers: &HeaderMap) -> String {
    header_text(headers, &header::HOST)
}

fn header_text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// Payload format 2.0 passes a body as text only for a few media types, and everything else, a form
/// and a missing type included, as base64. AWS does not document the list; it was observed.
fn version_2_body(request: &Captured) -> EventBody {
    match std::str::from_utf8(&request.body) {
        Ok("") => EventBody {
            text: None,
            is_base64_encoded: false,
        },
        Ok(text) if is_text(&request.headers) => EventBody {
            text: Some(text.to_owned()),
            is_base64_encoded: false,
        },
        Ok(_) | Err(_) => base64_body(&request.body),
    }
}

/// The body as base64.
pub(crate) fn base64_body(body: &[u8]) -> EventBody {
    EventBody {
        text: Some(STANDARD.encode(body)),
        is_base64_encoded: true,
    }
}

/// Whether the content type is one that the front doors of Lambda take for text.
pub(crate) fn is_text(headers: &HeaderMap) -> bool {
    let content_type = header_text(headers, &header::CONTENT_TYPE).to_ascii_lowercase();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/")
        || matches!(
            media_type,
            "application/json" | "application/javascript" | "application/xml"
        )
}

/// Every header with all of its values, lower-cased, with what the gateway itself adds and without
/// what belongs to one connection only.
pub(crate) fn all_headers(request: &Captured) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.headers {
        if !is_hop_by_hop(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            all.entry(name.as_str().to_owned()).or_default().push(value);
        }
    }
    let mut forwarded_for = all.remove("x-forwarded-for").unwrap_or_default();
    forwarded_for.push(request.source_ip.to_string());
    all.insert("x-forwarded-for".into(), vec![forwarded_for.join(", ")]);
    all.insert("x-forwarded-port".into(), vec![request.port.to_string()]);
    all.insert("x-forwarded-proto".into(), vec!["http".into()]);
    all.insert(
        "content-length".into(),
        vec![request.body.len().to_string()],
    );
    all
}

/// Headers joined with commas, without cookies, as payload format 2.0 has them.
fn single_headers(request: &Captured) -> BTreeMap<String, String> {
    all_headers(request)
        .into_iter()
        .filter(|(name, _)| name != "cookie")
        .map(|(name, values)| (name, values.join(",")))
        .collect()
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .map(|cookie| cookie.trim().to_owned())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// Parameters of the query, decoded, each with all of its values.
pub(crate) fn query_values(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        values
            .entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    values
}

fn joined_query(query: &str) -> BTreeMap<String, String> {
    query_values(query)
        .into_iter()
        .map(|(name, values)| (name, values.join(",")))
        .collect()
}
