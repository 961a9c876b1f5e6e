//! Events in the shapes of old and new API versions, and what is no event.

use serde_json::{Value, json};

use super::*;

fn parse(event_type: &str, object: &Value) -> Envelope {
    let event = json!({
        "id": "evt_1", "object": "event", "type": event_type, "created": 1_790_000_000, "livemode": false,
        "api_version": "2026-08-26.dahlia", "data": {"object": object},
    });
    Envelope::parse(event.to_string().as_bytes()).unwrap()
}

fn acted(event_type: &str, object: &Value) -> Acted {
    match parse(event_type, object).content {
        Content::Acted(acted) => acted,
        other @ (Content::Other | Content::Thin(_) | Content::NotUnderstood(_)) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn a_subscription_event_is_a_hint_about_its_customer() {
    let object = json!({"id": "sub_1", "customer": "cus_1", "metadata": {"user_id": "alice"}});
    for change in [
        "created",
        "updated",
        "deleted",
        "paused",
        "resumed",
        "trial_will_end",
    ] {
        let acted = acted(&format!("customer.subscription.{change}"), &object);
        assert_eq!(acted.customer_id, Some("cus_1".into()));
        assert_eq!(
            (acted.user_hint, acted.event),
            (Some("alice".into()), Event::Subscription)
        );
    }
}

#[test]
fn f14_an_invoice_names_its_subscription_at_the_top_or_under_parent() {
    let older = json!({
        "id": "in_1", "customer": {"id": "cus_1"}, "status": "paid", "total": 2900, "amount_paid": 2900,
        "currency": "usd", "created": 1_790_000_000, "subscription": "sub_1", "billing_reason": "subscription_cycle",
        "subscription_details": {"metadata": {"user_id": "alice"}},
        "lines": {"data": [{"price": {"id": "price_1"}, "quantity": 2, "proration": false}]},
    });
    let mut oldest = older.clone();
    oldest
        .as_object_mut()
        .unwrap()
        .remove("subscription_details");
    oldest["lines"]["data"][0]["metadata"] = json!({"user_id": "alice"});
    let mut newest = older.clone();
    newest.as_object_mut().unwrap().remove("subscription");
    newest
        .as_object_mut()
        .unwrap()
        .remove("subscription_details");
    newest["parent"] = json!({"type": "subscription_details", "subscription_details":
        {"subscription": "sub_1", "metadata": {"user_id": "alice"}}});
    newest["lines"]["data"][0] = json!({"quantity": 2, "pricing": {"price_details": {"price": "price_1"}},
        "parent": {"subscription_item_details": {"proration": false}}});
    let expected = acted("invoice.paid", &newest);
    assert_eq!(expected.user_hint, Some("alice".into()));
    let Event::Invoice(invoice, items) = &expected.event else {
        panic!()
    };
    assert_eq!(invoice.subscription_id, Some("sub_1".into()));
    assert_eq!(
        items,
        &[BilledItem {
            price_id: "price_1".into(),
            quantity: 2
        }]
    );
    assert_eq!(acted("invoice.paid", &older), expected);
    assert_eq!(acted("invoice.paid", &oldest), expected);
}

#[test]
fn a_detached_payment_method_names_its_customer_in_what_it_was() {
    let event = json!({
        "id": "evt_1", "type": "payment_method.detached", "created": 1, "livemode": false,
        "data": {
            "object": {"id": "pm_1", "type": "card", "customer": null,
                "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030}},
            "previous_attributes": {"customer": "cus_1"},
        },
    });
    let Content::Acted(acted) = Envelope::parse(event.to_string().as_bytes())
        .unwrap()
        .content
    else {
        panic!()
    };
    assert_eq!(acted.customer_id, Some("cus_1".into()));
    assert!(matches!(acted.event, Event::PaymentMethod(method) if method.detached));
}

#[test]
fn a_dispute_says_what_it_is_about_and_not_whom() {
    let dispute = json!({"id": "dp_1", "charge": "ch_1", "payment_intent": "pi_1", "amount": 500, "status": "lost"});
    let acted = acted("charge.dispute.closed", &dispute);
    assert_eq!(acted.customer_id, None);
    assert!(
        matches!(acted.event, Event::Dispute(dispute) if dispute.status == DisputeStatus::Lost)
    );
}

#[test]
fn a_deleted_customer_is_who_it_is_about() {
    let deleted = acted(
        "customer.deleted",
        &json!({"id": "cus_1", "object": "customer", "deleted": true}),
    );
    assert_eq!(
        (deleted.customer_id, deleted.event),
        (Some("cus_1".into()), Event::CustomerDeleted)
    );
}

#[test]
fn a_thin_notification_is_the_same_hint() {
    let thin = json!({
        "id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
        "created": "2026-09-21T14:13:20.000Z", "livemode": false,
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
    });
    let envelope = Envelope::parse(thin.to_string().as_bytes()).unwrap();
    let related = RelatedObject {
        id: "sub_1".to_owned(),
        r#type: "subscription".to_owned(),
    };
    assert_eq!(envelope.content, Content::Thin(related));
    assert_eq!(envelope.created.as_second(), 1_790_000_000);
    let object = json!({"id": "sub_1", "customer": "cus_1"});
    let full = parse("customer.subscription.updated", &object);
    assert_eq!(envelope.content_of(&object.to_string()), full.content);
}

#[test]
fn what_is_not_acted_on_is_other_whatever_it_holds() {
    for (event_type, object) in [
        (
            "customer.tax_id.created",
            json!({"id": "txi_1", "customer": 7}),
        ),
        ("product.created", json!({})),
        ("a.type.of.tomorrow", json!([1, 2])),
        (
            "checkout.session.completed",
            json!({"id": "cs_1", "customer": null, "payment_status": "paid"}),
        ),
    ] {
        assert_eq!(
            parse(event_type, &object).content,
            Content::Other,
            "{event_type}"
        );
    }
}

#[test]
fn an_event_of_ours_in_an_unknown_shape_is_not_understood() {
    let envelope = parse(
        "invoice.paid",
        &json!({"id": "in_1", "customer": "cus_1", "total": "much"}),
    );
    assert!(matches!(envelope.content, Content::NotUnderstood(_)));
}

#[test]
fn what_is_no_event_is_said_to_be_none() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"id":"evt_1"}"#,
        "\u{feff}{}",
        "<xml/>",
    ] {
        assert!(Envelope::parse(body.as_bytes()).is_err(), "{body}");
    }
    let neither = r#"{"id":"evt_1","type":"x","created":1,"livemode":false}"#;
    assert!(Envelope::parse(neither.as_bytes()).is_err());
}

