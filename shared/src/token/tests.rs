//! Tokens are made with real keys, then bent one rule at a time.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::json;

use super::*;

mod keys;
mod providers;

const NOW: i64 = 1_790_000_000;

struct Issuer {
    rsa: KeyPair,
    jwks: Value,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn issuer_of(size: KeySize) -> Issuer {
    let rsa = KeyPair::generate(size).unwrap();
    let public: PublicKeyComponents<Vec<u8>> = rsa.public_key().into();
    let jwks = json!({"keys": [
        {"kid": "one", "kty": "RSA", "use": "sig", "alg": "RS256", "n": encode(&public.n), "e": encode(&public.e)},
    ]});
    Issuer { rsa, jwks }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "sub": "alice", "aud": "tollgate", "iat": NOW, "nbf": NOW,
        "exp": NOW + 3600,
    })
}

impl Issuer {
    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{signed}.{}", encode(signature))
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.sign(&header.to_string(), &claims.to_string())
    }

    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = claims();
        claims[name] = value;
        self.token(&header(), &claims)
    }

    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        verify(token, &self.jwks, None)
    }
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "at+jwt", "kid": "one"})
}

fn verify(token: &str, jwks: &Value, policy: Option<&str>) -> Result<Claims, Refusal> {
    let keys = Keys::parse(jwks.to_string().as_bytes()).unwrap();
    let audiences = ["tollgate".to_owned()];
    let expected = Expectation {
        issuer: "https://issuer.example",
        audiences: &audiences,
        policy,
    };
    Unverified::parse(token)?.verify(&keys, &expected, Timestamp::from_second(NOW).unwrap())
}

#[test]
fn a_good_token_is_accepted() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let verified = issuer.verify(&issuer.token(&header(), &claims())).unwrap();
    assert_eq!(verified.text("sub"), Some("alice"));
    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt"] {
        let header = json!({"alg": "RS256", "kid": "one", "typ": typ});
        assert!(
            issuer.verify(&issuer.token(&header, &claims())).is_ok(),
            "{typ}"
        );
    }
    assert!(
        issuer
            .verify(&issuer.token(&json!({"alg": "RS256", "kid": "one"}), &claims()))
            .is_ok()
    );
    assert!(
        issuer
            .verify(&issuer.with("aud", json!(["other", "tollgate"])))
            .is_ok()
    );
    assert!(issuer.verify(&issuer.with("nbf", json!(NOW + 30))).is_ok());
}

#[test]
fn cognito_names_the_client_instead_of_an_audience() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let mut cognito = claims();
    cognito.as_object_mut().unwrap().remove("aud");
    cognito["client_id"] = json!("tollgate");
    assert_eq!(
        issuer
            .verify(&issuer.token(&header(), &cognito))
            .unwrap_err(),
        Refusal("another audience")
    );
    cognito["token_use"] = json!("access");
    assert!(issuer.verify(&issuer.token(&header(), &cognito)).is_ok());
    cognito["token_use"] = json!("id");
    assert!(issuer.verify(&issuer.token(&header(), &cognito)).is_err());
}

#[test]
fn f34_claims_outside_the_grammar_are_refused() {
    let issuer = issuer_of(KeySize::Rsa2048);
    for (name, value) in [
        ("iss", json!(["https://issuer.example"])),
        ("iss", json!("https://issuer.example/")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!([])),
        ("aud", json!(["tollgate", 7])),
        ("aud", json!(null)),
        ("exp", json!(NOW)),
        ("exp", json!(NOW - 1)),
        ("exp", json!(1e19)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(9_007_199_254_740_993_i64)),
        ("exp", json!((NOW + 60).to_string())),
        ("exp", json!(null)),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("now")),
        ("iat", json!(NOW + 31)),
        ("token_use", json!("id")),
        ("nonce", json!("n")),
        ("at_hash", json!("h")),
    ] {
        assert!(
            issuer.verify(&issuer.with(name, value.clone())).is_err(),
            "{name}: {value}"
        );
    }
    for name in ["iss", "aud", "exp"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(name);
        assert!(
            issuer.verify(&issuer.token(&header(), &without)).is_err(),
            "without {name}"
        );
    }
}

