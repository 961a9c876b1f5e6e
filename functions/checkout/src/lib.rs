//! `POST /api/billing/checkout-session`: a Checkout page for a plan or a token pack.
//!
//! One user has one customer and one reservation. Each turn reads the account, takes the one next step
//! that is due, and writes it under the account's fence; whoever loses the fence reads again and finds
//! the winner's work done. Stopped between any two steps and asked again, it goes on where it was.

use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::account::{Account, Checkout, Session};
use shared::config::{self, AllowedUrls, Environment};
use shared::http::HttpClient;
use shared::ids::{CustomerId, SessionId};
use shared::oidc::{Authenticator, Caller};
use shared::problem::Problem;
use shared::request;
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::store::{Saved, Store, backoff};
use shared::stripe::{Call, SessionStatus, Stripe};
use shared::telemetry::{counted, milliseconds_since};
use tokio::time::Instant;

mod next;
mod purchase;

use next::{Step, next_step};
use purchase::CheckoutRequest;

/// How many steps one request takes at most, its own and those that others took first.
const STEPS_MAX: u32 = 16;

/// What the function needs, made once when it starts.
#[derive(Debug)]
pub struct State {
    authenticator: Authenticator,
    secrets: Secrets,
    store: Store,
    stripe: Stripe,
    urls: AllowedUrls,
}

#[derive(Serialize)]
struct Opened {
    session_id: SessionId,
    url: String,
    expires_at: Timestamp,
    /// Opened by this request, not found open.
    #[serde(skip)]
    is_new: bool,
}

impl State {
    /// Reads the configuration; contacts nobody.
    pub fn new(environment: &Environment, http: HttpClient) -> Result<Self, config::Error> {
        Ok(Self {
            authenticator: Authenticator::new(environment, &http)?,
            secrets: Secrets::new(environment, &http, &[STRIPE_SECRET_KEY])?,
            store: Store::new(environment, &http)?,
            stripe: Stripe::new(environment, &http)?,
            urls: AllowedUrls::from_environment(environment)?,
        })
    }
}

/// Deals with one request.
pub async fn handle(state: &State, request: Request, now: Timestamp) -> Response<Body> {
    let begun = Instant::now();
    let opened = open(state, &request, now).await;
    tracing::info!(
        CheckoutCreated = counted(opened.as_ref().is_ok_and(|opened| opened.is_new)),
        CheckoutLatency = milliseconds_since(begun),
        code = opened.as_ref().err().map(Problem::code),
        "Checkout asked for"
    );
    match opened {
        Ok(opened) => request::ok(&opened),
        Err(problem) => problem.into_response(),
    }
}

async fn open(state: &State, request: &Request, now: Timestamp) -> Result<Opened, Problem> {
    let caller = state.authenticator.authenticate(request, now).await?;
    let wanted: CheckoutRequest = request::json(request)?;
    let catalog = state.store.catalog(now).await?;
    let offer = wanted.resolve(&catalog, &state.urls)?;
    let invocation = request::invocation_id(request);
    let mut is_new = false;
    for turn in 0..STEPS_MAX {
        let writer = format!("{invocation}.{turn}");
        let attempt = Attempt {
            state,
            caller: &caller,
            call: Call {
                secrets: &state.secrets,
                now,
            },
            writer: &writer,
        };
        let account = state.store.account(&caller.user_id).await?;
        let done = match next_step(&account, &offer, now)? {
            Step::ClaimCustomer => attempt.claim_customer(&account).await?,
            Step::CloseSession {
                customer_id,
                session,
            } => attempt.close(&account, &customer_id, &session).await?,
            Step::Reserve {
                customer_id,
                checkout,
            } => attempt.reserve(account, &customer_id, checkout).await?,
            Step::OpenSession {
                customer_id,
                checkout,
            } => {
                let saved = attempt.open(account, &customer_id, checkout).await?;
                is_new = saved == Saved::Saved;
                saved
            }
            Step::Return {
                session,
                expires_at,
            } => {
                return Ok(Opened {
                    session_id: session.id,
                    url: session.url,
                    expires_at,
                    is_new,
                });
            }
        };
        if done == Saved::FenceLost {
            tokio::time::sleep(backoff(&writer, turn)).await;
        }
    }
    tracing::warn!("a Checkout took too many steps");
    Err(Problem::TryAgain)
}

/// One turn of one request.
struct Attempt<'a> {
    state: &'a State,
    caller: &'a Caller,
    call: Call<'a>,
    writer: &'a str,
}

