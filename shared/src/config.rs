//! Configuration from environment variables, parsed once when a function starts.
//!
//! Only a `main.rs` reads the process environment; it hands it over as an [`Environment`]. What is
//! missing or malformed stops the start with the variable's name.

use std::collections::HashMap;

use url::Url;

/// The environment variables that a function was started with.
///
/// Its `Debug` output names the variables but never their values: some of them are secrets.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A variable that is missing or that cannot be used. The value is never shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The variable is not set, or is empty.
    #[error("{0} is not set: set it in the function's environment")]
    Missing(&'static str),
    /// The variable is set to something that cannot be used.
    #[error("{name} is not usable: {why}")]
    Invalid {
        /// Name of the variable.
        name: &'static str,
        /// What is expected instead.
        why: &'static str,
    },
}

impl Environment {
    /// The variable's value; an empty or blank one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The variable's value, which must be set.
    pub fn require(&self, name: &'static str) -> Result<&str, Error> {
        self.get(name).ok_or(Error::Missing(name))
    }

    /// The entries of a comma-separated variable, which must hold at least one.
    pub fn require_list(&self, name: &'static str) -> Result<Vec<String>, Error> {
        let entries: Vec<String> = self
            .require(name)?
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect();
        if entries.is_empty() {
            Err(Error::Missing(name))
        } else {
            Ok(entries)
        }
    }

    /// `LIVEMODE`: whether this deployment works with Stripe's live mode. Every event of the other
    /// mode is recorded as ignored.
    pub fn livemode(&self) -> Result<bool, Error> {
        match self.require("LIVEMODE")? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Error::Invalid {
                name: "LIVEMODE",
                why: "it is either true or false",
            }),
        }
    }
}

/// The addresses a browser may be sent to after Checkout or the Portal (`ALLOWED_URLS`).
///
/// An entry is an absolute URL. A requested address is allowed when it has the entry's scheme, host
/// and port, and its path is the entry's path or lies below it; the query is free. The first entry is
/// where a request that names no address leads.
#[derive(Clone, Debug)]
pub struct AllowedUrls(Vec<Url>);

impl AllowedUrls {
    /// Reads `ALLOWED_URLS`.
    pub fn from_environment(environment: &Environment) -> Result<Self, Error> {
        let entries = environment.require_list("ALLOWED_URLS")?;
        let parsed: Result<Vec<Url>, Error> =
            entries.iter().map(|entry| parse_entry(entry)).collect();
        parsed.map(Self)
    }

    /// The address to use when a request names none, with a marker in its query that tells the
    /// frontend what happened, such as `checkout=success`.
    pub fn default_url(&self, marker: &str) -> String {
        let Some(first) = self.0.first() else {
            return String::new();
        };
        let mut url = first.clone();
        url.set_query(Some(marker));
        url.into()
    }

    /// Whether a browser may be sent to `requested`.
    pub fn allows(&self, requested: &str) -> bool {
        // A backslash or a control character reads differently in browsers than in URL parsers.
        if requested
            .chars()
            .any(|c| c == '\\' || c.is_control() || c.is_whitespace())
        {
            return false;
        }
        let Ok(url) = Url::parse(requested) else {
            return false;
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        !has_user && self.0.iter().any(|entry| is_at_or_below(entry, &url))
    }
}

fn parse_entry(entry: &str) -> Result<Url, Error> {
    let invalid = Error::Invalid {
        name: "ALLOWED_URLS",
        why: "each entry is an absolute https:// URL without query (http:// only for localhost)",
    };
    let Ok(url) = Url::parse(entry) else {
        return Err(invalid);
    };
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    if !scheme_fits
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
    {
        return Err(invalid);
    }
    Ok(url)
}

fn is_at_or_below(entry: &Url, url: &Url) -> bool {
    let same_origin = entry.scheme() == url.scheme()
        && entry.host_str() == url.host_str()
        && entry.port_or_known_default() == url.port_or_known_default();
    let base = entry.path().trim_end_matches('/');
    let below = url
        .path()
        .strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    same_origin && below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn an_empty_variable_is_missing_and_named() {
        for value in ["", "  "] {
            let error = environment(&[("TABLE_NAME", value)])
                .require("TABLE_NAME")
                .unwrap_err();
            assert!(error.to_string().contains("TABLE_NAME"));
        }
        assert_eq!(
            environment(&[("X", " , ,")]).require_list("X"),
            Err(Error::Missing("X"))
        );
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!(
            "{:?}",
            environment(&[("STRIPE_SECRET_KEY", "sk_test_secret")])
        );
        assert!(shown.contains("STRIPE_SECRET_KEY") && !shown.contains("sk_test_secret"));
    }

    #[test]
    fn livemode_is_a_strict_boolean() {
        assert_eq!(environment(&[("LIVEMODE", "true")]).livemode(), Ok(true));
        assert_eq!(environment(&[("LIVEMODE", "false")]).livemode(), Ok(false));
        assert!(environment(&[("LIVEMODE", "1")]).livemode().is_err());
        assert_eq!(environment(&[]).livemode(), Err(Error::Missing("LIVEMODE")));
    }

    #[test]
    fn a_return_url_must_be_at_or_below_an_allowed_one() {
        let urls = environment(&[(
            "ALLOWED_URLS",
            "https://app.example.com/billing, http://localhost:3000",
        )]);
        let urls = AllowedUrls::from_environment(&urls).unwrap();
        for allowed in [
            "https://app.example.com/billing",
            "https://app.example.com/billing?done=1",
            "https://app.example.com/billing/done#top",
            "https://APP.example.com:443/billing",
            "http://localhost:3000/anything?x={CHECKOUT_SESSION_ID}",
        ] {
            assert!(urls.allows(allowed), "{allowed}");
        }
        for foreign in [
            "https://app.example.com/",
            "https://app.example.com/billing2",
            "https://app.example.com/billing/../admin",
            "http://app.example.com/billing",
            "https://app.example.com.evil.com/billing",
            "https://app.example.com@evil.com/billing",
            "https://user@app.example.com/billing",
            "https://app.example.com\\@evil.com/billing",
            "https://app.example.com:444/billing",
            "//app.example.com/billing",
            "javascript:alert(1)",
            "/billing",
            "",
        ] {
            assert!(!urls.allows(foreign), "{foreign}");
        }
        assert_eq!(
            urls.default_url("checkout=success"),
            "https://app.example.com/billing?checkout=success"
        );
    }

    #[test]
    fn the_allowlist_itself_must_be_https() {
        for bad in [
            "http://app.example.com",
            "app.example.com",
            "https://a.example/?x=1",
            "ftp://localhost",
        ] {
            assert!(
                AllowedUrls::from_environment(&environment(&[("ALLOWED_URLS", bad)])).is_err(),
                "{bad}"
            );
        }
    }
}
