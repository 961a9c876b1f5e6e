//! Who is calling: verifies access tokens with the keys that the issuers publish.
//!
//! Keys are cached, re-read for an unknown `kid` at a bounded rate, and kept within a bound while the
//! issuer cannot be reached. The grammar of tokens is `token`'s.

use jiff::{SignedDuration, Timestamp};
use lambda_http::Request;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::config::{self, Environment};
use crate::http::{Endpoint, HttpClient};
use crate::ids::{ID_LIMIT_BYTES, UserId};
use crate::problem::Problem;
use crate::request;
use crate::token::{Claims, Expectation, Keys, Refusal, Unverified};

/// How long keys are used before they are read again.
const KEYS_FRESH: SignedDuration = SignedDuration::from_hours(6);

/// How long keys go on being used while the issuer cannot be reached.
const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(72);

/// The least time between two reads of an issuer's keys, whatever tokens arrive.
const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// The longest that one call to an issuer takes.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Where OpenID Connect issuers publish their configuration.
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// A user whose access token was verified.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is, as `ACCOUNT_CLAIM` says.
    pub user_id: UserId,
    /// The verified e-mail address, for Stripe's receipts. Never logged.
    pub email: Option<String>,
}

/// Verifies access tokens of the configured issuers.
#[derive(Debug)]
pub struct Authenticator {
    issuers: Vec<Issuer>,
    audiences: Vec<String>,
    account_claim: String,
}

#[derive(Debug)]
struct Issuer {
    endpoint: Endpoint,
    http: HttpClient,
    discovery_path: String,
    /// The issuer's name when the configuration gives it; a discovery URL alone leaves it to the
    /// document behind it.
    name: Option<String>,
    policy: Option<String>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    tried_at: Option<Timestamp>,
    read: Option<Read>,
}

#[derive(Clone, Debug)]
struct Read {
    at: Timestamp,
    issuer: String,
    keys: Keys,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Authenticator {
    /// Reads `OIDC_ISSUERS`, `OIDC_AUDIENCE` and `ACCOUNT_CLAIM` (`sub` if unset). Contacts no issuer
    /// yet.
    ///
    /// An entry of `OIDC_ISSUERS` is an issuer or the full URL of its discovery document; the latter is
    /// how Azure AD B2C names a policy.
    pub fn new(environment: &Environment, http: &HttpClient) -> Result<Self, config::Error> {
        let issuers: Result<Vec<Issuer>, config::Error> = environment
            .require_list("OIDC_ISSUERS")?
            .iter()
            .map(|entry| Issuer::new(entry, http))
            .collect();
        Ok(Self {
            issuers: issuers?,
            audiences: environment.require_list("OIDC_AUDIENCE")?,
            account_claim: environment.get("ACCOUNT_CLAIM").unwrap_or("sub").to_owned(),
        })
    }

    /// The caller of `request`, from its `Authorization: Bearer …`.
    ///
    /// Every refusal is the same `unauthenticated`; `try_again` when no issuer could be asked.
    pub async fn authenticate(&self, request: &Request, now: Timestamp) -> Result<Caller, Problem> {
        let token = request::bearer(request).ok_or_else(|| refused(Refusal("no token")))?;
        let claims = self.verify(token, now).await?;
        self.caller(&claims)
            .ok_or_else(|| refused(Refusal("ACCOUNT_CLAIM is missing or not an id")))
    }

    async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Problem> {
        let unverified = Unverified::parse(token).map_err(refused)?;
        let mut unreachable = false;
        let mut refusal = Refusal("another issuer or policy");
        for issuer in &self.issuers {
            if !issuer.may_have_issued(&unverified) {
                continue;
            }
            let Some(read) = issuer.keys(&unverified.kid, now).await else {
                unreachable = true;
                continue;
            };
            let expectation = Expectation {
                issuer: &read.issuer,
                audiences: &self.audiences,
                policy: issuer.policy.as_deref(),
            };
            match unverified.verify(&read.keys, &expectation, now) {
                Ok(claims) => return Ok(claims),
                Err(why) => refusal = why,
            }
        }
        if unreachable {
            Err(Problem::TryAgain)
        } else {
            Err(refused(refusal))
        }
    }

    fn caller(&self, claims: &Claims) -> Option<Caller> {
        let user_id = claims.text(&self.account_claim)?;
        let usable = user_id.len() <= ID_LIMIT_BYTES && !user_id.chars().any(char::is_control);
        usable.then(|| Caller {
            user_id: user_id.into(),
            email: claims.email().map(str::to_owned),
        })
    }
}

fn refused(refusal: Refusal) -> Problem {
    tracing::info!(
        AccessDenied = 1_u64,
        reason = refusal.0,
        "access token refused"
    );
    Problem::Unauthenticated
}

impl Issuer {
    fn new(entry: &str, http: &HttpClient) -> Result<Self, config::Error> {
        let invalid = config::Error::Invalid {
            name: "OIDC_ISSUERS",
            why: "each entry is an https:// issuer or the URL of its discovery document (http:// only for localhost)",
        };
        let (name, discovery) = match entry.strip_suffix(DISCOVERY_PATH) {
            Some(_) => (None, entry.to_owned()),
            None if entry.contains(DISCOVERY_PATH) => (None, entry.to_owned()),
            None => (
                Some(entry.to_owned()),
                format!("{}{DISCOVERY_PATH}", entry.trim_end_matches('/')),
            ),
        };
        let url = Url::parse(&discovery)
            .ok()
            .filter(is_trustworthy)
            .ok_or(invalid)?;
        Ok(Self {
            endpoint: http.endpoint("oidc", &origin(&url), TIMEOUT),
            http: http.clone(),
            discovery_path: path_and_query(&url),
            name,
            policy: b2c_policy(&url),
            cache: Mutex::default(),
        })
    }

