//! Renders an event in the shape of an older API version, as Stripe does for an endpoint pinned to one.
//!
//! Pure: what an older shape names and the newest does not (an invoice's payment, a line's price) comes in as `Related`.
//! Only breaking changes matter here; additions show in every version. <https://docs.stripe.com/changelog>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The version in which the sandbox keeps its objects.
pub(crate) const NEWEST: &str = "2026-08-26.dahlia";

/// The versions that can be asked for.
pub(crate) const KNOWN: [&str; 7] = [
    "2020-08-27",
    "2022-11-15",
    "2024-06-20",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
    NEWEST,
];

/// Objects that an older shape refers to or carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Related {
    /// The invoice that a payment intent or a charge pays.
    pub(crate) invoice: Option<String>,
    /// The payment intent of an invoice.
    pub(crate) payment_intent: Option<String>,
    /// The latest charge of an invoice or a payment intent, whole.
    pub(crate) charge: Option<Value>,
    /// Prices by id, for invoice lines.
    pub(crate) prices: BTreeMap<String, Value>,
}

/// The event as an endpoint pinned to `version` receives it.
pub(crate) fn render(event: &Value, version: &str, related: &Related) -> Value {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.insert("api_version".to_owned(), json!(version));
    }
    let object = event
        .pointer_mut("/data/object")
        .and_then(Value::as_object_mut);
    let Some(object) = object else { return event };
    let kind = object
        .get("object")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if version < "2026-03-25.dahlia" && kind == "checkout.session" {
        before_dahlia(object);
    }
    if version < "2025-09-30.clover" {
        discounts_before_clover(object);
    }
    if version < "2025-03-31.basil" {
        before_basil(&kind, object, related);
    }
    if version < "2022-11-15" {
        before_november_2022(&kind, object, related);
    }
    event
}

fn before_basil(kind: &str, object: &mut Map<String, Value>, related: &Related) {
    match kind {
        "subscription" => lift_period(object),
        "invoice" => invoice_before_basil(object, related),
        "payment_intent" | "charge" => {
            object.insert("invoice".to_owned(), json!(related.invoice));
        }
        _ => {}
    }
}

/// <https://docs.stripe.com/changelog/dahlia/2026-03-25/updates-available-checkout-session-ui-modes>
fn before_dahlia(session: &mut Map<String, Value>) {
    let older = match session.get("ui_mode").and_then(Value::as_str) {
        Some("hosted_page") => "hosted",
        Some("embedded_page") => "embedded",
        Some("elements") => "custom",
        _ => return,
    };
    session.insert("ui_mode".to_owned(), json!(older));
}

/// A discount named its coupon directly before `source`.
fn discounts_before_clover(object: &mut Map<String, Value>) {
    let discounts = object.get_mut("discounts").and_then(Value::as_array_mut);
    for discount in discounts
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if let Some(coupon) = discount
            .remove("source")
            .and_then(|mut source| source.get_mut("coupon").map(Value::take))
        {
            discount.insert("coupon".to_owned(), coupon);
        }
    }
}

/// <https://docs.stripe.com/changelog/basil/2025-03-31/deprecate-subscription-current-period-start-and-end>
fn lift_period(subscription: &mut Map<String, Value>) {
    let mut period = Vec::new();
    let items = subscription
        .get_mut("items")
        .and_then(|items| items.get_mut("data"))
        .and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        for field in ["current_period_start", "current_period_end"] {
            if let Some(value) = item.remove(field) {
                period.push((field, value));
            }
        }
    }
    // The first item speaks for the subscription: all items of one subscription renew together here.
    for (field, value) in period.into_iter().rev() {
        subscription.insert(field.to_owned(), value);
    }
}

