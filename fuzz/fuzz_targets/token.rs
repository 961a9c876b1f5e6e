//! Proves of access tokens: whatever arrives does not panic, and what is accepted is exactly what a second
//! reading of the rules accepts: three canonical segments, the one signature that the named key makes
//! (Ed25519 signatures are deterministic), header and claims inside the grammar.
//!
//! The first byte says what the rest is: `s` header and payload, a line each, that are signed for real; `c`
//! choices of their members, of which the first is good each time; `m` a good token of which one byte is
//! changed; `k` a JWK set; anything else is a token as it is.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use shared::token::{Expectation, Keys, Unverified};

const NOW: i64 = 1_790_000_000;
const ISSUER: &str = "https://issuer.example";
/// The last second that is a date: the end of the year 9999, less the widest offset of a time zone.
const LAST_SECOND: i64 = 253_402_207_200;
const GOOD_HEADER: &[u8] = br#"{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}"#;
const GOOD_PAYLOAD: &[u8] =
    br#"{"iss":"https://issuer.example","sub":"alice","aud":"tollgate","exp":1790003600}"#;

/// Public keys whose private halves nobody has: what names them is never accepted.
const RSA_MODULUS: &str = "rKEagUN1B9PpqexfQnacYED7SCCYM8ejOM4kc9j0yyAYilyeGLBmwtAtRjeboSkWwlcx7kaWpbJtzgvEleQjwBCpUWLgddGwR4v-Kgc7OW4ckkKpG_-KSiD28kj2LEv-aWdXcgk-3QuqXmytjRoo910gnXQUEMw9ekg8_bQA8xR3knWmw87NaLjCGrvhe_JKwpFJQbKKpJrWQ5Xb2nhPusmnVwvDTJ4YIZooi5pmX-huV7pgOeDMqmiWTs3FpTk7W8F2hgOY4rFKugM1lJb_PcsEwPrQBXP5Wa2Ex3UnDfxooUp0eCWw1XWSejQabVVcQ6XvS7GzuQUIy_sItgPGcQ";
const EC_X: &str = "yuvRlwDjud8y3GCRZZI-hWvgiNCQfs_lhzjwW4UN3_U";
const EC_Y: &str = "mxD4DnzzIk9JQri4VxsW7mXdIr7opW07bZIjsf_AFMo";

/// What a header may and may not hold, member by member.
const HEADER: &[&[&str]] = &[
    &[
        r#""alg":"EdDSA""#,
        r#""alg":"RS256""#,
        r#""alg":"ES256""#,
        r#""alg":"none""#,
        r#""alg":"eddsa""#,
        "",
    ],
    &[
        r#""kid":"ed""#,
        r#""kid":"ec""#,
        r#""kid":"rsa""#,
        r#""kid":7"#,
        r#""kid":"""#,
        r#""kid":"ed","kid":"ed""#,
        "",
    ],
    &[
        "",
        r#""typ":"at+jwt""#,
        r#""typ":"JWT""#,
        r#""typ":"application/at+jwt""#,
        r#""typ":"id+jwt""#,
        r#""typ":null"#,
        r#""typ":["JWT"]"#,
    ],
    &[
        "",
        r#""crit":[]"#,
        r#""crit":["exp"]"#,
        r#""jwk":{}"#,
        r#""jku":"https://evil.example""#,
        r#""x5u":"https://evil.example""#,
        r#""x5c":[]"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""cty":"JWT""#,
        r#""x":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]"#,
        r#""x":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"#,
    ],
];

