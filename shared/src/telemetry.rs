//! Logs of a deployed function: one JSON object a line, for CloudWatch.
//!
//! A message a person reads, plus fields. Never a body, header value, secret, token or e-mail address.

/// Installs the log's writer for this process; a `main.rs` calls it first.
pub fn init() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .init();
}
