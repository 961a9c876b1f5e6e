//! The `tollgate` command: reads arguments and environment, runs one command, prints.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local::cors::Cors;
use local::functions::deploy_with_everything;
use local::listeners::{LOCALHOST, Ports};
use local::stack::{Options, SCHEDULE};
use local::stripe::Stripe;
use shared::config::Environment;
use tollgate::catalog::command::{Mode, check, sync};
use tollgate::webhook_endpoint::command as webhook_endpoint;
use tollgate::{demo, dev, environment, sign, start, token};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Tollgate, the Stripe subscription backend on AWS Lambda.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine: API, DynamoDB, OIDC issuer and Stripe sandbox
    Dev(DevArguments),
    /// Print an access token for a made-up user of the running `dev`, and nothing else
    Token(TokenArguments),
    /// Walk one subscriber through sign-up, payment, renewal, grace, recovery and cancellation
    Demo,
    /// Work with catalog.toml: what is sold
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Where Stripe sends events: make it, correct it, replace it
    #[command(subcommand)]
    WebhookEndpoint(WebhookEndpointCommand),
    /// Print the Stripe-Signature header of the payload on standard input
    Sign(SignArguments),
}

#[derive(Subcommand)]
enum CatalogCommand {
    /// Show what differs between the file and Stripe, then create and update; nothing is deleted
    Sync(SyncArguments),
    /// Read the file and say what it sells, without asking Stripe
    Check {
        /// The catalogue
        #[arg(long, value_name = "PATH", default_value = start::CATALOG_FILE)]
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum WebhookEndpointCommand {
    /// Show what differs at Stripe, then create or update the endpoint; a new signing secret goes to --secret-arn, or
    /// alone to standard output
    Sync(EndpointArguments),
    /// Switch off an endpoint that another has taken over from, unless Stripe still owes events through it
    Retire(RetireArguments),
}

#[derive(clap::Args)]
struct EndpointArguments {
    /// Where the webhook function listens: https://…/api/webhooks/stripe
    #[arg(long)]
    url: String,
    /// The secret in Secrets Manager whose member STRIPE_WEBHOOK_SECRET receives the signing secret
    #[arg(long, value_name = "ARN")]
    secret_arn: Option<String>,
    /// Make one more endpoint beside the one that is there: for our API version, or for a new signing secret
    #[arg(long)]
    replace: bool,
    /// Show the difference and change nothing
    #[arg(long)]
    dry_run: bool,
    /// File whose NAME=value lines stand for what the environment does not say [default: .tollgate/dev.env, if there]
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct RetireArguments {
    /// The endpoint's id, we_…
    endpoint: String,
    /// Say what would be done and change nothing
    #[arg(long)]
    dry_run: bool,
    /// File whose NAME=value lines stand for what the environment does not say [default: .tollgate/dev.env, if there]
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct SyncArguments {
    /// The catalogue
    #[arg(long, value_name = "PATH", default_value = start::CATALOG_FILE)]
    file: PathBuf,
    /// File whose NAME=value lines stand for what the environment does not say [default: .tollgate/dev.env, if there]
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
    /// Show the difference and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
struct SignArguments {
    /// The signing secret [default: STRIPE_WEBHOOK_SECRET of the environment or of the running `dev`]
    #[arg(long, value_name = "WHSEC")]
    secret: Option<String>,
    /// The signature's timestamp, in seconds since 1970 [default: now, by the clock of the running `dev`'s sandbox]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    at: Option<i64>,
    /// File whose NAME=value lines stand for what the environment does not say [default: .tollgate/dev.env, if there]
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct DevArguments {
    /// Keep everything in memory instead of in .tollgate/
    #[arg(long)]
    ephemeral: bool,
    /// Take free ports instead of 3000, 8000, 9000 and 12111
    #[arg(long)]
    free_ports: bool,
    /// Address to listen at; 0.0.0.0 lets containers in, and everybody else on the network: it gives tokens to anyone
    #[arg(long, value_name = "ADDRESS", default_value_t = LOCALHOST)]
    listen: IpAddr,
    /// File that receives addresses and values as NAME=value lines
    #[arg(long, value_name = "PATH", default_value_os_t = dev::default_env_file())]
    env_file: PathBuf,
}

#[derive(clap::Args)]
struct TokenArguments {
    /// The made-up user
    user: String,
    /// Give the user the admin role
    #[arg(long)]
    admin: bool,
    /// Lifetime; a negative one gives an expired token
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    expires_in: Option<i64>,
    /// File that `dev` has written
    #[arg(long, value_name = "PATH", default_value_os_t = dev::default_env_file())]
    env_file: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        Command::Dev(arguments) => run_dev(arguments).await,
        Command::Token(arguments) => run_token(arguments).await,
        Command::Demo => demo::demo(&mut io::stdout()).await.map_err(Into::into),
        Command::Catalog(CatalogCommand::Sync(arguments)) => run_sync(arguments).await,
        Command::Catalog(CatalogCommand::Check { file }) => {
            check(&file, &mut io::stdout()).map_err(Into::into)
        }
        Command::WebhookEndpoint(WebhookEndpointCommand::Sync(arguments)) => {
            run_endpoint_sync(arguments).await
        }
        Command::WebhookEndpoint(WebhookEndpointCommand::Retire(arguments)) => {
            run_retire(arguments).await
        }
        Command::Sign(arguments) => run_sign(arguments).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

type Ended = Result<(), Box<dyn std::error::Error>>;

async fn run_dev(arguments: DevArguments) -> Ended {
    log_to_stderr();
    let environment = process_environment();
    let allowed_urls = environment.get("ALLOWED_URLS").unwrap_or_default();
    let stripe = Stripe::from_environment(&environment)?;
    let options = Options {
        host: arguments.listen,
        ports: if arguments.free_ports {
            Ports::FREE
        } else {
            Ports::FIXED
        },
        data: (!arguments.ephemeral).then(|| dev::data_directory(&stripe)),
        stripe,
        cors: Cors::default(),
        allowed_urls: list(allowed_urls),
        schedule: Some(SCHEDULE),
        deploy: deploy_with_everything(),
        record: environment
            .get("TOLLGATE_SANDBOX_RECORD")
            .map(PathBuf::from),
    };
    Ok(dev::dev(
        options,
        &arguments.env_file,
        &mut io::stdout(),
        stop_signal(),
    )
    .await?)
}

fn list(comma_separated: &str) -> Vec<String> {
    let entries = comma_separated
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

async fn run_sync(arguments: SyncArguments) -> Ended {
    let environment = environment::merged(process_variables(), arguments.env_file.as_deref())?;
    let mode = mode(arguments.dry_run);
    let out = &mut io::stdout();
    Ok(sync(&arguments.file, &environment, mode, now(), out).await?)
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::DryRun } else { Mode::Apply }
}

async fn run_endpoint_sync(arguments: EndpointArguments) -> Ended {
    let environment =
        environment::merged_without_table(process_variables(), arguments.env_file.as_deref())?;
    let asked = webhook_endpoint::Asked {
        url: &arguments.url,
        secret_arn: arguments.secret_arn.as_deref(),
        replace: arguments.replace,
    };
    let mode = mode(arguments.dry_run);
    let (talk, out) = (&mut io::stderr(), &mut io::stdout());
    Ok(webhook_endpoint::sync(&asked, &environment, mode, now(), talk, out).await?)
}

async fn run_retire(arguments: RetireArguments) -> Ended {
    let environment =
        environment::merged_without_table(process_variables(), arguments.env_file.as_deref())?;
    let (id, mode) = (&arguments.endpoint, mode(arguments.dry_run));
    Ok(webhook_endpoint::retire(id, &environment, mode, now(), &mut io::stderr()).await?)
}

async fn run_sign(arguments: SignArguments) -> Ended {
    let (mut secret, mut at) = (arguments.secret, arguments.at);
    if secret.is_none() {
        let environment = environment::merged(process_variables(), arguments.env_file.as_deref())?;
        secret = environment.get("STRIPE_WEBHOOK_SECRET").map(str::to_owned);
        if let (None, Some(url)) = (at, environment.get("TOLLGATE_SANDBOX_URL")) {
            at = sign::sandbox_clock(url).await;
        }
    }
    let at = sign::moment(at, now())?;
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    let header = sign::header(&payload, secret.as_deref(), at)?;
    Ok(writeln!(io::stdout(), "{header}")?)
}

#[expect(clippy::disallowed_methods, reason = "a main.rs reads the clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn run_token(arguments: TokenArguments) -> Ended {
    let TokenArguments {
        user,
        admin,
        expires_in,
        env_file,
    } = arguments;
    let token = token::token(
        &env_file,
        &token::Request {
            user,
            admin,
            expires_in,
        },
    )
    .await?;
    Ok(writeln!(io::stdout(), "{token}")?)
}

/// Ctrl-C, or the signal by which process managers stop a process.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _interrupted = tokio::signal::ctrl_c() => {}
                _terminated = terminate.recv() => {}
            }
        }
        Err(_no_handler) => drop(tokio::signal::ctrl_c().await),
    }
}

/// A person reads these lines; libraries speak only of trouble. The DynamoDB server takes every lost
/// condition for trouble, which is a write's ordinary outcome here.
fn log_to_stderr() {
    let ours = [
        "checkout",
        "local",
        "portal",
        "profile",
        "reconcile",
        "sandbox",
        "shared",
        "tollgate",
        "webhook",
    ];
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("dynoxide", LevelFilter::ERROR)
        .with_targets(ours.map(|target| (target, LevelFilter::INFO)));
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_target(false)
        .with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(lines.with_filter(levels))
        .init();
}

fn process_environment() -> Environment {
    process_variables().into_iter().collect()
}

fn process_variables() -> Vec<(String, String)> {
    // A value that is not Unicode is not one of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where a failed command says why"
)]
fn fail(why: &str) -> ExitCode {
    eprintln!("tollgate: {why}");
    ExitCode::FAILURE
}
