//! Strict reading of a control call's JSON body, and the refusals it leads to.
//!
//! A field that is read is taken out; what is left at the end is unknown and refused.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Map, Value, json};

use crate::ApiError;

/// The members of a JSON object that were not read yet.
#[derive(Debug)]
pub(super) struct Body(Map<String, Value>);

/// Why a control call is not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// `field: reason`
    Malformed(String),
    /// What Stripe would say.
    Stripe(Box<ApiError>),
}

impl Body {
    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Refusal::Malformed(
                "the body: must be a JSON object".to_owned(),
            )),
            Err(error) => Err(Refusal::Malformed(format!(
                "the body: is not JSON, {error}"
            ))),
        }
    }

    /// A field that may be absent or null.
    pub(super) fn optional<T>(
        &mut self,
        field: &str,
        read: fn(&Value) -> Result<T, &'static str>,
    ) -> Result<Option<T>, Refusal> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value)
                .map(Some)
                .map_err(|reason| Refusal::field(field, reason)),
        }
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        field: &str,
        read: fn(&Value) -> Result<T, &'static str>,
    ) -> Result<T, Refusal> {
        self.optional(field, read)?
            .ok_or_else(|| Refusal::field(field, "is required"))
    }

    /// Refuses what was not read.
    pub(super) fn done(self) -> Result<(), Refusal> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(field) => Err(Refusal::field(field, "unknown field")),
        }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.0
    }

    pub(super) fn text(value: &Value) -> Result<String, &'static str> {
        value.as_str().map(str::to_owned).ok_or("must be a string")
    }

    pub(super) fn integer(value: &Value) -> Result<i64, &'static str> {
        value.as_i64().ok_or("must be a whole number")
    }

    pub(super) fn boolean(value: &Value) -> Result<bool, &'static str> {
        value.as_bool().ok_or("must be true or false")
    }
}

/// Whatever the content type says: `curl -d` claims to send a form.
impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await;
        Self::parse(
            &bytes
                .map_err(|error| Refusal::Malformed(format!("the body: {}", error.body_text())))?,
        )
    }
}

impl Refusal {
    pub(super) fn field(field: &str, reason: &str) -> Self {
        Self::Malformed(format!("{field}: {reason}"))
    }

    pub(super) fn no_event(id: &str) -> Self {
        ApiError::missing("event", id, "event").into()
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Stripe(Box::new(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed(message) => {
                let param = message.split(':').next().unwrap_or_default();
                let error =
                    json!({ "type": "invalid_request_error", "param": param, "message": message });
                (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
            }
            Self::Stripe(error) => {
                let status =
                    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Json(error.to_json("req_sandbox"))).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(refusal: Refusal) -> String {
        match refusal {
            Refusal::Malformed(message) => message,
            Refusal::Stripe(error) => error.message,
        }
    }

    #[test]
    fn a_body_is_read_strictly() {
        let mut body = Body::parse(br#"{"seconds": 5, "won": null, "other": 1}"#).unwrap();
        assert_eq!(body.required("seconds", Body::integer).unwrap(), 5);
        assert_eq!(body.optional("won", Body::boolean).unwrap(), None);
        assert_eq!(
            message(body.required("event", Body::text).unwrap_err()),
            "event: is required"
        );
        assert_eq!(message(body.done().unwrap_err()), "other: unknown field");

        let mut body = Body::parse(br#"{"seconds": "5"}"#).unwrap();
        assert_eq!(
            message(body.required("seconds", Body::integer).unwrap_err()),
            "seconds: must be a whole number"
        );
    }

    #[test]
    fn nothing_is_an_empty_object_and_a_list_is_refused() {
        Body::parse(b" \n").unwrap().done().unwrap();
        assert_eq!(
            message(Body::parse(b"[]").unwrap_err()),
            "the body: must be a JSON object"
        );
        assert!(message(Body::parse(b"{").unwrap_err()).starts_with("the body: is not JSON"));
    }
}
