//! Each algorithm with its own key and no other, and what is no key at all.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};

use super::*;

#[test]
fn a_key_that_is_ambiguous_or_meant_for_something_else_is_no_key() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let good = issuer.token(&header(), &claims());
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RS512")),
        ("alg", json!("RSA-OAEP")),
        ("kty", json!("EC")),
        ("n", json!(encode(vec![0xff; 128]))),
    ] {
        let mut jwks = issuer.jwks.clone();
        jwks["keys"][0][name] = value.clone();
        assert_eq!(
            verify(&good, &jwks, None).unwrap_err(),
            Refusal("no such key"),
            "{name}: {value}"
        );
    }
    let mut twins = issuer.jwks.clone();
    let twin = twins["keys"][0].clone();
    twins["keys"].as_array_mut().unwrap().push(twin);
    assert_eq!(
        verify(&good, &twins, None).unwrap_err(),
        Refusal("no such key")
    );
    assert!(Keys::parse(b"{}").is_none());
    assert!(
        Keys::parse(br#"{"keys":[{"kid":"x"}]}"#)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn es256_is_accepted_and_only_with_its_own_key() {
    let rng = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let jwks = json!({"keys": [
        {"kid": "ec", "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])},
    ]});
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"ES256","kid":"ec"}"#),
        encode(claims().to_string())
    );
    let signature = pair.sign(&rng, signed.as_bytes()).unwrap();
    assert!(
        verify(
            &format!("{signed}.{}", encode(signature.as_ref())),
            &jwks,
            None
        )
        .is_ok()
    );
    let mut broken = signature.as_ref().to_vec();
    broken[10] ^= 1;
    assert!(verify(&format!("{signed}.{}", encode(broken)), &jwks, None).is_err());
}

#[test]
fn eddsa_is_accepted_and_only_with_its_own_key() {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let jwk = json!({"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())});
    let header = encode(r#"{"alg":"EdDSA","kid":"ed"}"#);
    let signed = format!("{header}.{}", encode(claims().to_string()));
    let signature = pair.sign(signed.as_bytes());
    let jwks = json!({"keys": [jwk]});
    assert!(
        verify(
            &format!("{signed}.{}", encode(signature.as_ref())),
            &jwks,
            None
        )
        .is_ok()
    );
    let mut broken = signature.as_ref().to_vec();
    broken[10] ^= 1;
    assert!(verify(&format!("{signed}.{}", encode(broken)), &jwks, None).is_err());
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let issuer = issuer_of(KeySize::Rsa2048);
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"HS256","kid":"one"}"#),
        encode(claims().to_string())
    );
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        issuer.jwks["keys"][0]["n"].as_str().unwrap().as_bytes(),
    );
    let token = format!(
        "{signed}.{}",
        encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()))
    );
    assert_eq!(
        issuer.verify(&token).unwrap_err(),
        Refusal("the algorithm is not allowed")
    );
}
