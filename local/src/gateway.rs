//! API Gateway's work on one machine: real HTTP in, an HTTP API event to a function, real HTTP out.
//!
//! Limits, error bodies and CORS are API Gateway's. What is not a function's route goes to the local
//! pages; nothing else is added to what a deployed API answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{ConnectInfo, State};
use axum::{Router, body};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use crate::clock::Clock;
use crate::cors::Cors;
use crate::event::{Captured, http_api};
use crate::functions::{Functions, Route};
use crate::invocation::{self, invoke};

/// API Gateway refuses a longer body, in bytes.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
pub const PAYLOAD_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// What is read of a body that is too long anyway, so that the client gets to read the answer.
const DISCARD_LIMIT_BYTES: usize = 4 * PAYLOAD_LIMIT_BYTES;

/// What the gateway needs to answer.
#[derive(Clone)]
pub struct Gateway {
    /// The functions behind it.
    pub functions: Arc<Functions>,
    /// The time that functions are called with.
    pub clock: Clock,
    /// Who may call from another origin.
    pub cors: Cors,
}

impl Gateway {
    /// The gateway's HTTP surface. It needs the client's address:
    /// serve it by `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }
}

async fn answer(
    State(gateway): State<Gateway>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: axum::extract::Request,
) -> Response<body::Body> {
    let (parts, body) = request.into_parts();
    let request_id = request_id();
    let mut response = match gateway.cors.preflight(&parts.method, &parts.headers) {
        Some(preflight) => preflight,
        None => {
            let mut response = route(&gateway, &parts, body, client, &request_id).await;
            gateway
                .cors
                .decorate(&parts.headers, response.headers_mut());
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("apigw-requestid", id);
    }
    response.map(body::Body::from)
}

async fn route(
    gateway: &Gateway,
    parts: &http::request::Parts,
    body: body::Body,
    client: SocketAddr,
    request_id: &str,
) -> Response<Vec<u8>> {
    let Some(route) = Route::find(&parts.method, parts.uri.path()) else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    if !has_usable_host(&parts.headers) {
        return message(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let Some(body) = read(body).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
    };
    let now = gateway.clock.now();
    let captured = Captured {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
        body,
        source_ip: client.ip(),
        port: parts
            .uri
            .port_u16()
            .or_else(|| host_port(&parts.headers))
            .unwrap_or(80),
        received_at: now,
        request_id: request_id.to_owned(),
    };
    let event = http_api(&captured, &route.key());
    let functions = Arc::clone(&gateway.functions);
    let function = route.function;
    let handler = move |request| async move { functions.handle(function, request, now).await };
    match invoke(event, &invocation_id(), now, handler).await {
        Ok(response) => response,
        Err(error) => failed(route, &error),
    }
}

/// What API Gateway says when a function gave no response.
fn failed(route: &Route, error: &invocation::Error) -> Response<Vec<u8>> {
    tracing::error!(route = route.key(), %error, "a function gave no response");
    match error {
        invocation::Error::TimedOut => {
            message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        invocation::Error::EventTooLong => {
            message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long")
        }
        invocation::Error::Event(_)
        | invocation::Error::Ended(_)
        | invocation::Error::ResponseTooLong
        | invocation::Error::Response(_) => {
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn message(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(json!({"message": text}).to_string().into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The whole body, or nothing when it is too long or breaks off.
async fn read(mut body: body::Body) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length <= PAYLOAD_LIMIT_BYTES {
            bytes.extend_from_slice(&data);
        } else if length > DISCARD_LIMIT_BYTES {
            return None;
        }
    }
    (length <= PAYLOAD_LIMIT_BYTES).then_some(bytes)
}

/// API Gateway answers for its own hosts only, so that functions never see one that is malformed.
fn has_usable_host(headers: &http::HeaderMap) -> bool {
    headers.get(header::HOST).is_none_or(|host| {
        let host = host.to_str().unwrap_or_default();
        !host.is_empty() && url::Url::parse(&format!("http://{host}/")).is_ok()
    })
}

fn host_port(headers: &http::HeaderMap) -> Option<u16> {
    headers
        .get(header::HOST)?
        .to_str()
        .ok()?
        .rsplit_once(':')?
        .1
        .parse()
        .ok()
}

/// An id in API Gateway's form.
fn request_id() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(
        fastrand::u128(..)
            .to_be_bytes()
            .get(..11)
            .unwrap_or_default(),
    )
}

/// An id in Lambda's form, a random UUID.
fn invocation_id() -> String {
    let id = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_awss_form_and_differ() {
        let id = invocation_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
        assert_ne!(id, invocation_id());
        assert_eq!(request_id().len(), 16);
    }

    #[test]
    fn a_malformed_host_is_refused() {
        let usable = |host: &'static str| {
            let host = HeaderValue::from_static(host);
            has_usable_host(&std::iter::once((header::HOST, host)).collect())
        };
        assert!(usable("localhost:3000") && usable("[::1]:3000"));
        assert!(!usable("a b<") && !usable("a:b:c") && !usable(""));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit() {
        let longest = vec![0; PAYLOAD_LIMIT_BYTES];
        assert_eq!(
            read(body::Body::from(longest.clone()))
                .await
                .map(|read| read.len()),
            Some(longest.len())
        );
        let longer = vec![0; PAYLOAD_LIMIT_BYTES + 1];
        assert!(read(body::Body::from(longer)).await.is_none());
    }
}
