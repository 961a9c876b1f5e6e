//! `tollgate webhook-endpoint sync` and `retire` as they are typed: the difference, then the deed.
//!
//! Standard output carries a signing secret or nothing; everything else is said on standard error.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::stripe::{self, Call, Stripe, UndeliveredEvent, WebhookEndpoint};
use url::Url;

use super::vault::{self, KEPT_MAX, Vault};
use super::{Action, Refused, checked, plan, shown_version, succession};
use crate::catalog::command::Mode;
use crate::environment::stripe_of;

/// How long Stripe repeats a delivery: <https://docs.stripe.com/webhooks#automatic-retries>.
const RETRIES: SignedDuration = SignedDuration::from_hours(72);

/// Events of this long after an endpoint's creation may still have been sent without it.
const CREATION_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What keeps the command from its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It needs another decision.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A variable is missing or not usable.
    #[error(transparent)]
    Configuration(#[from] config::Error),
    /// Stripe refused or did not answer.
    #[error("{0}")]
    Stripe(#[from] stripe::Error),
    /// Secrets Manager refused or did not answer; nothing was made yet.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// The endpoint was made and is gone again.
    #[error(
        "the new endpoint's signing secret could not be handed over: {why}. The endpoint {id} was deleted again, and \
         Stripe sends as it did before. Run this again when that is put right"
    )]
    TakenBack {
        /// The endpoint.
        id: String,
        /// What went wrong.
        why: String,
    },
    /// The endpoint was made, and nobody has its secret.
    #[error(
        "the new endpoint's signing secret could not be handed over: {why}. The endpoint could not be deleted again \
         either: {deleting}. Its events would be refused, and Stripe repeats them for three days. In Stripe's \
         Dashboard, under Webhooks, delete {id} and run this again; or reveal its signing secret there and keep it"
    )]
    LeftBehind {
        /// The endpoint, or how to find it.
        id: String,
        /// What went wrong.
        why: String,
        /// Why it is still there.
        deleting: String,
    },
    /// Stripe would give up what it owes.
    #[error(
        "{count} events from before {successor} was made are not delivered yet, the oldest of them {oldest}: switching \
         {id} off would end their retries. Look at its deliveries in Stripe's Dashboard, and run this again when they \
         have arrived, or after {given_up}, when Stripe has given them up"
    )]
    StillOwed {
        /// The endpoint that is to go.
        id: String,
        /// The one that takes over.
        successor: String,
        /// How many.
        count: usize,
        /// Id and type of the oldest.
        oldest: String,
        /// When Stripe stops repeating them.
        given_up: Timestamp,
    },
}

/// What `sync` is asked for.
pub struct Asked<'a> {
    /// Where events are to go.
    pub url: &'a str,
    /// The JSON secret that receives the signing secret; without it, standard output does.
    pub secret_arn: Option<&'a str>,
    /// Make one more endpoint, of our version and with a new secret.
    pub replace: bool,
}

/// The Stripe account that the environment names.
struct Account {
    stripe: Stripe,
    secrets: Secrets,
    now: Timestamp,
}

impl Account {
    fn new(environment: &Environment, http: &HttpClient, now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            stripe: Stripe::new(environment, http)?,
            secrets: Secrets::new(environment, http, &[STRIPE_SECRET_KEY])?,
            now,
        })
    }

    fn call(&self) -> Call<'_> {
        Call {
            secrets: &self.secrets,
            now: self.now,
        }
    }

    async fn endpoints(&self) -> Result<Vec<WebhookEndpoint>, stripe::Error> {
        self.stripe.webhook_endpoints(self.call()).await
    }

    /// Makes an endpoint. One that was made although no answer came is deleted again: nobody has its secret.
    async fn create(
        &self,
        url: &Url,
        before: &[WebhookEndpoint],
    ) -> Result<(WebhookEndpoint, SecretString), Error> {
        let error = match self
            .stripe
            .create_webhook_endpoint(self.call(), url.as_str())
            .await
        {
            Ok(created) => return Ok(created),
            Err(error @ (stripe::Error::Refused { .. } | stripe::Error::Secret(_))) => {
                return Err(error.into());
            }
            Err(error) => error,
        };
        let is_new = |endpoint: &WebhookEndpoint| {
            Url::parse(&endpoint.url).as_ref() == Ok(url)
                && before.iter().all(|known| known.id != endpoint.id)
        };
        match self.endpoints().await {
            Ok(now) => match now.iter().find(|endpoint| is_new(endpoint)) {
                Some(made) => Err(self.take_back(&made.id, error.to_string()).await),
                None => Err(error.into()),
            },
            Err(listing) => Err(Error::LeftBehind {
                id: format!("any endpoint for {url} that was made at {}", self.now),
                why: error.to_string(),
                deleting: listing.to_string(),
            }),
        }
    }

    /// Deletes an endpoint whose secret nobody has. What happened meanwhile was sent to the others, if there are any;
    /// if there are none, nothing was sent before either.
    async fn take_back(&self, id: &str, why: String) -> Error {
        let id = id.to_owned();
        match self.stripe.delete_webhook_endpoint(self.call(), &id).await {
            Ok(()) => Error::TakenBack { id, why },
            Err(error) => Error::LeftBehind {
                id,
                why,
                deleting: error.to_string(),
            },
        }
    }
}

