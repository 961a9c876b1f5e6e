//! The same captured request as the events of Lambda's other front doors: REST API, function URL and
//! application load balancer.
//!
//! Pure, and used by tests only: a signature over the body must hold through all of them.

use serde_json::{Map, Value, json};

use crate::event::{
    Captured, EventBody, all_headers, base64_body, common_log_time, host, http_description,
};
use crate::event::{is_text, query_values, version_2};

/// The function URL event of `request`: payload format 2.0 with a context of its own.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>
pub fn function_url(request: &Captured) -> Value {
    let context = json!({
        "accountId": "anonymous",
        "apiId": "local",
        "domainName": host(&request.headers),
        "domainPrefix": "local",
        "http": http_description(request),
        "requestId": request.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": common_log_time(request.received_at),
        "timeEpoch": request.received_at.as_millisecond(),
    });
    version_2(request, "$default", context)
}

/// The REST API event of `request`, with the API's `binaryMediaTypes`: `application/pdf`, `image/*`
/// or `*/*`. A body of any other type is passed as UTF-8 text, which replaces what is not UTF-8.
///
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>
pub fn rest_api(request: &Captured, binary_media_types: &[&str]) -> Value {
    let body = rest_body(request, binary_media_types);
    let mut event = by_header_lists(request);
    event.insert("resource".into(), json!(request.path));
    event.insert("pathParameters".into(), Value::Null);
    event.insert("stageVariables".into(), Value::Null);
    event.insert("requestContext".into(), rest_context(request));
    put_body(&mut event, body);
    Value::Object(event)
}

/// How a load balancer's target group hands headers and query parameters over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiValueHeaders {
    /// Under `headers`, the last value of each name.
    Disabled,
    /// Under `multiValueHeaders`, all values.
    Enabled,
}

/// The load balancer's event of `request`. Query parameters stay as encoded as the client sent them.
///
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>
pub fn load_balancer(request: &Captured, multi_value: MultiValueHeaders) -> Value {
    let target_group =
        "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/local/0000000000000000";
    let mut event = by_header_lists(request);
    let (unused_headers, unused_query) = match multi_value {
        MultiValueHeaders::Enabled => ("headers", "queryStringParameters"),
        MultiValueHeaders::Disabled => ("multiValueHeaders", "multiValueQueryStringParameters"),
    };
    event.remove(unused_headers);
    event.remove(unused_query);
    for name in ["queryStringParameters", "multiValueQueryStringParameters"] {
        if event.contains_key(name) {
            event.insert(name.into(), raw_query(&request.query, multi_value));
        }
    }
    event.insert(
        "requestContext".into(),
        json!({"elb": {"targetGroupArn": target_group}}),
    );
    let text = String::from_utf8(request.body.clone());
    let body = match text {
        // A load balancer sends an empty string where API Gateway sends null.
        Ok(text) if text.is_empty() => EventBody {
            text: Some(text),
            is_base64_encoded: false,
        },
        Ok(text)
            if is_text(&request.headers) && !request.headers.contains_key("content-encoding") =>
        {
            EventBody {
                text: Some(text),
                is_base64_encoded: false,
            }
        }
        Ok(_) | Err(_) => base64_body(&request.body),
    };
    put_body(&mut event, body);
    Value::Object(event)
}

/// Method, path, headers and query in the form that REST APIs and load balancers share.
fn by_header_lists(request: &Captured) -> Map<String, Value> {
    let headers = all_headers(request);
    let query = query_values(&request.query);
    let last = |values: &Vec<String>| values.last().cloned().unwrap_or_default();
    let single_headers: Map<String, Value> = headers
        .iter()
        .map(|(k, v)| (k.clone(), json!(last(v))))
        .collect();
    let single_query: Map<String, Value> = query
        .iter()
        .map(|(k, v)| (k.clone(), json!(last(v))))
        .collect();
    let mut event = Map::new();
    event.insert("httpMethod".into(), json!(request.method.as_str()));
    event.insert("path".into(), json!(request.path));
    event.insert("headers".into(), Value::Object(single_headers));
    event.insert("multiValueHeaders".into(), json!(headers));
    event.insert("queryStringParameters".into(), Value::Object(single_query));
    event.insert("multiValueQueryStringParameters".into(), json!(query));
    event
}