/// <https://docs.stripe.com/changelog/basil/2025-03-31/adds-new-parent-field-to-invoicing-objects>
fn invoice_before_basil(invoice: &mut Map<String, Value>, related: &Related) {
    let mut parent = invoice.remove("parent").unwrap_or_default();
    let mut details = parent
        .get_mut("subscription_details")
        .map(Value::take)
        .unwrap_or_default();
    let subscription = details
        .get_mut("subscription")
        .map(Value::take)
        .unwrap_or_default();
    let metadata = details
        .get_mut("metadata")
        .map(Value::take)
        .unwrap_or_default();
    invoice.insert("subscription".to_owned(), subscription);
    invoice.insert(
        "subscription_details".to_owned(),
        json!({ "metadata": metadata }),
    );
    invoice.insert("payment_intent".to_owned(), json!(related.payment_intent));
    invoice.insert(
        "charge".to_owned(),
        related
            .charge
            .as_ref()
            .and_then(|charge| charge.get("id"))
            .cloned()
            .unwrap_or_default(),
    );
    let paid = invoice.get("status").and_then(Value::as_str) == Some("paid");
    invoice.insert("paid".to_owned(), json!(paid));
    invoice.insert("paid_out_of_band".to_owned(), json!(false));
    for newer in [
        "payments",
        "confirmation_secret",
        "total_taxes",
        "total_pretax_credit_amounts",
    ] {
        invoice.remove(newer);
    }
    invoice.entry("tax").or_insert(Value::Null);
    let lines = invoice
        .get_mut("lines")
        .and_then(|lines| lines.get_mut("data"))
        .and_then(Value::as_array_mut);
    for line in lines.into_iter().flatten().filter_map(Value::as_object_mut) {
        line_before_basil(line, related);
    }
}

fn line_before_basil(line: &mut Map<String, Value>, related: &Related) {
    let parent = line.remove("parent").unwrap_or_default();
    let of_subscription =
        parent.get("type").and_then(Value::as_str) == Some("subscription_item_details");
    let details = if of_subscription {
        parent.get("subscription_item_details")
    } else {
        parent.get("invoice_item_details")
    };
    let detail = |field: &str| {
        details
            .and_then(|details| details.get(field))
            .cloned()
            .unwrap_or_default()
    };
    line.insert(
        "type".to_owned(),
        json!(if of_subscription {
            "subscription"
        } else {
            "invoiceitem"
        }),
    );
    line.insert(
        "proration".to_owned(),
        json!(detail("proration").as_bool().unwrap_or(false)),
    );
    line.insert("proration_details".to_owned(), detail("proration_details"));
    for field in ["subscription", "subscription_item", "invoice_item"] {
        if of_subscription || field != "subscription_item" {
            line.insert(field.to_owned(), detail(field));
        }
    }
    line.remove("taxes");
    let pricing = line.remove("pricing").unwrap_or_default();
    let price = pricing
        .pointer("/price_details/price")
        .and_then(Value::as_str)
        .unwrap_or_default();
    line.insert(
        "price".to_owned(),
        related.prices.get(price).cloned().unwrap_or_default(),
    );
}

