//! The issuer's endpoints: discovery, keys, tokens, and a rotation of its key for tests.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Issuer, TokenRequest};

pub(super) fn router(issuer: &Issuer) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks.json", get(key_set))
        .route("/token", post(token))
        .route("/rotate", post(rotate))
        .with_state(issuer.clone())
}

async fn discovery(State(issuer): State<Issuer>) -> Json<Value> {
    let url = &issuer.0.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks.json"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn key_set(State(issuer): State<Issuer>) -> Json<Value> {
    Json(issuer.key_set())
}

async fn token(State(issuer): State<Issuer>, Json(request): Json<TokenRequest>) -> Response {
    answer(issuer.token(&request))
}

/// How a key is rotated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    retire_old: bool,
}

async fn rotate(State(issuer): State<Issuer>, Json(rotation): Json<Rotation>) -> Response {
    answer(
        issuer
            .rotate(rotation.retire_old)
            .map(|kid| json!({"kid": kid})),
    )
}

/// A result as the token endpoint gives it, errors in OAuth's shape.
pub(crate) fn answer(result: Result<Value, Error>) -> Response {
    match result {
        Ok(value) => ([("cache-control", "no-store")], Json(value)).into_response(),
        Err(error) => {
            let (status, code) = match error {
                Error::User => (StatusCode::BAD_REQUEST, "invalid_request"),
                Error::Data(_) | Error::Generate | Error::Key | Error::Sign => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
                }
            };
            (
                status,
                Json(json!({"error": code, "error_description": error.to_string()})),
            )
                .into_response()
        }
    }
}