#[test]
fn what_an_event_holds_is_never_quoted() {
    let secret = "alice@example.com";
    let body = json!({"id": "evt_1", "type": "invoice.paid", "created": 1, "livemode": secret, "data": {}});
    let error = Envelope::parse(body.to_string().as_bytes()).unwrap_err();
    assert!(!error.to_string().contains(secret), "{error}");
    let object = json!({"id": "in_1", "customer": "cus_1", "total": secret.repeat(30_000)});
    let Content::NotUnderstood(why) = parse("invoice.paid", &object).content else {
        panic!()
    };
    assert!(!why.contains(secret) && why.len() < 100, "{why}");
}

#[test]
fn an_event_is_not_refused_for_what_is_not_read() {
    let parse = |event_type: &str, more: Value| {
        let mut event = json!({"id": "evt_1", "type": event_type, "created": 1, "livemode": false,
            "data": {"object": {"id": "cus_1"}, "previous_attributes": {"customer": 7}}});
        event["related_object"] = more;
        Envelope::parse(event.to_string().as_bytes())
            .unwrap()
            .content
    };
    assert_eq!(parse("customer.created", json!({"id": 7})), Content::Other);
    assert!(matches!(
        parse("customer.updated", json!([])),
        Content::Acted(_)
    ));
}
