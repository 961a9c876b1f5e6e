//! Every call that Tollgate makes to Stripe.
//!
//! Requests are built by `async-stripe`'s typed builders; answers are read by our own tolerant views, so
//! that a field we never read cannot break us. What leads to a call, and what follows from its answer,
//! is not decided here. <https://docs.stripe.com/api>

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::invoice_payment::{
    ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType,
};
use stripe_billing::subscription::{
    ListSubscription, ListSubscriptionStatus, RetrieveSubscription,
};
use stripe_checkout::checkout_session as session;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::charge::RetrieveCharge;
use stripe_core::customer::{CreateCustomer, RetrieveCustomer, UpdateCustomer};
use stripe_core::dispute::RetrieveDispute;
use stripe_core::payment_intent::RetrievePaymentIntent;
use stripe_payment::payment_method::RetrievePaymentMethod;
use stripe_shared::{CheckoutSessionId, CheckoutSessionMode};

use crate::account::{Checkout, Purchase, PurchaseKind, Session};
use crate::config::{Environment, Error as ConfigError};
use crate::event::{Charge, RelatedObject, USER_ID_KEY};
use crate::http::{Endpoint, HttpClient, Response};
use crate::ids::{ChargeId, CustomerId, InvoiceId, PaymentIntentId, SessionId, UserId};
use crate::secrets::{Secrets, Unavailable};
use crate::subscription::{Expandable, StripeSubscription, Subscription};

mod flights;
mod products;

use flights::Flights;
pub use products::{Price, Product};

/// The API version that every call is pinned to: the one whose OpenAPI document judges our requests and
/// the sandbox in CI. <https://docs.stripe.com/api/versioning>
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// Where Stripe is, unless `STRIPE_API_BASE` says otherwise.
const API_BASE: &str = "https://api.stripe.com";

/// The longest that one attempt takes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);

/// How often a call is attempted: connection failures, 409, 429 and 5xx are tried again.
const ATTEMPTS: u32 = 3;

/// How often while Stripe limits our rate: it did nothing and says so.
const ATTEMPTS_WHEN_LIMITED: u32 = 6;

/// The wait before the second attempt; it doubles. `Retry-After` may lengthen it up to the limit.
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_LIMIT: Duration = Duration::from_secs(2);

/// The most subscriptions asked for at once, and the most pages of them that are read.
const PAGE_SIZE: i64 = 100;
const PAGES_MAX: usize = 5;

/// Who is calling, for Stripe's logs.
const USER_AGENT: &str = concat!("Tollgate/", env!("CARGO_PKG_VERSION"));

/// Calls Stripe on behalf of one account.
#[derive(Debug)]
pub struct Stripe {
    endpoint: Endpoint,
    flights: Flights,
}

/// Why Stripe did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or an answer that says to try again later. Whether it was done is unknown; the same
    /// call under the same idempotency key finds out.
    #[error("Stripe did not answer, or asked to try again later: {0}")]
    Unavailable(String),
    /// Stripe failed, and repeats that answer for a day under the same idempotency key.
    #[error("Stripe failed with status {0}")]
    Failed(u16),
    /// Stripe refused, and would again.
    #[error("Stripe refused with status {status}, code {code}, parameter {param}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stripe's error code, or its type where there is none.
        code: String,
        /// The parameter that it is about, or nothing.
        param: String,
    },
    /// An answer that is not of the documented form.
    #[error("Stripe's answer was not understood: {0}")]
    NotUnderstood(String),
    /// Our key could not be had.
    #[error(transparent)]
    Secret(#[from] Unavailable),
}

impl Error {
    /// Whether the idempotency key is spent: another attempt needs another one.
    pub fn spends_key(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Refused { .. } | Self::NotUnderstood(_) => true,
            Self::Unavailable(_) | Self::Secret(_) => false,
        }
    }

    /// Whether the object that the parameter names does not exist at Stripe.
    pub fn is_missing(&self, parameter: &str) -> bool {
        matches!(self, Self::Refused { code, param, .. } if code == "resource_missing" && param == parameter)
    }
}

/// What a call carries beside its request.
#[derive(Clone, Copy)]
pub struct Call<'c> {
    /// Where the key comes from.
    pub secrets: &'c Secrets,
    /// The clock.
    pub now: Timestamp,
}

/// How a Checkout Session stands. <https://docs.stripe.com/api/checkout/sessions/object#checkout_session_object-status>
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Can still be paid.
    Open,
    /// Was paid, or its payment is on the way.
    Complete,
    /// Can never be paid.
    Expired,
    /// A word that is not known here; treated as if it could still be paid.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct CreatedSession {
    id: SessionId,
    url: Option<String>,
}

#[derive(Deserialize)]
struct StatusOfSession {
    status: Option<SessionStatus>,
}

