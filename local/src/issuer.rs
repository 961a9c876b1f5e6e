//! An OpenID Connect issuer for made-up users: discovery, JSON Web Key Set and signed access tokens.
//!
//! It stands in for Entra, Cognito or Auth0 on one machine. Whoever can reach it is given a token for
//! any user, so it must never be reachable by others.

pub(crate) mod routes;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::data::{self, Data};

/// The audience of every token.
pub const AUDIENCE: &str = "tollgate";

/// How long a token lasts unless asked otherwise: long, so that it outlives the sandbox's clock being
/// advanced through a year.
pub const DEFAULT_LIFETIME_SECONDS: i64 = 400 * 24 * 60 * 60;

const KEY_FILE: &str = "issuer.pk8";

/// What keeps the issuer from starting or signing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key's file cannot be read or written.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// No key could be made.
    #[error("no RSA key could be generated")]
    Generate,
    /// The key's file holds no usable key.
    #[error("{KEY_FILE} holds no RSA key: delete it to have a new one made")]
    Key,
    /// A token could not be signed.
    #[error("a token could not be signed")]
    Sign,
    /// The user's name cannot be a token's subject.
    #[error("a user is named by 1 to 128 printable characters without spaces")]
    User,
}

/// What a token is asked for with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The made-up user, who becomes the token's subject.
    pub user: String,
    /// Whether the token carries the admin role.
    #[serde(default)]
    pub admin: bool,
    /// Lifetime in seconds; a negative one gives a token that has expired.
    pub expires_in: Option<i64>,
}

impl TokenRequest {
    /// For a user who is no admin, with the default lifetime.
    pub fn user(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            admin: false,
            expires_in: None,
        }
    }

    fn lifetime(&self) -> i64 {
        self.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS)
    }
}

/// A running issuer. Cloning it gives the same one.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    url: String,
    clock: Clock,
    key_file: Option<PathBuf>,
    // The last one signs; the ones before are still published.
    keys: RwLock<Vec<Key>>,
}

struct Key {
    pair: RsaKeyPair,
    id: String,
    jwk: Value,
}

impl Issuer {
    /// An issuer known as `url`, with the key kept in `data` or a new one.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub fn open(url: String, clock: Clock, data: &Data) -> Result<Self, Error> {
        let pkcs8 = data.once(KEY_FILE, generate)?;
        let keys = RwLock::new(vec![Key::from_pkcs8(&pkcs8)?]);
        Ok(Self(Arc::new(Inner {
            url,
            clock,
            key_file: data.file(KEY_FILE),
            keys,
        })))
    }

    /// The issuer's HTTP surface.
    pub fn router(&self) -> Router {
        routes::router(self)
    }

    /// A token for a made-up user, as the token endpoint answers.
    ///
    /// # Errors
    /// When the user's name is unusable.
    pub fn token(&self, request: &TokenRequest) -> Result<Value, Error> {
        let access_token = self.access_token(request)?;
        let expires_in = request.lifetime();
        Ok(json!({"access_token": access_token, "token_type": "Bearer", "expires_in": expires_in}))
    }

    /// A token for a made-up user.
    ///
    /// # Errors
    /// When the user's name is unusable.
    pub fn access_token(&self, request: &TokenRequest) -> Result<String, Error> {
        let user = request.user.as_str();
        if user.is_empty() || user.len() > 128 || !user.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::User);
        }
        let issued_at = self.0.clock.now().as_second();
        let mut claims = json!({
            "iss": self.0.url,
            "sub": user,
            "aud": AUDIENCE,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at.saturating_add(request.lifetime()),
            "jti": format!("{:032x}", fastrand::u128(..)),
            "email": if user.contains('@') { user.to_owned() } else { format!("{user}@example.com") },
            "email_verified": true,
        });
        if let (true, Some(claims)) = (request.admin, claims.as_object_mut()) {
            claims.insert("roles".into(), json!(["admin"]));
        }
        let header = json!({"alg": "RS256", "kid": self.key_id(), "typ": "at+jwt"});
        self.sign(&header, &claims)
    }

    /// Signs any header and claims by the current key, for tests of what a verifier must refuse.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, Error> {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.last().ok_or(Error::Sign)?;
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .map_err(|_unspecified| Error::Sign)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let public: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        json!({"keys": public})
    }

    /// Id of the key that signs.
    pub fn key_id(&self) -> String {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.last().map(|key| key.id.clone()).unwrap_or_default()
    }

    /// Signs by a new key from now on. The old ones stay published unless `retire_old`.
    ///
    /// # Errors
    /// When the key cannot be made or kept.
    pub fn rotate(&self, retire_old: bool) -> Result<String, Error> {
        let pkcs8 = generate()?;
        let key = Key::from_pkcs8(&pkcs8)?;
        if let Some(path) = &self.0.key_file {
            data::write_private(path, &pkcs8)?;
        }
        let id = key.id.clone();
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        if retire_old {
            keys.clear();
        }
        keys.push(key);
        Ok(id)
    }
}

fn generate() -> Result<Vec<u8>, Error> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_unspecified| Error::Generate)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_unspecified| Error::Generate)?;
    Ok(der.as_ref().to_vec())
}

impl Key {
    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_rejected| Error::Key)?;
        let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
        let mut jwk = Jwk::from_decoding_key(&public, Some(Algorithm::RS256))
            .map_err(|_unusable| Error::Key)?;
        let id = jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_unusable| Error::Key)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let jwk = serde_json::to_value(jwk).map_err(|_unusable| Error::Key)?;
        Ok(Self { pair, id, jwk })
    }
}
