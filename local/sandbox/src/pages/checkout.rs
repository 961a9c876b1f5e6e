//! The Checkout page: what is bought, the card, and what became of the session.

use serde_json::{Value, json};

use super::card_form::{self, CardForm};
use super::html::{columns, day, escape, href, money, plain, rhythm};
use crate::World;
use crate::json::Fields;

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// What the page shows of a session.
pub(super) struct View {
    session: Value,
    lines: Vec<Value>,
    product: String,
    email: String,
    trial_days: i64,
    now: i64,
}

impl View {
    /// Reads a session and what belongs to it; `None` without such a session.
    pub(super) fn read(world: &mut World, id: &str) -> Option<Self> {
        // Asking for the lines first lets an overdue session expire before it is shown.
        let lines = world.call(
            "GET",
            &format!("/v1/checkout/sessions/{id}/line_items"),
            &json!({}),
        );
        let session = world
            .object(id)
            .filter(|object| object.text("object") == "checkout.session")?
            .clone();
        let lines = lines
            .map(|list| list.items("data").to_vec())
            .unwrap_or_default();
        let product = lines
            .first()
            .map(|line| line.text("description"))
            .unwrap_or_default()
            .to_owned();
        let email = [
            session.text("customer_details/email"),
            session.text("customer_email"),
        ];
        let customer = world
            .object(session.text("customer"))
            .map(|customer| customer.text("email"));
        let email = email
            .into_iter()
            .chain(customer)
            .find(|email| !email.is_empty())
            .unwrap_or_default()
            .to_owned();
        let trial_days = trial_days(&session, world.now());
        Some(Self {
            session,
            lines,
            product,
            email,
            trial_days,
            now: world.now(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.session.text("status") == "open"
    }

    /// Where the customer goes after paying.
    pub(super) fn after_payment(&self) -> String {
        self.session
            .text("success_url")
            .replace("{CHECKOUT_SESSION_ID}", self.session.text("id"))
    }

    /// The page, with what was typed before and why it failed.
    pub(super) fn page(&self, form: &CardForm, error: Option<&str>) -> String {
        match self.session.text("status") {
            "complete" => self.finished(
                "You're all done here",
                "This checkout session is complete: it has been paid.",
            ),
            "expired" => self.finished(
                "This link has expired",
                "This checkout session has expired. Go back and start again.",
            ),
            _ => columns(
                &format!("Checkout: {}", self.product),
                &self.summary(),
                &self.form(form, error),
            ),
        }
    }

    /// The issuer's 3-D Secure page.
    pub(super) fn challenge(&self, form: &CardForm) -> String {
        let body = format!(
            "<h1>3-D Secure</h1><p id=\"message\">Your bank wants to know that it is you who pays {}.</p>\
             <p class=\"muted\">This is a test page: choose how the authentication ends.</p>\
             <form method=\"post\" action=\"{}\">{}\
             <button class=\"primary\" id=\"authentication-complete\" name=\"challenge\" value=\"complete\">Complete authentication</button>\
             <p></p><button id=\"authentication-fail\" name=\"challenge\" value=\"fail\">Fail authentication</button></form>",
            self.due_today(),
            escape(&self.path()),
            form.hidden(),
        );
        plain("3-D Secure", &body)
    }

    fn path(&self) -> String {
        format!("/c/pay/{}", self.session.text("id"))
    }

    fn currency(&self) -> &str {
        self.session.text("currency")
    }

    fn due_today(&self) -> String {
        money(self.session.int("amount_total"), self.currency())
    }

    fn is_subscription(&self) -> bool {
        self.session.text("mode") == "subscription"
    }

    fn finished(&self, title: &str, message: &str) -> String {
        let back = self.session.text("cancel_url");
        let link = if back.is_empty() {
            String::new()
        } else {
            format!("<p><a id=\"return\" href=\"{}\">Return</a></p>", href(back))
        };
        plain(
            title,
            &format!("<h1>{title}</h1><p id=\"message\" class=\"muted\">{message}</p>{link}"),
        )
    }

    fn summary(&self) -> String {
        let cancel = self.session.text("cancel_url");
        let back = if cancel.is_empty() {
            String::new()
        } else {
            format!(
                "<p><a id=\"cancel\" href=\"{}\" aria-label=\"Cancel and go back\">&larr; Back</a></p>",
                href(cancel)
            )
        };
        let verb = if self.is_subscription() {
            "Subscribe to"
        } else {
            "Pay for"
        };
        let lines: String = self.lines.iter().map(|line| self.line(line)).collect();
        format!(
            "{back}<p><span class=\"badge\">TEST MODE</span></p><h1 id=\"product\">{verb} {}</h1>\
             <p class=\"amount\" id=\"amount\">{}</p><p class=\"muted\" id=\"interval\">{}</p>{}\
             <ul class=\"lines\">{lines}<li class=\"total\"><span>Total due today</span><span id=\"total\">{}</span></li></ul>",
            escape(&self.product),
            self.headline(),
            self.interval(),
            self.trial(),
            self.due_today(),
        )
    }

    /// The price of a period, also when a trial makes today free.
    fn headline(&self) -> String {
        let price = self.lines.first().map(|line| {
            line.int("price/unit_amount")
                .saturating_mul(line.int("quantity").max(1))
        });
        match price {
            Some(amount) if self.trial_days > 0 && self.lines.len() == 1 => {
                money(amount, self.currency())
            }
            _ => self.due_today(),
        }
    }

    fn interval(&self) -> String {
        let recurring = self
            .lines
            .iter()
            .find(|line| line.is_set("price/recurring"));
        recurring.map_or_else(String::new, |line| {
            rhythm(
                line.text("price/recurring/interval"),
                line.int("price/recurring/interval_count"),
            )
        })
    }

    fn trial(&self) -> String {
        if self.trial_days == 0 {
            return String::new();
        }
        let end = self
            .now
            .saturating_add(self.trial_days.saturating_mul(SECONDS_A_DAY));
        format!(
            "<p class=\"notice\" id=\"trial\">{} days free, then {} {} from {}.</p>",
            self.trial_days,
            self.headline(),
            self.interval(),
            day(end)
        )
    }

    fn line(&self, line: &Value) -> String {
        let quantity = line.int("quantity").max(1);
        let times = if quantity > 1 {
            format!(" <span class=\"muted\">&times; {quantity}</span>")
        } else {
            String::new()
        };
        let amount = money(
            line.int("price/unit_amount").saturating_mul(quantity),
            self.currency(),
        );
        format!(
            "<li><span>{}{times}</span><span>{amount}</span></li>",
            escape(line.text("description"))
        )
    }

    fn form(&self, form: &CardForm, error: Option<&str>) -> String {
        let error = error.map_or_else(String::new, |error| {
            format!(
                "<p class=\"error\" id=\"error\" role=\"alert\">{}</p>",
                escape(error)
            )
        });
        let email = if self.email.is_empty() {
            String::new()
        } else {
            format!(
                "<label for=\"email\">Email</label><input id=\"email\" type=\"email\" value=\"{}\" readonly>",
                escape(&self.email)
            )
        };
        let button = match (self.is_subscription(), self.trial_days) {
            (true, 0) => "Subscribe".to_owned(),
            (true, _) => "Start trial".to_owned(),
            (false, _) => format!("Pay {}", self.due_today()),
        };
        format!(
            "<h2>Pay with card</h2>{error}<form method=\"post\" action=\"{}\" id=\"payment-form\">{email}{}\
             <button class=\"primary\" id=\"pay\" type=\"submit\">{button}</button></form>{}{}",
            escape(&self.path()),
            form.fields(),
            card_form::hint(),
            self.debit_form(form, &button),
        )
    }

    /// A second form, when the session takes debits besides cards.
    fn debit_form(&self, form: &CardForm, button: &str) -> String {
        let types = self.session.items("payment_method_types");
        if !types.iter().any(|name| name == "sepa_debit") {
            return String::new();
        }
        format!(
            "<h2>Pay by SEPA debit</h2><form method=\"post\" action=\"{}\" id=\"debit-form\">{}\
             <button class=\"primary\" id=\"pay-debit\" type=\"submit\">{button}</button></form>{}",
            escape(&self.path()),
            form.iban_field(),
            card_form::iban_hint(),
        )
    }
}

/// A session does not show its trial; the sandbox keeps what the session was created with.
fn trial_days(session: &Value, now: i64) -> i64 {
    let days = session.int("_subscription_data/trial_period_days");
    let end = session.int("_subscription_data/trial_end");
    if days == 0 && end > now {
        end.saturating_sub(now) / SECONDS_A_DAY
    } else {
        days
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(status: &str) -> View {
        View {
            session: json!({"id": "cs_test_1", "status": status, "mode": "subscription", "currency": "usd",
                "amount_total": 0, "cancel_url": "http://localhost/cancel", "success_url": "http://localhost/?s={CHECKOUT_SESSION_ID}"}),
            lines: vec![json!({"description": "<Pro>", "quantity": 2,
                "price": {"unit_amount": 1500, "recurring": {"interval": "month", "interval_count": 1}}})],
            product: "<Pro>".to_owned(),
            email: "a@example.com".to_owned(),
            trial_days: 14,
            now: 1_797_760_800,
        }
    }

    #[test]
    fn an_open_session_can_be_paid() {
        let html = view("open").page(&CardForm::default(), Some("Your <card> was declined."));
        for part in [
            "id=\"card-number\"",
            "id=\"card-expiry\"",
            "id=\"card-cvc\"",
            "id=\"pay\"",
            "Start trial",
            "&lt;Pro&gt;",
            "14 days free, then $30.00 per month from 3 January 2027.",
            "Your &lt;card&gt; was declined.",
            "http://localhost/cancel",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<Pro>"));
        assert_eq!(
            view("open").after_payment(),
            "http://localhost/?s=cs_test_1"
        );
    }

    #[test]
    fn a_finished_session_says_so() {
        for (status, words) in [("complete", "is complete"), ("expired", "has expired")] {
            let html = view(status).page(&CardForm::default(), None);
            assert!(html.contains(words));
            assert!(!html.contains("id=\"pay\""));
        }
    }

    #[test]
    fn the_challenge_has_two_ends() {
        let html = view("open").challenge(&CardForm::default());
        assert!(html.contains("Complete authentication") && html.contains("Fail authentication"));
    }
}
