//! The whole product in one process: gateway with functions, DynamoDB, issuer and Stripe sandbox.
//!
//! Any number of stacks run beside each other; nothing is global. All ports are bound before anything
//! starts, so that a taken one is reported at once and every address is known to all parts.

mod servers;
mod variables;

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Sandbox, WebhookTarget};
use shared::config::Environment;
use shared::http::HttpClient;
use shared::store::{self, table};

use self::servers::Servers;
use self::variables::{Secrets, environment};
use crate::client::client;
use crate::clock::Clock;
use crate::cors::Cors;
use crate::data::{self, Data, Directory};
use crate::dynamodb::{self, TABLE_NAME};
use crate::functions::{Deploy, Functions, deploy_with_everything};
use crate::gateway::Gateway;
use crate::issuer::{self, Issuer};
use crate::listeners::{self, Addresses, LOCALHOST, Listeners, Ports};
use crate::page;
use crate::stripe::Stripe;

/// How often the scheduled functions run, unless told otherwise.
pub const SCHEDULE: Duration = Duration::from_secs(5);

/// How a stack is started.
#[derive(Clone)]
pub struct Options {
    /// The address to listen at, `LOCALHOST` unless containers are to reach the parts.
    pub host: IpAddr,
    /// The ports to listen at.
    pub ports: Ports,
    /// Directory that keeps the data; without it everything is in memory.
    pub data: Option<PathBuf>,
    /// Which Stripe to work with.
    pub stripe: Stripe,
    /// Who may call the gateway from another origin.
    pub cors: Cors,
    /// Addresses that Checkout and Portal may return to, besides the gateway's own page.
    pub allowed_urls: Vec<String>,
    /// How often the scheduled functions run; never, for a test that runs them itself.
    pub schedule: Option<Duration>,
    /// How the functions are deployed.
    pub deploy: Deploy,
    /// Directory that receives the sandbox's requests, objects and events, to be judged by Stripe's schema.
    pub record: Option<PathBuf>,
}

impl Options {
    /// Free ports, data in memory, the Stripe sandbox: what a test starts.
    pub fn ephemeral() -> Self {
        Self {
            host: LOCALHOST,
            ports: Ports::FREE,
            data: None,
            stripe: Stripe::Sandbox,
            cors: Cors::default(),
            allowed_urls: Vec::new(),
            schedule: Some(SCHEDULE),
            deploy: deploy_with_everything(),
            record: None,
        }
    }
}

