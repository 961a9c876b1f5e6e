//! What happens by itself, and when: read from an object alone, so that `World` can keep all of it in one order.

use serde_json::Value;

use crate::json::Fields;

const DAY: i64 = 86_400;
/// How long a first invoice may stay unpaid.
const INCOMPLETE_SECONDS: i64 = 23 * 3600;
/// How early a trial's end and a renewal are announced.
const NOTICE_SECONDS: i64 = 3 * DAY;

/// Something that happens without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    ExpireIncomplete,
    TrialNotice,
    UpcomingNotice,
    ResumeCollection,
    Cancel,
    TrialEnd,
    Renew,
    FinalizeInvoice,
    RetryInvoice,
    ExpireCheckout,
    SettlePayment,
    DropPendingUpdate,
}

/// When the next thing happens to an object.
pub(crate) fn next(object: &Value) -> Option<i64> {
    step(object).map(|(time, _)| time)
}

/// The next thing that happens to an object; of several at one moment the first in Stripe's order.
pub(crate) fn step(object: &Value) -> Option<(i64, Step)> {
    let steps = match object.text("object") {
        "subscription" => subscription(object),
        "invoice" => invoice(object),
        "checkout.session" if object.text("status") == "open" => {
            vec![(object.int("expires_at"), Step::ExpireCheckout)]
        }
        "payment_intent" if object.is_set("_settles_at") => {
            vec![(object.int("_settles_at"), Step::SettlePayment)]
        }
        _ => Vec::new(),
    };
    steps.into_iter().min_by_key(|(time, _)| *time)
}

fn subscription(object: &Value) -> Vec<(i64, Step)> {
    let end = object.int("items/data/0/current_period_end");
    let start = object.int("items/data/0/current_period_start");
    let mut steps = Vec::new();
    let status = object.text("status");
    if status == "incomplete" {
        steps.push((
            object.int("created") + INCOMPLETE_SECONDS,
            Step::ExpireIncomplete,
        ));
    }
    if !matches!(status, "trialing" | "active" | "past_due" | "unpaid") {
        return steps;
    }
    if status == "trialing" && !object.flag("_trial_notice") {
        steps.push((
            (object.int("trial_end") - NOTICE_SECONDS).max(object.int("created")),
            Step::TrialNotice,
        ));
    }
    let ends = object.is_set("cancel_at") && object.int("cancel_at") <= end;
    if status == "active" && !ends && object.int("_upcoming") != end && end - NOTICE_SECONDS > start
    {
        steps.push((end - NOTICE_SECONDS, Step::UpcomingNotice));
    }
    if object.is_set("pause_collection/resumes_at") {
        steps.push((
            object.int("pause_collection/resumes_at"),
            Step::ResumeCollection,
        ));
    }
    if object.is_set("pending_update") {
        steps.push((
            object.int("pending_update/expires_at"),
            Step::DropPendingUpdate,
        ));
    }
    if object.is_set("cancel_at") {
        steps.push((object.int("cancel_at"), Step::Cancel));
    }
    steps.push(if status == "trialing" {
        (object.int("trial_end"), Step::TrialEnd)
    } else {
        (end, Step::Renew)
    });
    steps
}

fn invoice(object: &Value) -> Vec<(i64, Step)> {
    let mut steps = Vec::new();
    if object.text("status") == "draft" && object.is_set("automatically_finalizes_at") {
        steps.push((
            object.int("automatically_finalizes_at"),
            Step::FinalizeInvoice,
        ));
    }
    if object.text("status") == "open" && object.is_set("next_payment_attempt") {
        steps.push((object.int("next_payment_attempt"), Step::RetryInvoice));
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subscription_of(status: &str, more: &Value) -> Value {
        let mut object = json!({
            "object": "subscription", "status": status, "created": 0,
            "items": { "data": [{ "current_period_start": 0, "current_period_end": 30 * DAY }] },
        });
        for (name, value) in more.as_object().unwrap() {
            object.set(name, value.clone());
        }
        object
    }

    #[test]
    fn a_month_in_order() {
        let fresh = subscription_of("active", &json!({}));
        assert_eq!(step(&fresh), Some((27 * DAY, Step::UpcomingNotice)));
        let announced = subscription_of("active", &json!({ "_upcoming": 30 * DAY }));
        assert_eq!(step(&announced), Some((30 * DAY, Step::Renew)));
    }

    #[test]
    fn an_end_comes_before_the_renewal_of_the_same_second() {
        let ending = subscription_of("active", &json!({ "cancel_at": 30 * DAY }));
        assert_eq!(step(&ending), Some((30 * DAY, Step::Cancel)));
    }

    #[test]
    fn what_has_ended_stays_ended() {
        for status in ["canceled", "incomplete_expired", "paused"] {
            assert_eq!(step(&subscription_of(status, &json!({}))), None, "{status}");
        }
    }
}
