//! One invocation of a function, as Lambda's runtime and API Gateway do it.
//!
//! The event goes through the same deserialisation, and the response through the same serialisation,
//! as in the deployed binary, so that what is tested is what runs. It knows no route and no function.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use jiff::Timestamp;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Body, Context, LambdaEvent, Request, Service, service_fn};
use serde::Deserialize;
use serde_json::Value;
use tracing::Instrument;

/// API Gateway waits this long for a function.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
pub const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Lambda refuses an event or a response that is longer, in bytes of JSON.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const PAYLOAD_LIMIT_BYTES: usize = 6 * 1024 * 1024;

/// Why an invocation gave no response. The caller of the API sees none of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The event is longer than Lambda takes.
    #[error("the event is longer than {PAYLOAD_LIMIT_BYTES} bytes")]
    EventTooLong,
    /// The runtime could not read the event.
    #[error("the event cannot be read: {0}")]
    Event(serde_json::Error),
    /// The function panicked or was stopped.
    #[error("the function ended without a response: {0}")]
    Ended(tokio::task::JoinError),
    /// The function did not answer in time.
    #[error("the function did not answer within {} seconds", INTEGRATION_TIMEOUT.as_secs())]
    TimedOut,
    /// The response is longer than Lambda takes.
    #[error("the response is longer than {PAYLOAD_LIMIT_BYTES} bytes")]
    ResponseTooLong,
    /// API Gateway cannot read the response.
    #[error("the response cannot be read: {0}")]
    Response(#[from] ResponseError),
}