/// What a payload may and may not hold, claim by claim.
const CLAIMS: &[&[&str]] = &[
    &[
        r#""iss":"https://issuer.example""#,
        r#""iss":"https://issuer.example/""#,
        r#""iss":["https://issuer.example"]"#,
        r#""iss":null"#,
        "",
    ],
    &[
        r#""aud":"tollgate""#,
        r#""aud":["other","tollgate"]"#,
        r#""aud":["tollgate",7]"#,
        r#""aud":[]"#,
        r#""aud":"other""#,
        r#""aud":null"#,
        "",
    ],
    &[
        r#""exp":1790003600"#,
        r#""exp":1790000001"#,
        r#""exp":1790000000"#,
        r#""exp":253402207200"#,
        r#""exp":253402207201"#,
        r#""exp":1e19"#,
        r#""exp":1790003600.0"#,
        r#""exp":"1790003600""#,
        r#""exp":18446744073709551615"#,
        r#""exp":null"#,
        "",
    ],
    &[
        "",
        r#""nbf":1790000030"#,
        r#""nbf":1790000031"#,
        r#""nbf":-1"#,
        r#""nbf":"now""#,
        r#""nbf":null"#,
    ],
    &[
        "",
        r#""iat":1790000030"#,
        r#""iat":1790000031"#,
        r#""iat":-1e19"#,
        r#""iat":null"#,
    ],
    &[
        "",
        r#""token_use":"access""#,
        r#""token_use":"id""#,
        r#""token_use":null"#,
    ],
    &["", r#""client_id":"tollgate""#, r#""client_id":"other""#],
    &[
        "",
        r#""nonce":"n""#,
        r#""at_hash":"h""#,
        r#""c_hash":null"#,
        r#""scp":"billing""#,
        r#""nonce":"n","scope":"""#,
    ],
    &[
        "",
        r#""sub":"alice""#,
        r#""sub":"alice","\u0073ub":"eve""#,
        r#""x":{"sub":1,"sub":2}"#,
    ],
];

struct Fixed {
    signer: Ed25519KeyPair,
    keys: Keys,
    audiences: [String; 1],
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let signer = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = URL_SAFE_NO_PAD.encode(signer.public_key());
    let jwks = json!({"keys": [
        {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": public},
        {"kid": "ec", "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y},
        {"kid": "rsa", "kty": "RSA", "n": RSA_MODULUS, "e": "AQAB"},
    ]});
    let keys = Keys::parse(jwks.to_string().as_bytes()).unwrap();
    assert!(
        ["ed", "ec", "rsa"]
            .iter()
            .all(|kid| keys.get(kid).is_some())
    );
    Fixed {
        signer,
        keys,
        audiences: ["tollgate".to_owned()],
    }
});

fuzz_target!(|input: &[u8]| {
    match input {
        [b's', rest @ ..] => {
            let line = rest.iter().position(|byte| *byte == b'\n');
            if let Some(at) = line {
                check(&signed(&rest[..at], &rest[at + 1..]));
            }
        }
        [b'c', choices @ ..] => {
            let mut choices = choices.iter();
            let mut object = |tables: &[&'static [&'static str]]| {
                let chosen: Vec<&str> = tables
                    .iter()
                    .map(|table| table[usize::from(*choices.next().unwrap_or(&0)) % table.len()])
                    .filter(|member| !member.is_empty())
                    .collect();
                format!("{{{}}}", chosen.join(","))
            };
            let (header, payload) = (object(HEADER), object(CLAIMS));
            check(&signed(header.as_bytes(), payload.as_bytes()));
        }
        [b'm', high, low, byte, ..] => {
            let mut token = signed(GOOD_HEADER, GOOD_PAYLOAD).into_bytes();
            let at = usize::from(u16::from_be_bytes([*high, *low])) % token.len();
            token[at] = *byte;
            if let Ok(token) = String::from_utf8(token) {
                check(&token);
            }
        }
        [b'k', jwks @ ..] => drop(Keys::parse(jwks)),
        other => {
            if let Ok(token) = str::from_utf8(other) {
                check(token);
            }
        }
    }
});

fn signed(header: &[u8], payload: &[u8]) -> String {
    let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(header), encode(payload));
    let signature = FIXED.signer.sign(signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

fn check(token: &str) {
    let expected = Expectation {
        issuer: ISSUER,
        audiences: &FIXED.audiences,
        policy: None,
    };
    let now = Timestamp::from_second(NOW).unwrap();
    let verdict =
        Unverified::parse(token).and_then(|token| token.verify(&FIXED.keys, &expected, now));
    assert_eq!(verdict.is_ok(), is_good(token), "{verdict:?} {token}");
}

/// The rules once more, from the design and not from the code.
fn is_good(token: &str) -> bool {
    let segments: Vec<&str> = token.split('.').collect();
    let [header, payload, _] = segments[..] else {
        return false;
    };
    let (Some(header), Some(payload)) = (decode(header), decode(payload)) else {
        return false;
    };
    // The signature is compared as text, with the only one that the key makes.
    token.len() <= 8192
        && token == signed(&header, &payload)
        && object(&header).is_some_and(|header| is_good_header(&header))
        && object(&payload).is_some_and(|claims| are_good_claims(&claims))
}

fn decode(segment: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    (URL_SAFE_NO_PAD.encode(&bytes) == segment).then_some(bytes)
}

/// A JSON object of bounded depth without duplicate members: it has as many members as its text has colons
/// outside of strings.
fn object(json: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(members)) = serde_json::from_slice(json) else {
        return None;
    };
    let (mut colons, mut depth, mut deepest) = (0_usize, 0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b':' => colons += 1,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    let whole = Value::Object(members);
    let is_strict = count(&whole) == colons && deepest <= 16;
    match whole {
        Value::Object(members) if is_strict => Some(members),
        _ => None,
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count).sum::<usize>(),
        Value::Array(entries) => entries.iter().map(count).sum(),
        _ => 0,
    }
}

fn is_good_header(header: &Map<String, Value>) -> bool {
    let refused = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip"];
    let typ = header.get("typ").map(|typ| typ.as_str().unwrap_or("?"));
    header.get("alg").is_some_and(|alg| alg == "EdDSA")
        && header.get("kid").is_some_and(|kid| kid == "ed")
        && !refused.iter().any(|name| header.contains_key(*name))
        && typ.is_none_or(|typ| {
            ["jwt", "at+jwt", "application/at+jwt"].contains(&&*typ.to_ascii_lowercase())
        })
}

fn are_good_claims(claims: &Map<String, Value>) -> bool {
    let has = |name: &str| claims.contains_key(name);
    let is = |name: &str, text: &str| claims.get(name).is_some_and(|value| value == text);
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == "tollgate",
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string) && several.iter().any(|aud| aud == "tollgate")
        }
        Some(_) => false,
        None => is("token_use", "access") && is("client_id", "tollgate"),
    };
    let starts = |name: &str| {
        claims.get(name).is_none_or(|from| {
            from.as_i64()
                .is_some_and(|from| (-377_705_023_201..=NOW + 30).contains(&from))
        })
    };
    let ends = claims
        .get("exp")
        .and_then(Value::as_i64)
        .is_some_and(|exp| (NOW + 1..=LAST_SECOND).contains(&exp));
    let is_id_token = has("at_hash") || has("c_hash") || has("nonce");
    is("iss", ISSUER)
        && is_for_us
        && ends
        && starts("nbf")
        && starts("iat")
        && (!has("token_use") || is("token_use", "access"))
        && (!is_id_token || has("scp") || has("scope"))
}