#[derive(Deserialize)]
struct WithId {
    id: String,
}

#[derive(Deserialize)]
struct WithUrl {
    url: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct InvoicePayment {
    invoice: Expandable,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    r#type: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

impl Stripe {
    /// A client for Stripe, or for what `STRIPE_API_BASE` names in its place.
    pub fn new(environment: &Environment, http: &HttpClient) -> Result<Self, ConfigError> {
        let base = environment.get("STRIPE_API_BASE").unwrap_or(API_BASE);
        let parsed = url::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none() {
            return Err(ConfigError::Invalid {
                name: "STRIPE_API_BASE",
                why: "it is an http(s) address",
            });
        }
        Ok(Self {
            endpoint: http.endpoint("stripe", base, ATTEMPT_TIMEOUT),
            flights: Flights::default(),
        })
    }

    /// Creates the user's customer, or finds again the one that the same call created before: the
    /// idempotency key is made of the user and of how many attempts failed for good.
    pub async fn create_customer(
        &self,
        call: Call<'_>,
        user_id: &UserId,
        attempts: u32,
    ) -> Result<CustomerId, Error> {
        let request = CreateCustomer::new().metadata(user_metadata(user_id));
        let key = idempotency_key(&["customer", user_id.as_str(), &attempts.to_string()]);
        let created: WithId = self.send(call, request.build(), Some(&key)).await?;
        Ok(created.id.into())
    }

    /// Tells Stripe where receipts go.
    pub async fn set_email(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
        email: &str,
    ) -> Result<(), Error> {
        let request = UpdateCustomer::new(customer_id.as_str()).email(email);
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// Opens the Checkout Session of a reservation. Asked again for the same reservation, Stripe answers
    /// with the same session.
    pub async fn open_session(
        &self,
        call: Call<'_>,
        user_id: &UserId,
        customer_id: &CustomerId,
        checkout: &Checkout,
    ) -> Result<Session, Error> {
        let request = session_request(user_id, customer_id, checkout);
        let key = idempotency_key(&[
            "checkout",
            user_id.as_str(),
            customer_id.as_str(),
            &checkout.attempt.to_string(),
        ]);
        let created: CreatedSession = self.send(call, request.build(), Some(&key)).await?;
        let url = created
            .url
            .ok_or_else(|| Error::NotUnderstood("a hosted session without url".to_owned()))?;
        Ok(Session {
            id: created.id,
            url,
        })
    }

    /// How a session stands.
    pub async fn session_status(
        &self,
        call: Call<'_>,
        id: &SessionId,
    ) -> Result<SessionStatus, Error> {
        let request = session::RetrieveCheckoutSession::new(CheckoutSessionId::from(id.as_str()));
        let found: StatusOfSession = self.send(call, request.build(), None).await?;
        Ok(found.status.unwrap_or(SessionStatus::Unknown))
    }

    /// Closes a session so that it cannot be paid any more. Stripe refuses when it is not open.
    pub async fn expire_session(&self, call: Call<'_>, id: &SessionId) -> Result<(), Error> {
        let request = session::ExpireCheckoutSession::new(CheckoutSessionId::from(id.as_str()));
        let key = idempotency_key(&["expire", id.as_str()]);
        let _: WithId = self.send(call, request.build(), Some(&key)).await?;
        Ok(())
    }

    /// A page on which the customer manages payment methods, plan and invoices.
    pub async fn portal_url(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
        return_url: &str,
    ) -> Result<String, Error> {
        let request = CreateBillingPortalSession::new()
            .customer(customer_id.as_str())
            .return_url(return_url);
        let created: WithUrl = self.send(call, request.build(), None).await?;
        Ok(created.url)
    }

    /// All subscriptions of a customer, whatever their status, and when the fetch of them began: after
    /// this call. Callers that ask at the same time share a fetch.
    pub async fn subscriptions(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
    ) -> Result<(Timestamp, Vec<Subscription>), Error> {
        let fetch = || async { Ok((call.now, self.fetch_subscriptions(call, customer_id).await?)) };
        self.flights.share(customer_id, fetch).await
    }

    async fn fetch_subscriptions(
        &self,
        call: Call<'_>,
        customer_id: &CustomerId,
    ) -> Result<Vec<Subscription>, Error> {
        let mut kept = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut request = ListSubscription::new()
                .customer(customer_id.as_str())
                .status(ListSubscriptionStatus::All)
                .limit(PAGE_SIZE)
                .expand(vec!["data.latest_invoice".to_owned()]);
            if let Some(after) = after.take() {
                request = request.starting_after(after);
            }
            let page: List<StripeSubscription> = self.send(call, request.build(), None).await?;
            for found in page.data {
                let subscription = found.into_kept().ok_or_else(|| {
                    Error::NotUnderstood("a subscription without its period".to_owned())
                })?;
                kept.push(subscription);
            }
            if !page.has_more {
                return Ok(kept);
            }
            after = kept.last().map(|last| last.id.as_str().to_owned());
        }
        Err(Error::NotUnderstood(
            "a customer with too many subscriptions".to_owned(),
        ))
    }

    /// A charge, to learn whose it is and what it paid for.
    pub async fn charge(&self, call: Call<'_>, id: &ChargeId) -> Result<Charge, Error> {
        let request = RetrieveCharge::new(id.as_str());
        let object: Box<RawValue> = self.send(call, request.build(), None).await?;
        charge_of(&object)
    }

    /// The invoice that a payment paid, if it paid one.
    pub async fn invoice_paid_by(
        &self,
        call: Call<'_>,
        payment_intent_id: &PaymentIntentId,
    ) -> Result<Option<InvoiceId>, Error> {
        let mut payment =
            ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent);
        payment.payment_intent = Some(payment_intent_id.as_str().to_owned());
        let request = ListInvoicePayment::new().payment(payment).limit(1);
        let page: List<InvoicePayment> = self.send(call, request.build(), None).await?;
        Ok(page
            .data
            .into_iter()
            .next()
            .map(|payment| payment.invoice.id().into()))
    }

    /// The object that a thin notification is about, as Stripe writes it; `None` for a kind of object that
    /// is not acted on.
    pub async fn related_object(
        &self,
        call: Call<'_>,
        related: &RelatedObject,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let id = related.id.as_str();
        let request = match related.r#type.trim_start_matches("v1.") {
            "checkout.session" => {
                session::RetrieveCheckoutSession::new(CheckoutSessionId::from(id)).build()
            }
            "subscription" => RetrieveSubscription::new(id).build(),
            "invoice" => RetrieveInvoice::new(id).build(),
            "payment_intent" => RetrievePaymentIntent::new(id).build(),
            "payment_method" => RetrievePaymentMethod::new(id).build(),
            "charge" => RetrieveCharge::new(id).build(),
            "dispute" => RetrieveDispute::new(id).build(),
            "customer" => RetrieveCustomer::new(id).build(),
            _ => return Ok(None),
        };
        self.send(call, request, None).await.map(Some)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        request: RequestBuilder,
        idempotency_key: Option<&str>,
    ) -> Result<T, Error> {
        let response = self
            .attempt_until_answered(call, request, idempotency_key)
            .await?;
        if (200..300).contains(&response.status) {
            return serde_json::from_slice(&response.body)
                .map_err(|error| Error::NotUnderstood(error.to_string()));
        }
        let refused = match serde_json::from_slice::<ErrorBody>(&response.body) {
            Ok(ErrorBody { error }) => Error::Refused {
                status: response.status,
                code: error.code.or(error.r#type).unwrap_or_default(),
                param: error.param.unwrap_or_default(),
            },
            Err(error) => Error::NotUnderstood(error.to_string()),
        };
        Err(refused)
    }

    async fn attempt_until_answered(
        &self,
        call: Call<'_>,
        request: RequestBuilder,
        idempotency_key: Option<&str>,
    ) -> Result<Response, Error> {
        let key = call.secrets.stripe_secret_key(call.now).await?;
        let authorization = format!("Bearer {}", key.expose_secret());
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("stripe-version", API_VERSION),
            ("user-agent", USER_AGENT),
        ];
        let (method, path, body) = parts(request);
        if body.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        if let Some(key) = idempotency_key {
            headers.push(("idempotency-key", key));
        }
        let mut last = Error::Unavailable("not attempted".to_owned());
        let mut attempts = ATTEMPTS;
        let mut attempt = 0;
        while attempt < attempts {
            let mut wait = backoff(&path, attempt);
            match self
                .endpoint
                .send(method, &path, &headers, body.clone())
                .await
            {
                Ok(response) if !is_worth_another(&response) => return Ok(response),
                Ok(response) => {
                    last = match response.status {
                        status @ 500.. => Error::Failed(status),
                        status => Error::Unavailable(format!("status {status}")),
                    };
                    if response.status == 429 {
                        attempts = ATTEMPTS_WHEN_LIMITED;
                    }
                    wait = wait.max(Duration::from_secs(
                        response.retry_after_seconds.unwrap_or_default(),
                    ));
                }
                Err(error) => last = Error::Unavailable(error.to_string()),
            }
            attempt += 1;
            if attempt < attempts {
                tokio::time::sleep(wait.min(BACKOFF_LIMIT)).await;
            }
        }
        Err(last)
    }
}