/// Why API Gateway cannot make an HTTP response of what a function returned.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// Not the JSON of a response.
    #[error("not a response: {0}")]
    Json(#[from] serde_json::Error),
    /// No HTTP status code.
    #[error("no HTTP status: {0}")]
    Status(#[from] http::status::InvalidStatusCode),
    /// A body that says it is base64 and is not.
    #[error("the body is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A header that HTTP does not allow.
    #[error("header {0} is not allowed in HTTP")]
    Header(String),
}

/// Invokes `handler` with `event`. The handler runs in a task of its own, so that its panic ends only
/// this invocation, and so that it runs on when the client goes away.
pub async fn invoke<F, H>(
    event: Value,
    request_id: &str,
    now: Timestamp,
    handler: F,
) -> Result<Response<Vec<u8>>, Error>
where
    F: FnOnce(Request) -> H + Send + 'static,
    H: Future<Output = Response<Body>> + Send + 'static,
{
    let event = event.to_string();
    if event.len() > PAYLOAD_LIMIT_BYTES {
        return Err(Error::EventTooLong);
    }
    let context = context(request_id, now);
    // The span that Lambda's runtime makes: its id joins the lines of one invocation.
    let span = tracing::info_span!("Lambda runtime invoke", requestId = request_id);
    let task = tokio::spawn(async move { run(&event, context, handler).await }.instrument(span));
    let ended = tokio::time::timeout(INTEGRATION_TIMEOUT, task)
        .await
        .map_err(|_elapsed| Error::TimedOut)?;
    let response = ended.map_err(Error::Ended)??;
    if response.len() > PAYLOAD_LIMIT_BYTES {
        return Err(Error::ResponseTooLong);
    }
    Ok(http_response(&response)?)
}

/// What the runtime does in the function's process: JSON in, JSON out.
async fn run<F, H>(event: &str, context: Context, handler: F) -> Result<String, Error>
where
    F: FnOnce(Request) -> H + Send + 'static,
    H: Future<Output = Response<Body>> + Send + 'static,
{
    let payload: LambdaRequest = serde_json::from_str(event).map_err(Error::Event)?;
    let mut handler = Some(handler);
    let mut service = Adapter::from(service_fn(move |request: Request| {
        let handler = handler.take();
        async move {
            match handler {
                Some(handler) => Ok::<_, Infallible>(handler(request).await),
                // `call` is called once below.
                None => Ok(Response::new(Body::Empty)),
            }
        }
    }));
    match service.call(LambdaEvent::new(payload, context)).await {
        Ok(response) => {
            serde_json::to_string(&response).map_err(|error| Error::Response(error.into()))
        }
        Err(never) => match never {},
    }
}

fn context(request_id: &str, now: Timestamp) -> Context {
    let timeout_ms = i64::try_from(INTEGRATION_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let mut context = Context::default();
    context.request_id = request_id.to_owned();
    context.deadline =
        u64::try_from(now.as_millisecond().saturating_add(timeout_ms)).unwrap_or_default();
    context.invoked_function_arn =
        "arn:aws:lambda:us-east-1:000000000000:function:local".to_owned();
    context
}

/// What a function returns: an HTTP API and a function URL read `headers` and `cookies`, a REST API
/// and a load balancer `multiValueHeaders`, and the runtime fills what its caller reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionResponse {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    cookies: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The HTTP response that the front door makes of a function's JSON.
fn http_response(json: &str) -> Result<Response<Vec<u8>>, ResponseError> {
    let returned: FunctionResponse = serde_json::from_str(json)?;
    let text = returned.body.unwrap_or_default();
    let body = if returned.is_base64_encoded {
        STANDARD.decode(text)?
    } else {
        text.into_bytes()
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(returned.status_code)?;
    let headers = response.headers_mut();
    let multi_value = returned.multi_value_headers.iter();
    let multi_value = multi_value.flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
    let single_value = returned
        .headers
        .iter()
        .filter(|_| returned.multi_value_headers.is_empty());
    for (name, value) in multi_value.chain(single_value) {
        // The front door writes the length itself.
        if !name.eq_ignore_ascii_case("content-length") {
            append(headers, name, value)?;
        }
    }
    for cookie in &returned.cookies {
        append(headers, "set-cookie", cookie)?;
    }
    if !headers.contains_key(header::CONTENT_TYPE) && !response.body().is_empty() {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain;charset=UTF-8"),
        );
    }
    Ok(response)
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), ResponseError> {
    let parsed_name: Result<HeaderName, _> = name.parse();
    match (parsed_name, HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => headers.append(name, value),
        (Err(_), _) | (_, Err(_)) => return Err(ResponseError::Header(name.to_owned())),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::http_api;
    use crate::event::tests::captured;
    use crate::other_events::{MultiValueHeaders, function_url, load_balancer, rest_api};
    use lambda_http::RequestExt;

    fn event(body: &[u8]) -> Value {
        http_api(
            &captured(
                &[("host", "localhost"), ("content-type", "application/json")],
                body,
            ),
            "POST /x",
        )
    }

    #[tokio::test]
    async fn handler_sees_request_and_context() {
        let response = invoke(
            event(b"{}"),
            "id-1",
            Timestamp::UNIX_EPOCH,
            |request| async move {
                assert_eq!(request.lambda_context().request_id, "id-1");
                assert_eq!(request.lambda_context().deadline, 30_000);
                assert_eq!(request.body().as_ref(), b"{}");
                let body = Body::Text("done".into());
                Response::builder()
                    .status(201)
                    .header("x-a", "b")
                    .header("set-cookie", "c=1")
                    .body(body)
                    .unwrap()
            },
        );
        let response = response.await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().get("x-a").unwrap(), "b");
        assert_eq!(response.headers().get("set-cookie").unwrap(), "c=1");
        assert_eq!(response.body(), b"done");
    }

    #[tokio::test]
    async fn every_front_door_gets_its_response() {
        let request = captured(&[("host", "localhost")], b"");
        for event in [
            function_url(&request),
            rest_api(&request, &[]),
            load_balancer(&request, MultiValueHeaders::Enabled),
        ] {
            let response = invoke(event, "id", Timestamp::UNIX_EPOCH, |_request| async {
                let response = Response::builder()
                    .header("x-a", "1")
                    .header("content-type", "text/plain");
                response.body(Body::Text("done".into())).unwrap()
            });
            let response = response.await.unwrap();
            assert_eq!(response.headers().get("x-a").unwrap(), "1");
            assert_eq!(response.body(), b"done");
        }
    }

    #[tokio::test]
    async fn binary_bodies_come_back_as_sent() {
        let response = invoke(
            event(b"\x00\xff"),
            "id",
            Timestamp::UNIX_EPOCH,
            |request| async move {
                let body = Body::Binary(request.body().as_ref().to_vec());
                // Without a type, the runtime takes a body for text.
                Response::builder()
                    .header("content-type", "image/png")
                    .body(body)
                    .unwrap()
            },
        );
        assert_eq!(response.await.unwrap().body(), b"\x00\xff");
    }

    #[tokio::test]
    async fn a_panic_ends_the_invocation_only() {
        let result = invoke(event(b""), "id", Timestamp::UNIX_EPOCH, |_request| async {
            panic!("as a test")
        });
        assert!(matches!(result.await, Err(Error::Ended(_))));
    }

    #[tokio::test]
    async fn lambda_refuses_long_payloads() {
        let long = "x".repeat(PAYLOAD_LIMIT_BYTES);
        let result = invoke(
            event(long.as_bytes()),
            "id",
            Timestamp::UNIX_EPOCH,
            |_request| async { Response::default() },
        );
        assert!(matches!(result.await, Err(Error::EventTooLong)));
        let result = invoke(
            event(b""),
            "id",
            Timestamp::UNIX_EPOCH,
            |_request| async move { Response::new(Body::Text(long)) },
        );
        assert!(matches!(result.await, Err(Error::ResponseTooLong)));
    }

    #[test]
    fn an_unusable_response_is_an_error() {
        for json in [
            "{}",
            r#"{"statusCode":1}"#,
            r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        ] {
            assert!(http_response(json).is_err(), "{json}");
        }
    }
}
