//! The HTTP face of `World`: authentication, form bodies, idempotency keys, rate limit, Stripe's headers.
//!
//! The world's lock serialises requests, so that one commit stands for each answer.

#[cfg(test)]
mod tests;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::world::{Cause, World};
use crate::{API_VERSION, Sandbox, form, spec};

/// How long Stripe remembers an idempotency key.
const KEY_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new().route("/v1/{*path}", any(handle))
}

struct Answer {
    status: u16,
    body: Value,
    headers: Vec<(&'static str, String)>,
}

async fn handle(
    State(sandbox): State<Sandbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Request {
        method: method.as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        body,
    };
    let request_id = format!("req_{}", alphanumeric(14));
    let mut answer = {
        let mut world = sandbox.world();
        let answer = respond(&mut world, &request, &headers, &request_id);
        world.cause = Cause::default();
        match world.commit() {
            Ok(()) => answer,
            Err(error) => {
                tracing::error!(%error, "the sandbox could not write its data file");
                let failure = ApiError {
                    status: 500,
                    kind: "api_error",
                    ..ApiError::invalid("An error occurred.")
                };
                refusal(&failure, &request_id)
            }
        }
    };
    record(&sandbox, &request, &headers, &answer);
    answer.headers.push(("request-id", request_id));
    answer
        .headers
        .push(("stripe-version", API_VERSION.to_owned()));
    into_response(answer)
}

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    body: String,
}

impl Request<'_> {
    fn form(&self) -> Value {
        form::parse(if self.body.is_empty() {
            self.query
        } else {
            &self.body
        })
    }
}

fn respond(
    world: &mut World,
    request: &Request<'_>,
    headers: &HeaderMap,
    request_id: &str,
) -> Answer {
    let refused = |error: ApiError| refusal(&error, request_id);
    if let Err(error) = authenticate(headers, request) {
        return refused(error);
    }
    world.tick();
    let Some((endpoint, ids)) = spec::endpoint(request.method, request.path) else {
        return refused(unrecognized(request.method, request.path));
    };
    if let Err(error) = world.admit(&format!("{} {}", endpoint.method, endpoint.path)) {
        let mut answer = refused(error);
        answer
            .headers
            .push(("stripe-rate-limited-reason", "endpoint-rate".to_owned()));
        return answer;
    }
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .filter(|_| request.method == "POST");
    if key.is_some_and(|key| key.len() > 255) {
        return refused(ApiError::invalid(
            "Idempotency keys can be at most 255 characters long.",
        ));
    }
    let form = request.form();
    let fingerprint = format!("{} {} {form}", request.method, request.path);
    if let Some(key) = key
        && let Some(answer) = replay(world, key, &fingerprint, request_id)
    {
        return answer;
    }
    let params = match spec::check(endpoint, &form) {
        Ok(params) => params,
        // Refused before anything began, so the key stays free.
        Err(error) => return refused(error),
    };
    world.cause = Cause {
        request: Some(request_id.to_owned()),
        idempotency_key: key.map(str::to_owned),
    };
    let mut answer = match world.execute(endpoint, &ids, &params) {
        Ok(body) => Answer {
            status: 200,
            body,
            headers: Vec::new(),
        },
        Err(error) => refused(error),
    };
    if let Some(key) = key {
        let kept = json!({
            "fingerprint": fingerprint, "created": world.now(), "request": request_id,
            "status": answer.status, "body": answer.body,
        });
        world.kv_put(&format!("idempotency/{key}"), kept);
        answer.headers.push(("idempotency-key", key.to_owned()));
        answer
            .headers
            .push(("original-request", request_id.to_owned()));
    }
    answer
}

/// The first answer again, for a key that was used within a day.
fn replay(world: &mut World, key: &str, fingerprint: &str, request_id: &str) -> Option<Answer> {
    let name = format!("idempotency/{key}");
    let kept = world.kv_get(&name)?;
    if kept.int("created") + KEY_LIFETIME_SECONDS <= world.now() {
        world.kv_delete(&name);
        return None;
    }
    let same = kept.text("fingerprint") == fingerprint;
    let original = kept.text("request").to_owned();
    let mut answer = if same {
        let status = u16::try_from(kept.int("status")).unwrap_or(500);
        let mut headers = vec![("idempotent-replayed", "true".to_owned())];
        if status >= 400 {
            headers.push(("stripe-should-retry", "false".to_owned()));
        }
        Answer {
            status,
            body: kept.at("body").clone(),
            headers,
        }
    } else {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try \
             using a key other than '{key}' if you meant to execute a different request."
        );
        refusal(
            &ApiError {
                kind: "idempotency_error",
                ..ApiError::invalid(message)
            },
            request_id,
        )
    };
    answer.headers.push(("idempotency-key", key.to_owned()));
    answer.headers.push(("original-request", original));
    Some(answer)
}

fn refusal(error: &ApiError, request_id: &str) -> Answer {
    let retry = matches!(error.status, 409 | 429);
    Answer {
        status: error.status,
        body: error.to_json(request_id),
        headers: vec![("stripe-should-retry", retry.to_string())],
    }
}

pub(crate) fn unrecognized(method: &str, path: &str) -> ApiError {
    let message = format!(
        "Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at \
         https://support.stripe.com/."
    );
    ApiError {
        status: 404,
        ..ApiError::invalid(message)
    }
}

fn authenticate(headers: &HeaderMap, request: &Request<'_>) -> Result<(), ApiError> {
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let refuse = |message: String| {
        Err(ApiError {
            status: 401,
            ..ApiError::invalid(message)
        })
    };
    let key = match header.split_once(' ') {
        Some(("Bearer", key)) => key.trim().to_owned(),
        Some(("Basic", encoded)) => {
            let decoded = STANDARD.decode(encoded.trim()).unwrap_or_default();
            let pair = String::from_utf8_lossy(&decoded).into_owned();
            pair.split_once(':')
                .map_or(pair.clone(), |(user, _)| user.to_owned())
        }
        _ => String::new(),
    };
    if key.is_empty() {
        return refuse(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using \
             Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication \
             for details, or we can help at https://support.stripe.com/."
                .to_owned(),
        );
    }
    // A browser confirms a payment with the publishable key and the secret of that one payment.
    let of_one_payment = key.starts_with("pk_test_") && request.form().is_set("client_secret");
    if key.starts_with("sk_test_") || key.starts_with("rk_test_") || of_one_payment {
        return Ok(());
    }
    let shown: String = key.chars().take(8).collect();
    let last: String = key
        .chars()
        .skip(key.chars().count().saturating_sub(4))
        .collect();
    refuse(format!("Invalid API Key provided: {shown}****{last}"))
}

fn record(sandbox: &Sandbox, request: &Request<'_>, headers: &HeaderMap, answer: &Answer) {
    let Some(record) = sandbox.record() else {
        return;
    };
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    record.request(&json!({
        "method": request.method, "path": request.path, "query": request.query, "body": request.body,
        "user_agent": text("user-agent"), "stripe_version": text("stripe-version"), "status": answer.status,
    }));
    if answer.status < 300 {
        record.object(&answer.body);
    }
}

fn into_response(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string_pretty(&answer.body).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

pub(crate) fn alphanumeric(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}