    /// Only the issuer that a token names is asked for keys, so that a made-up token costs no request.
    fn may_have_issued(&self, token: &Unverified<'_>) -> bool {
        let named = self
            .name
            .as_deref()
            .is_none_or(|name| token.issuer() == Some(name));
        named && token.has_policy(self.policy.as_deref())
    }

    /// The keys, read again when they are old or lack `kid`, and no more often than
    /// [`REFRESH_INTERVAL`]. Holding the lock over the call makes parallel callers share it.
    async fn keys(&self, kid: &str, now: Timestamp) -> Option<Read> {
        let mut cache = self.cache.lock().await;
        let enough = cache.read.as_ref().is_some_and(|read| {
            read.keys.get(kid).is_some() && now.duration_since(read.at) < KEYS_FRESH
        });
        let tried = cache
            .tried_at
            .is_some_and(|at| now.duration_since(at).abs() < REFRESH_INTERVAL);
        if !enough && !tried {
            cache.tried_at = Some(now);
            match self.read(now).await {
                Some(read) => cache.read = Some(read),
                None => tracing::warn!("an issuer's keys could not be read"),
            }
        }
        cache
            .read
            .clone()
            .filter(|read| now.duration_since(read.at) < KEYS_KEPT)
    }

    async fn read(&self, now: Timestamp) -> Option<Read> {
        let document = get(&self.endpoint, &self.discovery_path).await?;
        let document: Discovery = serde_json::from_slice(&document).ok()?;
        if self
            .name
            .as_ref()
            .is_some_and(|name| *name != document.issuer)
        {
            tracing::error!("the discovery document names another issuer than OIDC_ISSUERS");
            return None;
        }
        let url = Url::parse(&document.jwks_uri).ok().filter(is_trustworthy)?;
        let endpoint = self.http.endpoint("oidc", &origin(&url), TIMEOUT);
        let keys = Keys::parse(&get(&endpoint, &path_and_query(&url)).await?)?;
        (!keys.is_empty()).then_some(Read {
            at: now,
            issuer: document.issuer,
            keys,
        })
    }
}

async fn get(endpoint: &Endpoint, path: &str) -> Option<Vec<u8>> {
    match endpoint
        .send("GET", path, &[("accept", "application/json")], None)
        .await
    {
        Ok(response) if response.status == 200 => Some(response.body),
        Ok(response) => {
            tracing::warn!(
                status = response.status,
                "the issuer answered with an error"
            );
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the issuer did not answer");
            None
        }
    }
}

fn is_trustworthy(url: &Url) -> bool {
    let is_local = matches!(
        url.host_str(),
        Some("localhost" | "127.0.0.1" | "[::1]" | "host.docker.internal")
    );
    url.scheme() == "https" || (url.scheme() == "http" && is_local)
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn path_and_query(url: &Url) -> String {
    url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    )
}

/// Azure AD B2C has one issuer for all its policies and names the policy in the discovery URL, in the
/// path or as `p=`: <https://learn.microsoft.com/en-us/azure/active-directory-b2c/tokens-overview>
fn b2c_policy(discovery: &Url) -> Option<String> {
    let in_path = discovery
        .path_segments()?
        .find(|segment| segment.to_ascii_lowercase().starts_with("b2c_1"));
    let in_query = || {
        discovery
            .query_pairs()
            .find(|(name, _)| name == "p")
            .map(|(_, policy)| policy.into_owned())
    };
    in_path.map(str::to_owned).or_else(in_query)
}
