//! Wiring of the `portal` function: configuration, clients, clock, Lambda's runtime.

use lambda_http::{Error, Request, run, service_fn};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "a main.rs reads the environment and the clock"
)]
async fn main() -> Result<(), Error> {
    let environment: Environment = std::env::vars().collect();
    telemetry::init(&environment, jiff::Timestamp::now);
    let state = HttpClient::deployed(&environment)
        .and_then(|http| portal::State::new(&environment, http))
        .inspect_err(|error| tracing::error!(%error, "the function does not start"))?;
    let state = &state;
    run(service_fn(move |request: Request| async move {
        Ok::<_, Error>(portal::handle(state, request, jiff::Timestamp::now()).await)
    }))
    .await
}
