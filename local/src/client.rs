//! HTTP to the stack's own addresses, for its start, for the command line and for tests.

/// A client that talks to this machine only: no proxy of the environment may come between.
pub fn client() -> reqwest::Client {
    let built = reqwest::Client::builder().no_proxy().build();
    // Building fails for TLS only, which is not used here.
    built.unwrap_or_default()
}
