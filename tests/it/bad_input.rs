//! Bad input: each its documented problem and status, and nothing is written.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use local::issuer::TokenRequest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, World};

const CHECKOUT: &str = "/api/billing/checkout-session";

fn assert_problem(answer: &Answer, status: u16, code: &str, case: &str) {
    assert_eq!(
        (answer.status, answer.body["code"].as_str()),
        (status, Some(code)),
        "{case}: {answer:?}"
    );
    assert_eq!(answer.body["status"], status, "{case}");
    assert!(
        !answer.body["detail"].as_str().unwrap().is_empty(),
        "{case}"
    );
}

#[tokio::test]
async fn f34_a_token_that_is_not_good_is_refused_and_all_refusals_look_alike() {
    let world = World::start().await;
    let elsewhere = World::start().await;
    let issuer = world.stack.issuer();
    let kid = issuer.key_id();
    let now = world.now().as_second();
    let claims = json!({
        "iss": world.variable("OIDC_ISSUERS"), "sub": "alice", "aud": "tollgate", "iat": now, "exp": now + 60,
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer
            .sign(
                &json!({"alg": "RS256", "kid": kid, "typ": "at+jwt"}),
                &claims,
            )
            .unwrap()
    };
    let raw = |header: &Value, signature: &[u8]| {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!(
            "{}.{}.{}",
            part(header),
            part(&claims),
            URL_SAFE_NO_PAD.encode(signature)
        )
    };
    let expired = TokenRequest {
        expires_in: Some(-1),
        ..TokenRequest::user("alice")
    };
    let good = with("sub", json!("alice"));
    let cases = [
        ("expired", issuer.access_token(&expired).unwrap()),
        ("another issuer's", elsewhere.token("alice")),
        (
            "iss of another",
            with("iss", json!("https://elsewhere.example")),
        ),
        (
            "iss an array",
            with("iss", json!([world.variable("OIDC_ISSUERS")])),
        ),
        ("another audience", with("aud", json!("elsewhere"))),
        ("not yet valid", with("nbf", json!(now + 3600))),
        ("exp too large", with("exp", json!(1e19))),
        ("no user", with("sub", json!(""))),
        ("alg none", raw(&json!({"alg": "none", "kid": kid}), b"")),
        (
            "HS256",
            raw(
                &json!({"alg": "HS256", "kid": kid}),
                &hs256(&world, &kid, &claims),
            ),
        ),
        (
            "unknown kid",
            raw(&json!({"alg": "RS256", "kid": "unknown"}), b"signature"),
        ),
        (
            "crit",
            issuer
                .sign(
                    &json!({"alg": "RS256", "kid": kid, "crit": ["x"], "x": 1}),
                    &claims,
                )
                .unwrap(),
        ),
        ("altered", good.replacen('.', ".e", 1)),
        ("no token", "x".to_owned()),
        ("too long", "a".repeat(10_000)),
    ];
    let before = world.table().await;
    let mut refusals = std::collections::BTreeSet::new();
    for (case, token) in cases {
        for (method, path) in [(Method::GET, "/api/user/me"), (Method::POST, CHECKOUT)] {
            let body = (method == Method::POST).then(|| br#"{"plan": "pro"}"#.to_vec());
            let answer = world.call(method, path, Some(&token), body).await;
            assert_problem(&answer, 401, "unauthenticated", case);
            refusals.insert(answer.body.to_string());
        }
    }
    let without = world.call(Method::GET, "/api/user/me", None, None).await;
    assert_problem(&without, 401, "unauthenticated", "without");
    refusals.insert(without.body.to_string());
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(world.table().await, before, "nothing is written");
    assert_eq!(
        world
            .call(Method::GET, "/api/user/me", Some(&good), None)
            .await
            .status,
        200
    );
}

/// A signature by the public key taken as a shared secret.
fn hs256(world: &World, kid: &str, claims: &Value) -> Vec<u8> {
    let keys = world.stack.issuer().key_set();
    let modulus = keys["keys"][0]["n"].as_str().unwrap().as_bytes().to_vec();
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "kid": kid})),
        part(claims)
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &modulus);
    aws_lc_rs::hmac::sign(&key, signed.as_bytes())
        .as_ref()
        .to_vec()
}