/// Doubling, and spread by what is asked for, so that callers who were refused together do not return
/// together.
fn backoff(path: &str, attempt: u32) -> Duration {
    let spread = digest::digest(&digest::SHA256, format!("{path}#{attempt}").as_bytes());
    let share = spread.as_ref().first().copied().map_or(0, u32::from);
    let doubled = BACKOFF * 2_u32.saturating_pow(attempt);
    doubled / 2 + doubled * share / 256
}

/// Stripe says so itself, or the status does. <https://docs.stripe.com/error-low-level>
fn is_worth_another(response: &Response) -> bool {
    let by_status = matches!(response.status, 409 | 429 | 500..=599);
    let failed = !(200..300).contains(&response.status);
    failed && response.should_retry.unwrap_or(by_status)
}

/// Method, path with query, and body. The builders write maps in a random order; sorted, a repeat under
/// the same idempotency key is the same body to the letter.
fn parts(request: RequestBuilder) -> (&'static str, String, Option<String>) {
    let method = match request.method {
        StripeMethod::Get => "GET",
        StripeMethod::Post => "POST",
        StripeMethod::Delete => "DELETE",
    };
    let query = request
        .query
        .filter(|query| !query.is_empty())
        .map(|query| format!("?{query}"));
    let path = format!("/v1{}{}", request.path, query.unwrap_or_default());
    let body = request.body.map(|body| {
        let mut pairs: Vec<&str> = body.split('&').collect();
        pairs.sort_unstable();
        pairs.join("&")
    });
    (method, path, body)
}