#[test]
fn f34_headers_outside_the_grammar_are_refused() {
    let issuer = issuer_of(KeySize::Rsa2048);
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jwk", json!({})),
        ("jku", json!("https://evil.example")),
        ("x5u", json!("https://evil.example")),
        ("b64", json!(false)),
        ("typ", json!("logout+jwt")),
        ("typ", json!("id+jwt")),
        ("typ", json!(7)),
        ("kid", json!("two")),
        ("kid", json!(7)),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("PS256")),
        ("alg", json!("RS512")),
        ("alg", json!("ES256")),
        ("alg", json!("rs256")),
    ] {
        let mut header = header();
        header[name] = value.clone();
        assert!(
            issuer.verify(&issuer.token(&header, &claims())).is_err(),
            "{name}: {value}"
        );
    }
}

#[test]
fn the_form_is_three_canonical_segments() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let good = issuer.token(&header(), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let unsigned = format!(
        "{}.{}.",
        encode(r#"{"alg":"none"}"#),
        encode(claims().to_string())
    );
    let padded = format!("{signed}.{signature}==");
    let spaced = format!("{signed}. {signature}");
    let four = format!("{good}.{signature}");
    let long = format!("{}{good}", "a".repeat(TOKEN_LIMIT_BYTES));
    for bad in [
        "",
        "..",
        "a.b",
        "a.b.c",
        &unsigned,
        &padded,
        &spaced,
        &four,
        &long,
        signed,
        &format!("{signed}."),
    ] {
        assert!(issuer.verify(bad).is_err(), "{bad}");
    }
    let twice = issuer.sign(
        &header().to_string(),
        &claims().to_string().replacen('{', r#"{"sub":"eve","#, 1),
    );
    assert_eq!(
        issuer.verify(&twice).unwrap_err(),
        Refusal("the payload is no JSON object")
    );
    let altered = good.replacen(
        signed.split_once('.').unwrap().1,
        &encode(claims().to_string().replace("alice", "mallo")),
        1,
    );
    assert_eq!(
        issuer.verify(&altered).unwrap_err(),
        Refusal("the signature does not match")
    );
}

#[test]
fn an_address_that_the_issuer_has_not_verified_is_not_taken() {
    let issuer = issuer_of(KeySize::Rsa2048);
    for (email, verified, taken) in [
        ("alice@example.com", json!(true), true),
        ("alice@example.com", json!("true"), true),
        ("alice@example.com", json!(false), false),
        ("alice@example.com", json!("false"), false),
        ("alice@example.com", json!(1), false),
        ("alice", json!(true), false),
    ] {
        let mut claims = claims();
        claims["email"] = json!(email);
        claims["email_verified"] = verified.clone();
        let claims = issuer.verify(&issuer.token(&header(), &claims)).unwrap();
        assert_eq!(claims.email(), taken.then_some(email), "{email} {verified}");
    }
    let unsaid = issuer
        .verify(&issuer.with("email", json!("alice@example.com")))
        .unwrap();
    assert_eq!(unsaid.email(), Some("alice@example.com"));
}

#[test]
fn the_longest_token_is_of_that_length_exactly() {
    let token = |length: usize| format!("{}.{}.{}", "a", "b", "c".repeat(length - 4));
    let refusal = |length| Unverified::parse(&token(length)).unwrap_err();
    assert_ne!(refusal(TOKEN_LIMIT_BYTES), Refusal("the token is too long"));
    assert_eq!(
        refusal(TOKEN_LIMIT_BYTES + 1),
        Refusal("the token is too long")
    );
}

#[test]
fn azure_b2c_names_its_policy_and_may_carry_a_nonce() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let mut b2c = claims();
    b2c["tfp"] = json!("B2C_1_SignIn");
    b2c["nonce"] = json!("n");
    b2c["scp"] = json!("billing");
    let token = issuer.token(&header(), &b2c);
    assert!(verify(&token, &issuer.jwks, Some("b2c_1_signin")).is_ok());
    assert!(verify(&token, &issuer.jwks, Some("B2C_1_Reset")).is_err());
    assert!(
        verify(
            &issuer.token(&header(), &claims()),
            &issuer.jwks,
            Some("B2C_1_SignIn")
        )
        .is_err()
    );
}