/// <https://docs.stripe.com/changelog/2022-11-15>: `charges` gave way to `latest_charge`, `refunds` are no longer included.
fn before_november_2022(kind: &str, object: &mut Map<String, Value>, related: &Related) {
    match kind {
        "payment_intent" => {
            object.remove("latest_charge");
            let mut charge = related.charge.clone();
            if let Some(charge) = charge.as_mut().and_then(Value::as_object_mut) {
                charge.insert("invoice".to_owned(), json!(related.invoice));
            }
            let intent = object.get("id").and_then(Value::as_str).unwrap_or_default();
            let url = format!("/v1/charges?payment_intent={intent}");
            let total = i64::from(charge.is_some());
            let data: Vec<Value> = charge.into_iter().collect();
            let list = json!({"object": "list", "data": data, "has_more": false, "total_count": total, "url": url});
            object.insert("charges".to_owned(), list);
        }
        "charge" => {
            let charge = object.get("id").and_then(Value::as_str).unwrap_or_default();
            let url = format!("/v1/charges/{charge}/refunds");
            object
                .entry("refunds")
                .or_insert(json!({"object": "list", "data": [], "has_more": false, "url": url}));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: Value) -> Value {
        json!({"id": "evt_1", "object": "event", "api_version": NEWEST, "data": {"object": object}})
    }

    fn subscription() -> Value {
        event(
            json!({"id": "sub_1", "object": "subscription", "items": {"object": "list", "data": [
            {"id": "si_1", "current_period_start": 10, "current_period_end": 20},
            {"id": "si_2", "current_period_start": 11, "current_period_end": 21}]}}),
        )
    }

    fn invoice() -> Value {
        event(
            json!({"id": "in_1", "object": "invoice", "status": "paid", "total_taxes": [],
            "parent": {"type": "subscription_details", "quote_details": null,
                "subscription_details": {"subscription": "sub_1", "metadata": {"user_id": "u"}}},
            "lines": {"data": [{"id": "il_1", "pricing": {"type": "price_details", "price_details": {"price": "price_1"}},
                "parent": {"type": "subscription_item_details", "subscription_item_details":
                    {"subscription": "sub_1", "subscription_item": "si_1", "proration": true, "invoice_item": null}}}]}}),
        )
    }

    fn related() -> Related {
        Related {
            invoice: Some("in_1".to_owned()),
            payment_intent: Some("pi_1".to_owned()),
            charge: Some(json!({"id": "ch_1", "object": "charge"})),
            prices: BTreeMap::from([(
                "price_1".to_owned(),
                json!({"id": "price_1", "unit_amount": 900}),
            )]),
        }
    }

    #[test]
    fn f13_the_period_stands_on_the_subscription_before_basil() {
        for version in KNOWN {
            let rendered = render(&subscription(), version, &Related::default());
            assert_eq!(rendered["api_version"], version);
            let object = &rendered["data"]["object"];
            if version < "2025-03-31.basil" {
                assert_eq!(object["current_period_start"], 10);
                assert_eq!(object["current_period_end"], 20);
                assert_eq!(object["items"]["data"][0], json!({"id": "si_1"}));
            } else {
                assert_eq!(object, &subscription()["data"]["object"]);
            }
        }
    }

    #[test]
    fn f14_an_invoice_names_subscription_and_payment_at_the_top_before_basil() {
        let object = &render(&invoice(), "2024-06-20", &related())["data"]["object"];
        assert_eq!(object["subscription"], "sub_1");
        assert_eq!(
            object["subscription_details"],
            json!({"metadata": {"user_id": "u"}})
        );
        assert_eq!(object["payment_intent"], "pi_1");
        assert_eq!(object["charge"], "ch_1");
        assert_eq!(object["paid"], true);
        assert_eq!(object.get("parent"), None);
        let line = &object["lines"]["data"][0];
        assert_eq!(line["type"], "subscription");
        assert_eq!(line["subscription_item"], "si_1");
        assert_eq!(line["proration"], true);
        assert_eq!(line["price"]["unit_amount"], 900);
        assert_eq!(line.get("pricing"), None);

        let newer = render(&invoice(), "2025-03-31.basil", &related());
        assert_eq!(newer["data"]["object"], invoice()["data"]["object"]);
    }

    #[test]
    fn an_invoice_without_a_payment_has_null_in_its_place() {
        let object = &render(&invoice(), "2020-08-27", &Related::default())["data"]["object"];
        assert_eq!(object["payment_intent"], Value::Null);
        assert_eq!(object["charge"], Value::Null);
    }

    #[test]
    fn a_payment_intent_knows_its_invoice_and_carried_its_charges() {
        let intent =
            event(json!({"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1"}));
        let object = &render(&intent, "2024-06-20", &related())["data"]["object"];
        assert_eq!(object["invoice"], "in_1");
        assert_eq!(object["latest_charge"], "ch_1");
        let oldest = &render(&intent, "2020-08-27", &related())["data"]["object"];
        assert_eq!(oldest["charges"]["data"][0]["invoice"], "in_1");
        assert_eq!(oldest.get("latest_charge"), None);
        assert_eq!(render(&intent, NEWEST, &related())["data"], intent["data"]);
    }

    #[test]
    fn words_and_discounts_of_older_versions() {
        let session = event(
            json!({"object": "checkout.session", "ui_mode": "hosted_page",
            "discounts": [{"source": {"type": "coupon", "coupon": "co_1"}}]}),
        );
        let ui_mode = |version| {
            render(&session, version, &Related::default())["data"]["object"]["ui_mode"].clone()
        };
        assert_eq!(ui_mode("2025-09-30.clover"), "hosted");
        assert_eq!(ui_mode("2026-03-25.dahlia"), "hosted_page");
        let rendered = render(&session, "2025-03-31.basil", &Related::default());
        assert_eq!(
            rendered["data"]["object"]["discounts"],
            json!([{"coupon": "co_1"}])
        );
    }
}
