//! Runs the Stripe sandbox alone, with its data in memory:
//! `cargo run -p sandbox --example serve -- 127.0.0.1:12111 [WEBHOOK_URL WEBHOOK_SECRET]`.

use std::error::Error;

use sandbox::{Options, Sandbox, WebhookTarget};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:12111".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let public_url = format!("http://{}", listener.local_addr()?);
    println!("The Stripe sandbox listens on {public_url}");
    let webhook = arguments
        .next()
        .zip(arguments.next())
        .map(|(url, secret)| WebhookTarget { url, secret });
    let sandbox = Sandbox::open(Options {
        public_url,
        webhook,
        ..Options::default()
    })?;
    axum::serve(listener, sandbox.router()).await?;
    Ok(())
}
