//! What the issuer publishes verifies what it signs.

use super::*;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Validation, decode, decode_header};

fn issuer() -> Issuer {
    Issuer::open("http://localhost:9000".into(), Clock::System, &Data::Memory).unwrap()
}

fn published(issuer: &Issuer) -> JwkSet {
    serde_json::from_value(issuer.key_set()).unwrap()
}

fn request(admin: bool, expires_in: Option<i64>) -> TokenRequest {
    TokenRequest {
        user: "alice".into(),
        admin,
        expires_in,
    }
}

#[test]
fn a_token_verifies_by_the_published_keys_before_and_after_a_rotation() {
    let issuer = issuer();
    let before = issuer.access_token(&request(true, None)).unwrap();
    issuer.rotate(false).unwrap();
    let after = issuer.access_token(&request(false, None)).unwrap();
    let keys = published(&issuer);
    for (token, roles) in [(before, json!(["admin"])), (after, Value::Null)] {
        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let jwk = keys.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&["http://localhost:9000"]);
        let claims = decode::<Value>(&token, &DecodingKey::from_jwk(jwk).unwrap(), &validation)
            .unwrap()
            .claims;
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["email"], "alice@example.com");
        assert_eq!(claims["roles"], roles);
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            DEFAULT_LIFETIME_SECONDS
        );
    }
    issuer.rotate(true).unwrap();
    assert_eq!(published(&issuer).keys.len(), 1);
}

#[test]
fn a_negative_lifetime_gives_an_expired_token() {
    let answer = issuer().token(&request(false, Some(-60))).unwrap();
    assert_eq!(answer["expires_in"], -60);
}

#[test]
fn a_user_needs_a_name() {
    for user in ["", "a b", "ä", "\n"] {
        let request = TokenRequest {
            user: user.into(),
            admin: false,
            expires_in: None,
        };
        assert!(
            matches!(issuer().token(&request), Err(Error::User)),
            "{user:?}"
        );
    }
}