impl Attempt<'_> {
    /// Everyone who asks at once gets the same customer from Stripe, and one of them claims it.
    async fn claim_customer(&self, account: &Account) -> Result<Saved, Problem> {
        let Self {
            state,
            call,
            writer,
            ..
        } = self;
        let created = state
            .stripe
            .create_customer(*call, &account.user_id, account.customer_attempts)
            .await;
        let customer_id = match created {
            Ok(customer_id) => customer_id,
            Err(error) => {
                if error.spends_key() {
                    let customer_attempts = account.customer_attempts.saturating_add(1);
                    state
                        .store
                        .save_account(
                            &Account {
                                customer_attempts,
                                ..account.clone()
                            },
                            writer,
                        )
                        .await?;
                }
                return Err(error.into());
            }
        };
        let saved = state
            .store
            .claim_customer(account, &customer_id, writer)
            .await?;
        if saved == Saved::Saved {
            self.after_claim(&customer_id).await;
        }
        Ok(saved)
    }

    /// What is good to do once and heals by itself if it fails: Checkout asks for an address where there
    /// is none, and the scheduled run finds what waits.
    async fn after_claim(&self, customer_id: &CustomerId) {
        let Self {
            state,
            caller,
            call,
            ..
        } = self;
        if let Err(error) = state.store.release_unclaimed(customer_id, call.now).await {
            tracing::warn!(%error, "events that waited for the customer were not set free");
        }
        if let Some(email) = &caller.email
            && let Err(error) = state.stripe.set_email(*call, customer_id, email).await
        {
            tracing::warn!(%error, "the customer's e-mail address was not set");
        }
    }

    /// Makes sure that the reservation's session cannot be paid any more, then drops the reservation.
    async fn close(
        &self,
        account: &Account,
        customer_id: &CustomerId,
        session: &Session,
    ) -> Result<Saved, Problem> {
        let Self {
            state,
            call,
            writer,
            ..
        } = self;
        if let Err(error) = state.stripe.expire_session(*call, &session.id).await
            && !error.is_missing("session")
        {
            match state.stripe.session_status(*call, &session.id).await? {
                SessionStatus::Complete | SessionStatus::Expired => {}
                SessionStatus::Open | SessionStatus::Unknown => return Err(error.into()),
            }
        }
        let mut account = Account {
            checkout: None,
            ..account.clone()
        };
        // It may have been paid a moment ago: what Stripe says now decides about a second one.
        match state.stripe.subscriptions(*call, customer_id).await {
            Err(error) if error.is_missing("customer") => account.lose_customer(),
            fetched => {
                let (at, subscriptions) = fetched?;
                account.sync(subscriptions, at);
            }
        }
        Ok(state.store.save_account(&account, writer).await?)
    }

    /// Reserves, unless Stripe knows of a subscription that we have not heard of.
    async fn reserve(
        &self,
        mut account: Account,
        customer_id: &CustomerId,
        checkout: Checkout,
    ) -> Result<Saved, Problem> {
        let Self {
            state,
            call,
            writer,
            ..
        } = self;
        let fetched = match state.stripe.subscriptions(*call, customer_id).await {
            Err(error) if error.is_missing("customer") => return self.lose_customer(account).await,
            fetched => fetched?,
        };
        let (at, subscriptions) = fetched;
        let known = account.clone();
        account.sync(subscriptions, at);
        // Whatever else is learned here is taken into account before anything is reserved.
        if account.same_facts(&known) {
            account.checkouts_begun = checkout.attempt;
            account.checkout = Some(checkout);
        }
        Ok(state.store.save_account(&account, writer).await?)
    }

    /// Opens the reserved session; nobody is told of it before it is kept.
    async fn open(
        &self,
        mut account: Account,
        customer_id: &CustomerId,
        checkout: Checkout,
    ) -> Result<Saved, Problem> {
        let Self {
            state,
            call,
            writer,
            ..
        } = self;
        match state
            .stripe
            .open_session(*call, &account.user_id, customer_id, &checkout)
            .await
        {
            Ok(session) => {
                account.checkout = Some(Checkout {
                    session: Some(session),
                    ..checkout
                });
                Ok(state.store.save_account(&account, writer).await?)
            }
            Err(error) if error.is_missing("customer") => self.lose_customer(account).await,
            Err(error) => {
                if error.spends_key() {
                    account.checkout = None;
                    state.store.save_account(&account, writer).await?;
                }
                Err(error.into())
            }
        }
    }

    /// The customer was deleted at Stripe by hand: the next turn claims a new one.
    async fn lose_customer(&self, account: Account) -> Result<Saved, Problem> {
        tracing::warn!("the customer does not exist at Stripe any more and is replaced");
        let mut lost = account;
        lost.lose_customer();
        Ok(self.state.store.save_account(&lost, self.writer).await?)
    }
}