#[tokio::test]
async fn f28_a_checkout_for_what_is_not_sold_names_the_field() {
    let world = World::start().await;
    let before = world.table().await;
    for (body, field) in [
        (r#"{"plan": "gold"}"#, "plan"),
        (r#"{"plan": "free"}"#, "plan"),
        (r#"{"plan": "pro", "interval": "week"}"#, "body"),
        (r#"{"pack": "tokens_7"}"#, "pack"),
        (
            r#"{"pack": "tokens_1000", "interval": "month"}"#,
            "interval",
        ),
        (r#"{"price_id": "price_unlisted"}"#, "price_id"),
        (r#"{"plan": "pro", "pack": "tokens_1000"}"#, "body"),
        (r"{}", "body"),
        (r#"{"plan": "pro", "amount": 1}"#, "amount"),
        (r#"{"plan": "pro", "trial_days": 900}"#, "trial_days"),
        (r#"{"plan": "pro", "quantity": 0}"#, "quantity"),
        (r#"{"plan": "pro", "quantity": 101}"#, "quantity"),
        (r#"{"plan": "starter", "quantity": 2}"#, "quantity"),
        (r#"{"plan": "pro", "quantity": -1}"#, "body"),
        (r#"{"plan": "pro", "currency": "jpy"}"#, "currency"),
        (
            r#"{"plan": "pro", "success_url": "https://evil.example/"}"#,
            "success_url",
        ),
        (
            r#"{"plan": "pro", "cancel_url": "javascript:alert(1)"}"#,
            "cancel_url",
        ),
        ("plan=pro", "body"),
        ("[1]", "body"),
        ("null", "body"),
        ("{\"plan\": \"pro\"", "body"),
    ] {
        let answer = world
            .call(
                Method::POST,
                CHECKOUT,
                Some(&world.token("alice")),
                Some(body.into()),
            )
            .await;
        assert_problem(&answer, 400, "invalid_request", body);
        assert_eq!(answer.body["field"], field, "{body}: {answer:?}");
    }
    let portal = world
        .post(
            "/api/billing/portal-session",
            "alice",
            &json!({"return_url": "https://evil.example"}),
        )
        .await;
    assert_problem(&portal, 400, "invalid_request", "return_url");
    let long = world
        .call(
            Method::POST,
            CHECKOUT,
            Some(&world.token("alice")),
            Some(vec![b' '; 1 << 20]),
        )
        .await;
    assert_problem(&long, 413, "too_large", "1 MB");
    assert_eq!(world.table().await, before, "nothing is written");
}

#[tokio::test]
async fn f33_a_webhook_that_stripe_did_not_sign_writes_nothing() {
    let world = World::start().await;
    let body = json!({
        "id": "evt_1", "object": "event", "type": "charge.updated", "created": world.now().as_second(),
        "livemode": false, "data": {"object": {"id": "ch_1"}},
    });
    let body = body.to_string().into_bytes();
    let at =
        |seconds: i64| world.signature(&body, world.now() + SignedDuration::from_secs(seconds));
    let good = at(0);
    let other = shared::signature::SigningSecret::new("whsec_of_somebody_else").unwrap();
    let mut altered = body.clone();
    *altered.last_mut().unwrap() = b' ';
    altered.push(b'}');
    let before = world.table().await;
    for (case, signature, body) in [
        ("unsigned", None, &body),
        ("empty", Some(String::new()), &body),
        (
            "another secret",
            Some(shared::signature::sign(&body, &other, world.now())),
            &body,
        ),
        // The clock may tick between signing and checking: a second of room on either side.
        ("stale", Some(at(-301)), &body),
        ("ahead", Some(at(303)), &body),
        ("years ahead", Some(at(315_360_000)), &body),
        (
            "two t",
            Some(format!("{good},t={}", world.now().as_second())),
            &body,
        ),
        ("joined headers", Some(format!("{good}, {good}")), &body),
        ("altered by one byte", Some(good.clone()), &altered),
        (
            "a byte order mark",
            Some(good.clone()),
            &[b"\xEF\xBB\xBF", body.as_slice()].concat(),
        ),
        (
            "no v1",
            Some(good.split(',').next().unwrap().to_owned()),
            &body,
        ),
    ] {
        let answer = world.webhook(body.clone(), signature.as_deref()).await;
        assert_problem(&answer, 400, "invalid_signature", case);
    }
    let long = vec![b'x'; 1 << 20];
    let signature = world.signature(&long, world.now());
    assert_problem(
        &world.webhook(long, Some(&signature)).await,
        413,
        "too_large",
        "1 MB",
    );
    assert_eq!(world.table().await, before, "nothing is written");
    assert_eq!(
        world.webhook(body, Some(&good)).await.body["outcome"],
        "ignored"
    );
}
