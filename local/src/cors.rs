//! Cross-origin requests, answered as an HTTP API with a CORS configuration answers them.
//!
//! API Gateway answers preflights itself, without a route, and ignores what functions say about CORS.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

/// An HTTP API's CORS configuration.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins such as `https://app.example.com`; `*` allows all, `https://*` all with that scheme.
    pub allow_origins: Vec<String>,
    /// Methods that a preflight is told.
    pub allow_methods: Vec<String>,
    /// Headers that a preflight is told.
    pub allow_headers: Vec<String>,
    /// How long a browser may keep a preflight's answer, in seconds.
    pub max_age_seconds: u32,
}

impl Default for Cors {
    /// Any origin: on one machine, a frontend's development server may run at any port, and requests
    /// carry a bearer token, not a cookie.
    fn default() -> Self {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Self {
            allow_origins: owned(&["*"]),
            allow_methods: owned(&["GET", "POST", "DELETE", "OPTIONS"]),
            allow_headers: owned(&["authorization", "content-type", "idempotency-key"]),
            max_age_seconds: 300,
        }
    }
}

impl Cors {
    /// The answer to a request if it is a preflight.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Vec<u8>>> {
        let asks = headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if method != Method::OPTIONS || !asks {
            return None;
        }
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.allowed_origin(headers).is_some() {
            let answer = response.headers_mut();
            put(
                answer,
                header::ACCESS_CONTROL_ALLOW_METHODS,
                &self.allow_methods.join(","),
            );
            put(
                answer,
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                &self.allow_headers.join(","),
            );
            put(
                answer,
                header::ACCESS_CONTROL_MAX_AGE,
                &self.max_age_seconds.to_string(),
            );
        }
        self.decorate(headers, response.headers_mut());
        Some(response)
    }

    /// Adds the configured headers to the response of a cross-origin request.
    pub fn decorate(&self, request: &HeaderMap, response: &mut HeaderMap) {
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            response.remove(name);
        }
        if let Some(origin) = self.allowed_origin(request) {
            put(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, &origin);
            if origin != "*" {
                response.append(header::VARY, HeaderValue::from_static("origin"));
            }
        }
    }

    fn allowed_origin(&self, request: &HeaderMap) -> Option<String> {
        let origin = request.get(header::ORIGIN)?.to_str().ok()?;
        self.allow_origins
            .iter()
            .find_map(|allowed| match allowed.strip_suffix('*') {
                Some("") => Some("*".to_owned()),
                Some(prefix) if origin.starts_with(prefix) => Some(origin.to_owned()),
                None if allowed == origin => Some(origin.to_owned()),
                Some(_) | None => None,
            })
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    fn only(origin: &str) -> Cors {
        Cors {
            allow_origins: vec![origin.to_owned()],
            ..Cors::default()
        }
    }

    #[test]
    fn preflight_is_answered_without_a_route() {
        let asks = request(&[
            ("origin", "https://a.example"),
            ("access-control-request-method", "POST"),
        ]);
        let response = Cors::default().preflight(&Method::OPTIONS, &asks).unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(
            response
                .headers()
                .get("access-control-allow-origin")
                .unwrap(),
            "*"
        );
        assert!(
            response
                .headers()
                .contains_key("access-control-allow-headers")
        );
        assert!(Cors::default().preflight(&Method::POST, &asks).is_none());
        assert!(
            Cors::default()
                .preflight(
                    &Method::OPTIONS,
                    &request(&[("origin", "https://a.example")])
                )
                .is_none()
        );
    }

    #[test]
    fn a_foreign_origin_gets_no_permission() {
        let asks = request(&[
            ("origin", "https://evil.example"),
            ("access-control-request-method", "POST"),
        ]);
        let response = only("https://a.example")
            .preflight(&Method::OPTIONS, &asks)
            .unwrap();
        assert_eq!(response.status(), 204);
        assert!(
            response
                .headers()
                .keys()
                .all(|name| !name.as_str().starts_with("access-control"))
        );
    }

    #[test]
    fn the_functions_own_word_is_ignored() {
        let mut response = request(&[("access-control-allow-origin", "https://other.example")]);
        only("https://*").decorate(&request(&[("origin", "https://a.example")]), &mut response);
        assert_eq!(
            response.get("access-control-allow-origin").unwrap(),
            "https://a.example"
        );
        only("http://*").decorate(&request(&[("origin", "https://a.example")]), &mut response);
        assert!(response.get("access-control-allow-origin").is_none());
    }
}
