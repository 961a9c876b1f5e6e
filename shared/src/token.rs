//! The grammar of an access token and its verification against known keys.
//!
//! An allow-grammar over `jsonwebtoken`: what is not expected is refused, and the reason is for the
//! log alone. Pure; `oidc` brings the keys and the caller brings the clock.
//! <https://www.rfc-editor.org/rfc/rfc8725>, <https://www.rfc-editor.org/rfc/rfc9068>

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

mod keys;
mod strict;

pub use keys::Keys;

/// The longest token that is looked at.
pub const TOKEN_LIMIT_BYTES: usize = 8 << 10;

/// How far the issuer's clock may be ahead of ours for `nbf` and `iat`.
pub const NOT_BEFORE_LEEWAY_SECONDS: i64 = 30;

/// Header members that make the bearer choose the key or change the rules: all refused.
const REFUSED_HEADER_MEMBERS: [&str; 7] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip"];

/// Why a token is refused. For the log; from outside every refusal looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub &'static str);

/// What a token must say, beside being signed by a known key.
#[derive(Clone, Debug)]
pub struct Expectation<'e> {
    /// The issuer whose keys are used.
    pub issuer: &'e str,
    /// Accepted audiences.
    pub audiences: &'e [String],
    /// Azure AD B2C's policy, compared with `tfp` or `acr` without regard to case.
    pub policy: Option<&'e str>,
}

/// A token that has the form of one; nothing in it is verified.
#[derive(Debug)]
pub struct Unverified<'t> {
    signed: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    /// The key's id that the token names.
    pub kid: String,
    claims: Map<String, Value>,
}

/// The claims of a verified token.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

impl<'t> Unverified<'t> {
    /// Three segments of canonical base64url, JSON objects without duplicate members, a header that
    /// uses nothing but what is expected.
    pub fn parse(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return Err(Refusal("the token is too long"));
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(Refusal("not three segments"))?;
        let (header, payload) = signed
            .split_once('.')
            .ok_or(Refusal("not three segments"))?;
        if payload.contains('.') || signature.is_empty() {
            return Err(Refusal("not three segments"));
        }
        decode(signature)?;
        let header =
            strict::object(&decode(header)?).ok_or(Refusal("the header is no JSON object"))?;
        let claims =
            strict::object(&decode(payload)?).ok_or(Refusal("the payload is no JSON object"))?;
        if REFUSED_HEADER_MEMBERS
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err(Refusal("the header has a member that is not allowed"));
        }
        let algorithm = match text(&header, "alg") {
            Some("RS256") => Algorithm::RS256,
            Some("ES256") => Algorithm::ES256,
            Some("EdDSA") => Algorithm::EdDSA,
            _ => return Err(Refusal("the algorithm is not allowed")),
        };
        match header
            .get("typ")
            .map(|typ| typ.as_str().map(str::to_ascii_lowercase))
        {
            None => {}
            Some(Some(typ)) if matches!(typ.as_str(), "jwt" | "at+jwt" | "application/at+jwt") => {}
            Some(_) => return Err(Refusal("the typ is not that of an access token")),
        }
        let kid = text(&header, "kid").ok_or(Refusal("no kid"))?.to_owned();
        Ok(Self {
            signed,
            signature,
            algorithm,
            kid,
            claims,
        })
    }

    /// The issuer that the token claims to come from.
    pub fn issuer(&self) -> Option<&str> {
        text(&self.claims, "iss")
    }

    /// Whether the token's policy (`tfp` or `acr`) is the expected one, if one is expected.
    pub fn has_policy(&self, policy: Option<&str>) -> bool {
        let Some(policy) = policy else { return true };
        let named = text(&self.claims, "tfp").or_else(|| text(&self.claims, "acr"));
        named.is_some_and(|named| named.eq_ignore_ascii_case(policy))
    }

    /// Checks signature, issuer, audience, times and kind.
    pub fn verify(
        &self,
        keys: &Keys,
        expected: &Expectation<'_>,
        now: Timestamp,
    ) -> Result<Claims, Refusal> {
        let (algorithm, key) = keys.get(&self.kid).ok_or(Refusal("no such key"))?;
        if algorithm != self.algorithm {
            return Err(Refusal("the algorithm is not the key's"));
        }
        check_signature(self.signed, self.signature, key, algorithm)?;
        if self.issuer() != Some(expected.issuer) || !self.has_policy(expected.policy) {
            return Err(Refusal("another issuer or policy"));
        }
        check_audience(&self.claims, expected.audiences)?;
        check_times(&self.claims, now)?;
        check_kind(&self.claims)?;
        Ok(Claims(self.claims.clone()))
    }
}

impl Claims {
    /// A claim that is one string.
    pub fn text(&self, name: &str) -> Option<&str> {
        text(&self.0, name)
    }

    /// The user's e-mail address, unless the issuer says that it is not verified.
    pub fn email(&self) -> Option<&str> {
        let verified = self
            .0
            .get("email_verified")
            .is_none_or(|v| v == &Value::Bool(true) || v == "true");
        self.text("email")
            .filter(|email| verified && email.contains('@'))
    }
}

fn decode(segment: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| Refusal("a segment is not canonical base64url"))
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn check_signature(
    signed: &str,
    signature: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<(), Refusal> {
    match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Refusal("the signature does not match")),
    }
}

/// `aud` as a string or an array of strings. Cognito's access tokens have none and name the app in
/// `client_id` instead:
/// <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html>
fn check_audience(claims: &Map<String, Value>, audiences: &[String]) -> Result<(), Refusal> {
    let is_ours = |value: &Value| {
        value
            .as_str()
            .is_some_and(|aud| audiences.iter().any(|ours| ours == aud))
    };
    let accepted = match claims.get("aud") {
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string) && several.iter().any(is_ours)
        }
        Some(one) => is_ours(one),
        None => {
            text(claims, "token_use") == Some("access")
                && claims.get("client_id").is_some_and(is_ours)
        }
    };
    if accepted {
        Ok(())
    } else {
        Err(Refusal("another audience"))
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    let seconds = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        // Only whole seconds within the range of dates: 1e19 and 9.9e18 are no times.
        Some(value) => value
            .as_i64()
            .filter(|seconds| Timestamp::from_second(*seconds).is_ok())
            .map(Some)
            .ok_or(Refusal("a time is no whole number of seconds")),
    };
    let expires_at = seconds("exp")?.ok_or(Refusal("no exp"))?;
    if expires_at <= now {
        return Err(Refusal("expired"));
    }
    for name in ["nbf", "iat"] {
        if seconds(name)?.is_some_and(|from| from > now.saturating_add(NOT_BEFORE_LEEWAY_SECONDS)) {
            return Err(Refusal("not valid yet"));
        }
    }
    Ok(())
}

/// An ID token says who signed in to a frontend; it is not a permission to call us. Providers mark it
/// by `token_use` (Cognito) or by what only an ID token carries. Azure AD B2C copies `nonce` into
/// access tokens too, but those have a scope.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Refusal> {
    if claims
        .get("token_use")
        .is_some_and(|token_use| token_use != "access")
    {
        return Err(Refusal("not an access token"));
    }
    let has_scope = claims.contains_key("scp") || claims.contains_key("scope");
    let of_id_token = ["at_hash", "c_hash", "nonce"]
        .iter()
        .any(|name| claims.contains_key(*name));
    if of_id_token && !has_scope {
        return Err(Refusal("an ID token is not an access token"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