/// Derived from what is asked for, so that a repeat by anyone, also after a crash, is known to Stripe as
/// the same. <https://docs.stripe.com/api/idempotent_requests>
fn idempotency_key(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    format!("tollgate-{}", hex::encode(context.finish()))
}

fn charge_of(object: &RawValue) -> Result<Charge, Error> {
    Charge::parse(object.get()).map_err(|error| Error::NotUnderstood(error.to_string()))
}

fn user_metadata(user_id: &UserId) -> HashMap<String, String> {
    HashMap::from([(USER_ID_KEY.to_owned(), user_id.as_str().to_owned())])
}

fn purchase_metadata(user_id: &UserId, purchase: &Purchase) -> HashMap<String, String> {
    let kind = match purchase.kind {
        PurchaseKind::Plan => "plan",
        PurchaseKind::Pack => "pack",
    };
    let mut metadata = user_metadata(user_id);
    metadata.insert(kind.to_owned(), purchase.key.clone());
    metadata.insert("quantity".to_owned(), purchase.quantity.to_string());
    metadata
}

fn session_request(
    user_id: &UserId,
    customer_id: &CustomerId,
    checkout: &Checkout,
) -> session::CreateCheckoutSession {
    let purchase = &checkout.purchase;
    let metadata = purchase_metadata(user_id, purchase);
    let adjustable = purchase.seats.map(|(minimum, maximum)| {
        let mut adjustable = session::CreateCheckoutSessionLineItemsAdjustableQuantity::new(true);
        adjustable.minimum = minimum.try_into().ok();
        adjustable.maximum = maximum.try_into().ok();
        adjustable
    });
    let mut item = session::CreateCheckoutSessionLineItems::new();
    item.price = Some(purchase.price_id.as_str().to_owned());
    item.quantity = Some(purchase.quantity);
    item.adjustable_quantity = adjustable;
    let mut request = session::CreateCheckoutSession::new()
        .customer(customer_id.as_str())
        .client_reference_id(user_id.as_str())
        .line_items(vec![item])
        .currency(currency(&purchase.currency))
        .success_url(&purchase.success_url)
        .cancel_url(&purchase.cancel_url)
        .expires_at(checkout.expires_at.as_second())
        .metadata(metadata.clone());
    if purchase.promotion_codes {
        request = request.allow_promotion_codes(true);
    }
    if purchase.automatic_tax {
        // Stripe Tax needs an address; what the customer enters is kept with them.
        let mut update = session::CreateCheckoutSessionCustomerUpdate::new();
        update.address = Some(session::CreateCheckoutSessionCustomerUpdateAddress::Auto);
        request = request
            .automatic_tax(session::CreateCheckoutSessionAutomaticTax::new(true))
            .customer_update(update);
    }
    if purchase.recurring {
        let mut data = session::CreateCheckoutSessionSubscriptionData::new();
        data.metadata = Some(metadata);
        data.trial_period_days = purchase.trial_days.map(u32::from);
        request
            .mode(CheckoutSessionMode::Subscription)
            .subscription_data(data)
    } else {
        let mut data = session::CreateCheckoutSessionPaymentIntentData::new();
        data.metadata = Some(metadata);
        request
            .mode(CheckoutSessionMode::Payment)
            .payment_intent_data(data)
    }
}

fn currency(code: &str) -> stripe_types::Currency {
    // Parsing cannot fail: a code that the builders do not list stays as it is.
    code.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests;
