//! Which function answers which route: the table that `template.yaml` says to API Gateway.
//!
//! A function is added here by a row in [`ROUTES`], a field in [`Functions`] and an arm in
//! [`Functions::handle`]. No function's work is done here.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use shared::config::{Environment, Error};
use shared::http::HttpClient;

/// A deployed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Checkout Sessions.
    Checkout,
    /// Customer Portal sessions.
    Portal,
    /// What the user has, and the plans.
    Profile,
    /// Stripe's events.
    Webhook,
}

/// One route of the HTTP API. A path matches as a whole; there are no variables.
#[derive(Clone, Debug)]
pub struct Route {
    /// Method of the request.
    pub method: Method,
    /// Path of the request.
    pub path: &'static str,
    /// The function that answers.
    pub function: Function,
}

/// All routes.
pub const ROUTES: [Route; 6] = [
    Route {
        method: Method::POST,
        path: "/api/billing/checkout-session",
        function: Function::Checkout,
    },
    Route {
        method: Method::POST,
        path: "/api/billing/portal-session",
        function: Function::Portal,
    },
    Route {
        method: Method::GET,
        path: "/api/user/me",
        function: Function::Profile,
    },
    Route {
        method: Method::GET,
        path: "/api/billing/plans",
        function: Function::Profile,
    },
    Route {
        method: Method::POST,
        path: "/api/webhooks/stripe",
        function: Function::Webhook,
    },
    Route {
        method: Method::POST,
        path: "/api/internal/stripe-events",
        function: Function::Webhook,
    },
];

impl Route {
    /// The route of a request, if there is one.
    pub fn find(method: &Method, path: &str) -> Option<&'static Self> {
        static TABLE: [Route; 6] = ROUTES;
        TABLE
            .iter()
            .find(|route| route.method == *method && route.path == path)
    }

    /// The route's key in API Gateway's words, such as `GET /api/user/me`.
    pub fn key(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How a function, by its name, is deployed: what it gets of the stack's environment, and its connections
/// to everything outside.
pub type Deploy =
    Arc<dyn Fn(&'static str, &Environment) -> (Environment, HttpClient) + Send + Sync>;

/// Every function gets everything, and all share one client.
pub fn deploy_with_everything() -> Deploy {
    let client = HttpClient::new();
    Arc::new(move |_function, environment| (environment.clone(), client.clone()))
}

/// The state of every function, made once, as a warm Lambda keeps it.
pub struct Functions {
    checkout: checkout::State,
    portal: portal::State,
    profile: profile::State,
    reconcile: reconcile::State,
    webhook: webhook::State,
}

impl Functions {
    /// Starts every function.
    ///
    /// # Errors
    /// When a function does not start with this environment; it names the variable.
    pub fn new(environment: &Environment, deploy: &Deploy) -> Result<Self, Error> {
        let (of_checkout, checkout) = deploy("checkout", environment);
        let (of_portal, portal) = deploy("portal", environment);
        let (of_profile, profile) = deploy("profile", environment);
        let (of_reconcile, reconcile) = deploy("reconcile", environment);
        let (of_webhook, webhook) = deploy("webhook", environment);
        Ok(Self {
            checkout: checkout::State::new(&of_checkout, checkout)?,
            portal: portal::State::new(&of_portal, portal)?,
            profile: profile::State::new(&of_profile, profile)?,
            reconcile: reconcile::State::new(&of_reconcile, reconcile)?,
            webhook: webhook::State::new(&of_webhook, webhook)?,
        })
    }

    /// Lets a function answer a request.
    pub async fn handle(
        &self,
        function: Function,
        request: Request,
        now: Timestamp,
    ) -> Response<Body> {
        match function {
            Function::Checkout => checkout::handle(&self.checkout, request, now).await,
            Function::Portal => portal::handle(&self.portal, request, now).await,
            Function::Profile => profile::handle(&self.profile, request, now).await,
            Function::Webhook => webhook::handle(&self.webhook, request, now).await,
        }
    }

    /// Runs what EventBridge Scheduler runs; what fails is due again at the next run.
    pub async fn run_scheduled(&self, now: Timestamp) {
        let invocation = format!("schedule-{:032x}", fastrand::u128(..));
        if let Err(error) = reconcile::handle(&self.reconcile, &invocation, now).await {
            tracing::warn!(%error, "a scheduled run failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_its_method_and_its_whole_path() {
        assert_eq!(
            Route::find(&Method::GET, "/api/user/me")
                .map(Route::key)
                .as_deref(),
            Some("GET /api/user/me")
        );
        assert!(Route::find(&Method::POST, "/api/user/me").is_none());
        assert!(Route::find(&Method::GET, "/api/user/me/").is_none());
    }
}
