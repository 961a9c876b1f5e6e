//! The keys of one issuer, read from its JWK set. <https://www.rfc-editor.org/rfc/rfc7517>
//!
//! A key that is weak, meant for something else or not unmistakable is not a key.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The most keys that are read from one set.
const KEYS_MAX: usize = 64;

/// The smallest and the largest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Verification keys by `kid`, each with its one algorithm.
#[derive(Clone, Debug, Default)]
pub struct Keys(HashMap<String, (Algorithm, DecodingKey)>);

impl Keys {
    /// Reads a JWK set; keys that cannot be used are left out, and so are all that share a `kid`.
    /// `None` when it is no JWK set.
    pub fn parse(jwks: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(jwks).ok()?;
        let entries = document.get("keys")?.as_array()?;
        let mut keys = HashMap::new();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for entry in entries.iter().take(KEYS_MAX) {
            let Some(kid) = entry.get("kid").and_then(Value::as_str) else {
                continue;
            };
            *seen.entry(kid).or_default() += 1;
            if let Some(key) = usable(entry) {
                keys.insert(kid.to_owned(), key);
            }
        }
        keys.retain(|kid, _| seen.get(kid.as_str()) == Some(&1));
        Some(Self(keys))
    }

    /// The key of that id and the algorithm it is for.
    pub fn get(&self, kid: &str) -> Option<(Algorithm, &DecodingKey)> {
        self.0.get(kid).map(|(algorithm, key)| (*algorithm, key))
    }

    /// Whether there is no usable key at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn usable(jwk: &Value) -> Option<(Algorithm, DecodingKey)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let for_signatures = match jwk.get("use") {
        None => true,
        Some(usage) => usage == "sig",
    };
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(operations) => operations
            .as_array()?
            .iter()
            .any(|operation| operation == "verify"),
    };
    if !for_signatures || !verifies {
        return None;
    }
    let (algorithm, name, key) = match (text("kty")?, text("crv")) {
        ("RSA", None) => {
            let (n, e) = (text("n")?, text("e")?);
            if !RSA_BITS.contains(&bits(n)?) {
                return None;
            }
            (
                Algorithm::RS256,
                "RS256",
                DecodingKey::from_rsa_components(n, e).ok()?,
            )
        }
        ("EC", Some("P-256")) => (
            Algorithm::ES256,
            "ES256",
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?,
        ),
        ("OKP", Some("Ed25519")) => (
            Algorithm::EdDSA,
            "EdDSA",
            DecodingKey::from_ed_components(text("x")?).ok()?,
        ),
        _ => return None,
    };
    match jwk.get("alg") {
        None => Some((algorithm, key)),
        Some(stated) if stated == name => Some((algorithm, key)),
        Some(_) => None,
    }
}

fn bits(modulus: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(modulus).ok()?;
    let leading = bytes.iter().take_while(|byte| **byte == 0).count();
    let significant = bytes.get(leading..)?;
    let first = significant.first()?;
    Some(significant.len() * 8 - usize::try_from(first.leading_zeros()).ok()?)
}