/// What keeps a stack from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be listened at.
    #[error(transparent)]
    Port(#[from] listeners::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// DynamoDB does not start.
    #[error(transparent)]
    DynamoDb(#[from] dynamodb::Error),
    /// The table cannot be created.
    #[error("the table cannot be created: {0}")]
    Table(#[from] store::Error),
    /// The issuer does not start.
    #[error(transparent)]
    Issuer(#[from] issuer::Error),
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// A function does not start.
    #[error("a function does not start: {0}")]
    Function(#[from] shared::config::Error),
    /// A part of the stack does not answer.
    #[error("{url} does not answer: {source}")]
    NoAnswer {
        /// The address that was asked.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// A part of the start was stopped.
    #[error("the start was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// The variable of `dev.env` that holds the issuer's address.
pub const ISSUER_URL: &str = "TOLLGATE_ISSUER_URL";

/// A running stack. Dropping it ends it at once; [`Stack::stop`] lets running requests finish.
pub struct Stack {
    addresses: Addresses,
    environment: Vec<(String, String)>,
    clock: Clock,
    issuer: Issuer,
    sandbox: Option<Sandbox>,
    // Front parts call back parts, so they stop first.
    front: Servers,
    back: Servers,
    _data: Data,
}

impl Stack {
    /// Starts everything, and returns when all of it answers.
    ///
    /// # Errors
    /// When a part does not start; what had started is stopped.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listeners = Listeners::bind(options.host, options.ports, &options.stripe).await?;
        let addresses = listeners.addresses()?;
        let data = match &options.data {
            Some(path) => Data::Directory(Directory::open(path)?),
            None => Data::Memory,
        };
        let secrets = Secrets::of(&data)?;
        let sandbox = addresses
            .sandbox
            .as_ref()
            .map(|url| open_sandbox(url, &data, &options));
        let sandbox = sandbox.transpose()?;
        let clock = sandbox
            .as_ref()
            .map_or(Clock::System, |sandbox| Clock::Sandbox(sandbox.clock()));
        let (issuer, data) = open_issuer(addresses.issuer.clone(), clock.clone(), data).await?;
        let variables = environment(&addresses, &secrets, &options);
        let environment: Environment = variables.iter().cloned().collect();
        let functions = Arc::new(Functions::new(&environment, &options.deploy)?);
        let gateway = Gateway {
            functions: Arc::clone(&functions),
            clock: clock.clone(),
            cors: options.cors,
        };

        let mut back = Servers::new();
        back.spawn(dynamodb::serve(
            listeners.dynamodb,
            dynamodb::open(&data)?,
            back.stopped(),
        ));
        back.serve(listeners.issuer, issuer.router());
        let client = shared::aws::dynamodb(&environment, &HttpClient::new())?;
        table::ensure(&client, TABLE_NAME).await?;

        let mut front = Servers::new();
        front.serve(
            listeners.gateway,
            page::router(issuer.clone()).merge(gateway.router()),
        );
        if let (Some(sandbox), Some(listener)) = (&sandbox, listeners.sandbox) {
            front.serve(listener, sandbox.router());
            let url = format!("{}/api/webhooks/stripe", addresses.gateway);
            sandbox.set_webhook(Some(WebhookTarget {
                url,
                secret: secrets.webhook,
            }));
        }
        if let Some(interval) = options.schedule {
            let schedule_clock = clock.clone();
            front.spawn(every(interval, front.stopped(), move || {
                let (functions, now) = (Arc::clone(&functions), schedule_clock.now());
                async move { functions.run_scheduled(now).await }
            }));
        }
        answers(&addresses).await?;
        Ok(Self {
            addresses,
            environment: variables,
            clock,
            issuer,
            sandbox,
            front,
            back,
            _data: data,
        })
    }

    /// Where the parts are reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The environment that the functions run with. It holds the local secrets.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// What `dev.env` holds: the addresses, and the functions' environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let addresses = &self.addresses;
        let mut variables = vec![
            ("TOLLGATE_URL".to_owned(), addresses.gateway.clone()),
            (
                "TOLLGATE_DYNAMODB_URL".to_owned(),
                addresses.dynamodb.clone(),
            ),
            (ISSUER_URL.to_owned(), addresses.issuer.clone()),
        ];
        variables.extend(
            addresses
                .sandbox
                .clone()
                .map(|url| ("TOLLGATE_SANDBOX_URL".to_owned(), url)),
        );
        variables.extend(self.environment.iter().cloned());
        variables
    }

    /// The time that the stack lives by.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The issuer of its users' tokens.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The Stripe sandbox, when it is used.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Stops everything, letting running requests finish for some seconds.
    pub async fn stop(self) {
        if let Some(sandbox) = &self.sandbox {
            sandbox.set_webhook(None);
        }
        self.front.stop().await;
        self.back.stop().await;
    }
}

fn open_sandbox(url: &str, data: &Data, options: &Options) -> Result<Sandbox, sandbox::Error> {
    Sandbox::open(sandbox::Options {
        data: data.file("sandbox.sqlite"),
        webhook: None,
        public_url: url.to_owned(),
        record: options.record.clone(),
    })
}

/// Does something again and again, beginning after the first interval, as EventBridge Scheduler does.
async fn every<W: Future<Output = ()>>(
    interval: Duration,
    stopped: impl Future<Output = ()>,
    work: impl Fn() -> W,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = std::pin::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            _instant = ticks.tick() => work().await,
        }
    }
}

/// Making an RSA key takes tenths of a second of CPU, which other stacks must not wait for.
async fn open_issuer(url: String, clock: Clock, data: Data) -> Result<(Issuer, Data), Error> {
    tokio::task::spawn_blocking(move || Ok((Issuer::open(url, clock, &data)?, data))).await?
}

/// Asks every part once for something that needs no state.
async fn answers(addresses: &Addresses) -> Result<(), Error> {
    let mut urls = vec![
        addresses.gateway.clone(),
        addresses.dynamodb.clone(),
        format!("{}/.well-known/openid-configuration", addresses.issuer),
    ];
    urls.extend(
        addresses
            .sandbox
            .as_ref()
            .map(|url| format!("{url}/_sandbox/clock")),
    );
    let client = client();
    for url in urls {
        let asked = client.get(&url).send().await;
        let answer = asked.and_then(reqwest::Response::error_for_status);
        answer.map_err(|source| Error::NoAnswer { url, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_stacks_run_beside_each_other_and_stop() {
        let starts = (0..4).map(|_| tokio::spawn(Stack::start(Options::ephemeral())));
        let mut secrets = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            let stack = start.await.unwrap().unwrap();
            let url = format!("{}/api/no-such-route", stack.addresses().gateway);
            assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
            let variables = stack.variables();
            secrets.extend(
                variables
                    .into_iter()
                    .filter(|(name, _)| name == "STRIPE_WEBHOOK_SECRET"),
            );
            stack.stop().await;
            assert!(client().get(&url).send().await.is_err());
        }
        secrets.dedup();
        assert_eq!(secrets.len(), 4);
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports {
            issuer: port,
            ..Ports::FREE
        };
        let error = Stack::start(Options {
            ports,
            ..Options::ephemeral()
        })
        .await
        .err()
        .unwrap()
        .to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--free-ports"),
            "{error}"
        );
    }
}
