//! What the Portal page shows of a customer.

use serde_json::Value;

use super::super::card_form::{self, CardForm};
use super::super::html::{day, escape, href, money, rhythm};
use crate::World;
use crate::json::Fields;

/// One session's Portal.
pub(super) struct Portal<'a> {
    pub(super) world: &'a World,
    /// Id and token of the session, as its address has them.
    pub(super) key: &'a str,
    pub(super) session: &'a Value,
}

impl Portal<'_> {
    pub(super) fn side(&self) -> String {
        let return_url = self.session.text("return_url");
        let link = if return_url.is_empty() {
            String::new()
        } else {
            format!(
                "<p><a id=\"return\" href=\"{}\">&larr; Return</a></p>",
                href(return_url)
            )
        };
        let email = self
            .world
            .object(self.customer())
            .map(|customer| customer.text("email"))
            .unwrap_or_default();
        format!(
            "{link}<p><span class=\"badge\">TEST MODE</span></p><h1>Manage your billing</h1>\
             <p class=\"muted\" id=\"email\">{}</p>",
            escape(email)
        )
    }

    pub(super) fn main(&self, error: Option<&str>) -> String {
        let error = error.map_or_else(String::new, |error| {
            format!(
                "<p class=\"error\" id=\"error\" role=\"alert\">{}</p>",
                escape(error)
            )
        });
        let subscriptions: String = self
            .subscriptions()
            .into_iter()
            .map(|subscription| self.subscription(subscription))
            .collect();
        let subscriptions = if subscriptions.is_empty() {
            "<p class=\"muted\" id=\"no-subscription\">You have no subscription.</p>".to_owned()
        } else {
            subscriptions
        };
        let invoices = if self.offers("invoice_history") {
            format!("<h2>Invoice history</h2>{}", self.invoices())
        } else {
            String::new()
        };
        format!(
            "{error}<h2>Current subscription</h2>{subscriptions}<h2>Payment method</h2>{}{}{invoices}",
            self.card(),
            self.card_form()
        )
    }

    fn customer(&self) -> &str {
        self.session.text("customer")
    }

    fn offers(&self, feature: &str) -> bool {
        super::offers(self.world, self.session, feature)
    }

    fn subscriptions(&self) -> Vec<&Value> {
        let ended = ["canceled", "incomplete_expired"];
        let all = self.world.list("subscription").into_iter();
        all.filter(|subscription| subscription.text("customer") == self.customer())
            .filter(|subscription| !ended.contains(&subscription.text("status")))
            .collect()
    }

    fn subscription(&self, subscription: &Value) -> String {
        let item = subscription.at("items/data/0");
        let price = item.at("price");
        let status = subscription.text("status");
        let good = if matches!(status, "active" | "trialing") {
            ""
        } else {
            " bad"
        };
        let end = subscription
            .int("cancel_at")
            .max(if subscription.flag("cancel_at_period_end") {
                item.int("current_period_end")
            } else {
                0
            });
        let next = if end > 0 {
            format!("Cancels on {}", day(end))
        } else {
            format!("Renews on {}", day(item.int("current_period_end")))
        };
        format!(
            "<article data-subscription=\"{}\"><p><strong id=\"plan\">{}</strong> <span class=\"status{good}\" id=\"status\">{}</span></p>\
             <p id=\"price\">{}</p><p class=\"muted\" id=\"next\">{next}</p>{}{}</article>",
            escape(subscription.text("id")),
            escape(&self.name(price)),
            escape(status),
            self.amount(price, item.int("quantity")),
            self.change_form(subscription, price),
            self.end_form(subscription, end > 0),
        )
    }

    /// A form with one action for one subscription.
    fn action(&self, action: &str, subscription: &Value, fields: &str) -> String {
        format!(
            "<form class=\"inline\" method=\"post\" action=\"/p/session/{}/{action}\">\
             <input type=\"hidden\" name=\"subscription\" value=\"{}\">{fields}</form>",
            escape(self.key),
            escape(subscription.text("id"))
        )
    }

    fn change_form(&self, subscription: &Value, current: &Value) -> String {
        if !self.offers("subscription_update") {
            return String::new();
        }
        let same_currency = |price: &&Value| price.text("currency") == current.text("currency");
        let prices = self
            .world
            .list("price")
            .into_iter()
            .filter(|price| price.flag("active") && price.is_set("recurring"));
        let options: String = prices
            .filter(same_currency)
            .map(|price| {
                let id = price.text("id");
                let selected = if id == current.text("id") {
                    " selected"
                } else {
                    ""
                };
                format!(
                    "<option value=\"{}\"{selected}>{}, {}</option>",
                    escape(id),
                    escape(&self.name(price)),
                    self.amount(price, 1)
                )
            })
            .collect();
        self.action(
            "change",
            subscription,
            &format!(
                "<label for=\"plan-select\">Plan</label><div class=\"row\"><select id=\"plan-select\" name=\"price\">{options}</select> \
                 <button id=\"change-plan\" type=\"submit\">Change plan</button></div>"
            ),
        )
    }

    fn end_form(&self, subscription: &Value, ends: bool) -> String {
        if !self.offers("subscription_cancel") {
            return String::new();
        }
        let (action, id, words) = if ends {
            ("resume", "resume-subscription", "Don't cancel subscription")
        } else {
            ("cancel", "cancel-subscription", "Cancel at period end")
        };
        self.action(
            action,
            subscription,
            &format!("<button id=\"{id}\" type=\"submit\">{words}</button>"),
        )
    }

    /// The card that renewals are charged to: the customer's, or else the subscription's own.
    fn card(&self) -> String {
        let customer = self.world.object(self.customer());
        let default =
            customer.map(|customer| customer.text("invoice_settings/default_payment_method"));
        let own = self
            .subscriptions()
            .into_iter()
            .map(|subscription| subscription.text("default_payment_method"));
        let id = default.into_iter().chain(own).find(|id| !id.is_empty());
        let Some(method) = id.and_then(|id| self.world.object(id)) else {
            return "<p class=\"muted\" id=\"card\">No card is saved.</p>".to_owned();
        };
        if !method.is_set("card") {
            let last4 = escape(method.text("sepa_debit/last4"));
            return format!("<p id=\"card\">SEPA debit &bull;&bull;&bull;&bull; {last4}</p>");
        }
        let card = method.at("card");
        format!(
            "<p id=\"card\">{} &bull;&bull;&bull;&bull; {}, expires {:02}/{}</p>",
            escape(card.text("brand")),
            escape(card.text("last4")),
            card.int("exp_month"),
            card.int("exp_year")
        )
    }

    fn card_form(&self) -> String {
        if !self.offers("payment_method_update") {
            return String::new();
        }
        format!(
            "<details id=\"update-card-details\"><summary>Update card</summary>\
             <form method=\"post\" action=\"/p/session/{}/card\">{}\
             <button class=\"primary\" id=\"update-card\" type=\"submit\">Save card</button></form>{}</details>",
            escape(self.key),
            CardForm::default().fields(),
            card_form::hint()
        )
    }

    fn invoices(&self) -> String {
        let all = self
            .world
            .list("invoice")
            .into_iter()
            .filter(|invoice| invoice.text("customer") == self.customer());
        let rows: String = all
            .map(|invoice| {
                format!(
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    day(invoice.int("created")),
                    escape(invoice.text("number")),
                    money(invoice.int("total"), invoice.text("currency")),
                    escape(invoice.text("status"))
                )
            })
            .collect();
        if rows.is_empty() {
            return "<p class=\"muted\" id=\"no-invoices\">There are no invoices.</p>".to_owned();
        }
        format!(
            "<table id=\"invoices\"><thead><tr><th>Date</th><th>Number</th><th>Amount</th><th>Status</th></tr></thead>\
             <tbody>{rows}</tbody></table>"
        )
    }

    fn name(&self, price: &Value) -> String {
        let product = self
            .world
            .object(price.text("product"))
            .map(|product| product.text("name"));
        let nickname = Some(price.text("nickname"));
        product
            .into_iter()
            .chain(nickname)
            .find(|name| !name.is_empty())
            .unwrap_or("Subscription")
            .to_owned()
    }

    fn amount(&self, price: &Value, quantity: i64) -> String {
        let amount = price.int("unit_amount").saturating_mul(quantity.max(1));
        let rhythm = rhythm(
            price.text("recurring/interval"),
            price.int("recurring/interval_count"),
        );
        format!("{} {rhythm}", money(amount, price.text("currency")))
    }
}