/// Shows what differs between Stripe's endpoint for `asked.url` and what it should be, then makes it so.
///
/// # Errors
/// When the address or a variable is not usable, a decision is needed, or Stripe or Secrets Manager does not take it.
pub async fn sync(
    asked: &Asked<'_>,
    environment: &Environment,
    mode: Mode,
    now: Timestamp,
    talk: &mut (dyn Write + Send),
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let url = checked(asked.url, environment)?;
    let http = HttpClient::new();
    let account = Account::new(environment, &http, now)?;
    let vault = asked
        .secret_arn
        .map(|arn| Vault::new(arn, environment, &http))
        .transpose()?;
    writeln!(talk, "Stripe    {}", stripe_of(environment))?;
    writeln!(talk, "endpoint  {url}")?;
    // Read before anything is made: a secret that cannot be read could not be written either.
    let known = match &vault {
        Some(vault) => Some(vault.count().await?),
        None => None,
    };
    if let (Some(arn), Some(known)) = (asked.secret_arn, known) {
        writeln!(talk, "secret    {arn}, signing secrets in it: {known}")?;
    }
    let before = account.endpoints().await?;
    let plan = plan(&before, &url, asked.replace)?;
    writeln!(talk)?;
    match &plan.action {
        Some(action) => writeln!(talk, "{action}")?,
        None => writeln!(talk, "Stripe's endpoint is as it should be")?,
    }
    let creates = matches!(plan.action, Some(Action::Create { .. }));
    if creates && known == Some(KEPT_MAX) {
        writeln!(
            talk,
            "! the last of the {KEPT_MAX} signing secrets makes room for the new one"
        )?;
    }
    if !creates && known == Some(0) {
        writeln!(
            talk,
            "! the secret holds no signing secret, and Stripe's API shows one at creation only: reveal it in the \
             Dashboard and put it there, or run this again with --replace"
        )?;
    }
    for other in &plan.others {
        let (id, version) = (&other.id, shown_version(other));
        writeln!(talk, "! {id} sends there too, in {version}")?;
    }
    if mode == Mode::DryRun {
        return Ok(writeln!(talk, "\nnothing was changed (--dry-run)")?);
    }
    match &plan.action {
        None => {}
        Some(Action::Update { id, .. }) => {
            account
                .stripe
                .update_webhook_endpoint(account.call(), id)
                .await?
        }
        Some(Action::Create { .. }) => {
            let (made, secret) = account.create(&url, &before).await?;
            if let Err(why) = hand_over(&secret, vault.as_ref(), talk, out).await {
                return Err(account.take_back(&made.id, why).await);
            }
            writeln!(talk, "\n{} is made", made.id)?;
        }
    }
    if let Some(other) = plan.others.first() {
        say_how_to_retire(talk, &other.id)?;
    }
    Ok(())
}

/// Writes the secret into the vault, or prints it if there is none.
async fn hand_over(
    secret: &SecretString,
    vault: Option<&Vault>,
    talk: &mut (dyn Write + Send),
    out: &mut (dyn Write + Send),
) -> Result<(), String> {
    if let Some(vault) = vault {
        return vault.add(secret).await.map_err(|error| error.to_string());
    }
    let printed = writeln!(
        talk,
        "\nThe signing secret follows on standard output, this once: Stripe's API does not show it again. Put it into \
         STRIPE_WEBHOOK_SECRET, before the one that is there; whoever has it can forge events."
    );
    let printed = printed.and_then(|()| writeln!(out, "{}", secret.expose_secret()));
    printed
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

fn say_how_to_retire(talk: &mut (dyn Write + Send), id: &str) -> io::Result<()> {
    writeln!(
        talk,
        "\nEach event now comes from both endpoints and counts once. When events of the new one are accepted, retire \
         the other:\n\n  tollgate webhook-endpoint retire {id}"
    )
}

/// Switches an endpoint off that another one has taken over from, unless Stripe still owes events through it.
///
/// # Errors
/// When no other endpoint takes over, something is still owed, or Stripe does not take it.
pub async fn retire(
    id: &str,
    environment: &Environment,
    mode: Mode,
    now: Timestamp,
    talk: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let account = Account::new(environment, &HttpClient::new(), now)?;
    let found = account.endpoints().await?;
    let (former, successor) = succession(&found, id)?;
    writeln!(talk, "Stripe    {}\n", stripe_of(environment))?;
    if !former.is_enabled() {
        return Ok(writeln!(talk, "{id} is switched off already")?);
    }
    let version = shown_version(former);
    writeln!(
        talk,
        "- webhook endpoint {id} ({version}); {} goes on sending to {}",
        successor.id, successor.url
    )?;
    still_owed(&account, former, successor).await?;
    if mode == Mode::DryRun {
        return Ok(writeln!(talk, "\nnothing was changed (--dry-run)")?);
    }
    account
        .stripe
        .disable_webhook_endpoint(account.call(), id)
        .await?;
    Ok(writeln!(
        talk,
        "\n{id} is switched off. What is under way may still arrive signed with its secret: let that leave \
         STRIPE_WEBHOOK_SECRET tomorrow"
    )?)
}

/// Refuses while events that only the former endpoint was told of are on their way.
async fn still_owed(
    account: &Account,
    former: &WebhookEndpoint,
    successor: &WebhookEndpoint,
) -> Result<(), Error> {
    let made = Timestamp::from_second(successor.created).unwrap_or(account.now);
    let (from, to) = (account.now - RETRIES, made + CREATION_MARGIN);
    if to < from {
        return Ok(());
    }
    let sent = |event: &UndeliveredEvent| {
        let types = former.enabled_events.iter();
        types
            .into_iter()
            .any(|name| name == "*" || *name == event.r#type)
    };
    let mut owed = account
        .stripe
        .undelivered_events(account.call(), from, to)
        .await?;
    owed.retain(sent);
    let Some(oldest) = owed.iter().min_by_key(|event| event.created) else {
        return Ok(());
    };
    Err(Error::StillOwed {
        id: former.id.clone(),
        successor: successor.id.clone(),
        count: owed.len(),
        oldest: format!("{} ({})", oldest.id, oldest.r#type),
        given_up: to + RETRIES,
    })
}