fn raw_query(query: &str, multi_value: MultiValueHeaders) -> Value {
    let mut parameters: Map<String, Value> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (multi_value, parameters.get_mut(name)) {
            (MultiValueHeaders::Enabled, Some(Value::Array(values))) => values.push(json!(value)),
            (MultiValueHeaders::Enabled, _) => {
                parameters.insert(name.into(), json!([value]));
            }
            (MultiValueHeaders::Disabled, _) => {
                parameters.insert(name.into(), json!(value));
            }
        }
    }
    Value::Object(parameters)
}

fn rest_context(request: &Captured) -> Value {
    let description = http_description(request);
    json!({
        "accountId": "000000000000",
        "apiId": "local",
        "domainName": host(&request.headers),
        "domainPrefix": "local",
        "httpMethod": request.method.as_str(),
        "identity": {"sourceIp": description.get("sourceIp"), "userAgent": description.get("userAgent")},
        "path": request.path,
        "protocol": "HTTP/1.1",
        "requestId": request.request_id,
        "requestTime": common_log_time(request.received_at),
        "requestTimeEpoch": request.received_at.as_millisecond(),
        "resourceId": "local",
        "resourcePath": request.path,
        "stage": "Prod",
    })
}

fn rest_body(request: &Captured, binary_media_types: &[&str]) -> EventBody {
    if request.body.is_empty() {
        return EventBody {
            text: None,
            is_base64_encoded: false,
        };
    }
    let content_type = request
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_binary = binary_media_types
        .iter()
        .any(|pattern| match pattern.strip_suffix("/*") {
            Some("*") => true,
            Some(kind) => media_type.split('/').next() == Some(kind),
            None => media_type == *pattern,
        });
    if is_binary {
        return base64_body(&request.body);
    }
    EventBody {
        text: Some(String::from_utf8_lossy(&request.body).into_owned()),
        is_base64_encoded: false,
    }
}

fn put_body(event: &mut Map<String, Value>, body: EventBody) {
    event.insert("body".into(), json!(body.text));
    event.insert("isBase64Encoded".into(), json!(body.is_base64_encoded));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::http_api;
    use crate::event::tests::captured;
    use lambda_http::RequestExt;

    fn signed() -> Captured {
        captured(
            &[
                ("Host", "localhost:3000"),
                ("Content-Type", "application/json; charset=utf-8"),
                ("Stripe-Signature", "t=1,v1=ab"),
            ],
            "{\"name\": \"Zoë\"}\r\n".as_bytes(),
        )
    }

    #[test]
    fn every_front_door_delivers_the_same_request() {
        let request = signed();
        let events = [
            http_api(&request, "POST /api/webhooks/stripe"),
            rest_api(&request, &[]),
            rest_api(&request, &["*/*"]),
            function_url(&request),
            load_balancer(&request, MultiValueHeaders::Disabled),
            load_balancer(&request, MultiValueHeaders::Enabled),
        ];
        for event in events {
            let delivered = lambda_http::request::from_str(&event.to_string()).unwrap();
            assert_eq!(delivered.method(), http::Method::POST, "{event}");
            assert_eq!(delivered.raw_http_path(), "/api/webhooks/stripe", "{event}");
            assert_eq!(
                delivered.headers().get("stripe-signature").unwrap(),
                "t=1,v1=ab",
                "{event}"
            );
            assert_eq!(delivered.body().as_ref(), request.body, "{event}");
            assert_eq!(
                delivered.query_string_parameters().all("b"),
                Some(vec!["x y"]),
                "{event}"
            );
        }
    }

    #[test]
    fn binary_media_types_match_exactly_by_kind_or_all() {
        for (types, encoded) in [
            (vec!["application/json"], true),
            (vec!["application/*"], true),
            (vec!["*/*"], true),
            (vec!["image/*"], false),
        ] {
            assert_eq!(
                rest_api(&signed(), &types)["isBase64Encoded"],
                encoded,
                "{types:?}"
            );
        }
    }

    #[test]
    fn a_load_balancer_encodes_what_has_a_content_encoding() {
        let request = captured(
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            b"abc",
        );
        assert_eq!(
            load_balancer(&request, MultiValueHeaders::Disabled)["isBase64Encoded"],
            true
        );
    }
}
