//! Reading an HTTP request and writing an answer, as all functions do it.
//!
//! Bodies are strict: JSON of a known shape, of a bounded length, without unknown fields.

use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{BODY_LIMIT_BYTES, Problem};

/// The body as bytes, exactly as they were received: API Gateway's base64 is undone already.
pub fn body_bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        Body::Empty | _ => &[],
    }
}

/// Parses a JSON body. An empty body counts as `{}`, so that a request whose fields are all optional
/// may leave it out.
pub fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    let bytes = body_bytes(request);
    if bytes.len() > BODY_LIMIT_BYTES {
        return Err(Problem::TooLarge {
            limit: BODY_LIMIT_BYTES,
        });
    }
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

/// The parser's words about the shape of the body carry field names and positions, never values that
/// the caller did not send.
fn unreadable(error: &serde_json::Error) -> Problem {
    let why = error.to_string();
    let named = why
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'));
    match named {
        Some((field, _)) => Problem::invalid(field, "this field is not known here"),
        None if error.is_data() => Problem::invalid("body", why),
        None => Problem::invalid("body", format!("this is not JSON: {why}")),
    }
}

/// A 200 answer that no cache keeps.
pub fn ok<T: Serialize>(answer: &T) -> Response<Body> {
    match serde_json::to_string(answer) {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            let headers = response.headers_mut();
            headers.insert(
                "content-type",
                http::HeaderValue::from_static("application/json"),
            );
            headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "the answer could not be written as JSON");
            Problem::TryAgain.into_response()
        }
    }
}

/// The token of the request's one `Authorization: Bearer …` header.
pub fn bearer(request: &Request) -> Option<&str> {
    let mut headers = request.headers().get_all("authorization").iter();
    let (header, more) = (headers.next()?, headers.next());
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    (more.is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token)
}

/// The id of this invocation: unique, and different also for a repeat of the same request.
pub fn invocation_id(request: &Request) -> String {
    request
        .lambda_context_ref()
        .map(|context| context.request_id.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        plan: Option<String>,
    }

    fn refusal(body: &str) -> Problem {
        json::<Shape>(&Request::new(Body::from(body))).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        assert_eq!(
            refusal(r#"{"plam": "pro"}"#),
            Problem::invalid("plam", "this field is not known here")
        );
        assert!(
            refusal("plan=pro")
                .to_string()
                .starts_with("body: this is not JSON")
        );
        assert!(
            refusal(r#"{"plan": 7}"#)
                .to_string()
                .contains("invalid type: integer `7`")
        );
        assert!(refusal("[]").to_string().starts_with("body:"));
        assert_eq!(
            refusal(&" ".repeat(BODY_LIMIT_BYTES + 1)),
            Problem::TooLarge {
                limit: BODY_LIMIT_BYTES
            }
        );
        assert!(json::<Shape>(&Request::new(Body::Empty)).is_ok());
    }
}
