//! Time passing: renewals, trial ends, retries, expiries, each at its own moment.
//!
//! `due` says what happens when; this module does it.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::due::{self, Step};
use crate::resources::invoice_lines::{self, Period};
use crate::resources::invoices::collection;
use crate::resources::invoices::{self, Draft};
use crate::resources::payment_intents::attempts;
use crate::resources::payment_intents::attempts::Attempt;
use crate::resources::subscriptions::beginning;
use crate::resources::{checkout, subscription_changes};
use crate::world::World;

/// How long a renewal's invoice stays a draft.
const DRAFT_SECONDS: i64 = 3600;

impl World {
    /// Moves the clock; everything due happens in order, each at its own time.
    ///
    /// # Errors
    /// When the clock would go back.
    pub fn advance(&mut self, seconds: i64) -> Result<(), ApiError> {
        if seconds < 0 {
            return Err(ApiError::invalid("The clock cannot be moved back.").param("seconds"));
        }
        self.walk(self.now().saturating_add(seconds));
        self.move_clock(seconds);
        Ok(())
    }

    /// Catches up with the clock.
    pub(crate) fn tick(&mut self) {
        self.walk(self.now());
    }

    fn walk(&mut self, until: i64) {
        let cause = std::mem::take(&mut self.cause);
        let moment = self.moment();
        while let Some((time, id)) = self.take_due(until) {
            self.set_moment(Some(time));
            if let Err(error) = step(self, &id) {
                tracing::warn!(object = %id, error = %error.message, "a due step of the sandbox was refused");
            }
            self.open_disputes();
        }
        self.set_moment(moment);
        self.cause = cause;
    }
}

fn step(world: &mut World, id: &str) -> Result<(), ApiError> {
    let Some(object) = world.object(id).cloned() else {
        return Ok(());
    };
    let Some((_, step)) = due::step(&object) else {
        return Ok(());
    };
    match step {
        Step::ExpireIncomplete => expire_incomplete(world, object),
        Step::TrialNotice => {
            world.emit("customer.subscription.trial_will_end", &object, None);
            note(world, object, "_trial_notice", json!(true));
        }
        Step::UpcomingNotice => announce_upcoming(world, object),
        Step::ResumeCollection => {
            let mut subscription = object;
            subscription.set("pause_collection", Value::Null);
            world.update("customer.subscription.updated", subscription);
        }
        Step::Cancel => world.cancel_subscription(id, Some("cancellation_requested")),
        Step::TrialEnd => end_trial(world, id)?,
        Step::Renew => renew(world, object)?,
        Step::FinalizeInvoice => finalize(world, id)?,
        Step::RetryInvoice => {
            // The outcome is in the invoice and its events.
            collection::collect(
                world,
                id,
                None,
                Attempt {
                    off_session: true,
                    authenticated: None,
                },
                true,
            )
            .ok();
        }
        Step::DropPendingUpdate => drop_pending_update(world, object),
        Step::ExpireCheckout => checkout::expire(world, id)?,
        Step::SettlePayment => attempts::settle(world, object)?,
    }
    Ok(())
}

fn note(world: &mut World, mut object: Value, name: &str, value: Value) {
    object.set(name, value);
    world.put(object);
}

fn expire_incomplete(world: &mut World, mut subscription: Value) {
    subscription.set("status", "incomplete_expired");
    subscription.set("ended_at", world.now());
    let invoice = subscription.text("latest_invoice").to_owned();
    world.update("customer.subscription.updated", subscription);
    collection::give_up(world, &invoice, "void").ok();
}

/// A change that was never paid for does not happen.
fn drop_pending_update(world: &mut World, mut subscription: Value) {
    subscription.set("pending_update", Value::Null);
    let invoice = subscription.text("latest_invoice").to_owned();
    world.update("customer.subscription.updated", subscription.clone());
    world.emit(
        "customer.subscription.pending_update_expired",
        &subscription,
        None,
    );
    collection::give_up(world, &invoice, "void").ok();
}

fn announce_upcoming(world: &mut World, subscription: Value) {
    let mut next = subscription.clone();
    roll(&mut next);
    let mut upcoming = next_invoice(world, &next);
    // Stripe's upcoming invoice does not exist yet.
    let end = subscription.int("items/data/0/current_period_end");
    upcoming.set("id", world.id("upcoming_in_1"));
    upcoming.set("next_payment_attempt", end + DRAFT_SECONDS);
    world.emit("invoice.upcoming", &upcoming, None);
    note(world, subscription, "_upcoming", json!(end));
}

/// Moves a subscription's items into their next period.
pub(crate) fn roll(subscription: &mut Value) {
    let first = subscription.at("items/data/0").clone();
    let start = first.int("current_period_end");
    let end = beginning::next_end(
        first.at("price"),
        subscription.int("billing_cycle_anchor"),
        start,
    );
    subscription_changes::set_period(subscription, Some(start), end);
}

/// The invoice for the period that a subscription is in; nothing is stored.
pub(crate) fn next_invoice(world: &World, subscription: &Value) -> Value {
    invoices::build(world, cycle_draft(world, subscription, None))
}

fn cycle_draft<'a>(world: &World, subscription: &'a Value, finalizes_at: Option<i64>) -> Draft<'a> {
    let items = subscription.items("items/data").iter();
    let mut lines: Vec<Value> = items
        .map(|item| invoice_lines::of_item(world, subscription, item, false))
        .collect();
    let customer = subscription.text("customer");
    let currency = subscription.text("currency");
    lines.extend(invoices::pending_lines(
        world,
        customer,
        Some(subscription.text("id")),
        currency,
    ));
    let start = subscription.int("items/data/0/current_period_start");
    let before = world
        .object(subscription.text("id"))
        .map_or(start, |s| s.int("items/data/0/current_period_start"));
    Draft {
        customer,
        currency,
        subscription: Some(subscription),
        reason: "subscription_cycle",
        lines,
        period: Period {
            start: before,
            end: start,
        },
        finalizes_at,
    }
}

fn renew(world: &mut World, mut subscription: Value) -> Result<(), ApiError> {
    roll(&mut subscription);
    bill_period(world, subscription)
}

/// Drafts the invoice of the period that began, as Stripe does an hour before it collects.
fn bill_period(world: &mut World, mut subscription: Value) -> Result<(), ApiError> {
    let behavior = subscription.text("pause_collection/behavior").to_owned();
    let collected = behavior != "keep_as_draft" && subscription.text("status") != "unpaid";
    let finalizes_at = collected.then(|| world.now() + DRAFT_SECONDS);
    let invoice = invoices::create(world, cycle_draft(world, &subscription, finalizes_at));
    subscription.set("latest_invoice", invoice.as_str());
    world.update("customer.subscription.updated", subscription);
    if matches!(behavior.as_str(), "void" | "mark_uncollectible") {
        invoices::finalize(world, &invoice, None)?;
        if world
            .require("invoice", &invoice, "invoice")?
            .text("status")
            == "open"
        {
            let status = if behavior == "void" {
                "void"
            } else {
                "uncollectible"
            };
            collection::give_up(world, &invoice, status)?;
        }
    }
    Ok(())
}

/// Ends a trial: on to the first paid period, or to what `trial_settings` says when there is no payment method.
pub(crate) fn end_trial(world: &mut World, id: &str) -> Result<(), ApiError> {
    let mut subscription = world.require("subscription", id, "id")?.clone();
    let own = subscription.is_set("default_payment_method");
    let customer = world.object(subscription.text("customer"));
    let has_method =
        own || customer.is_some_and(|c| c.is_set("invoice_settings/default_payment_method"));
    let behavior = subscription
        .text("trial_settings/end_behavior/missing_payment_method")
        .to_owned();
    let now = world.now();
    if !has_method && behavior == "cancel" {
        world.cancel_subscription(id, Some("payment_failed"));
        return Ok(());
    }
    subscription.set("trial_end", now.min(subscription.int("trial_end")));
    if !has_method && behavior == "pause" {
        subscription.set("status", "paused");
        world.update("customer.subscription.updated", subscription.clone());
        world.emit("customer.subscription.paused", &subscription, None);
        return Ok(());
    }
    begin_paid_period(world, subscription)
}

/// Takes up a paused subscription with a period that begins now.
pub(crate) fn resume(world: &mut World, id: &str) -> Result<(), ApiError> {
    let subscription = world.require("subscription", id, "id")?.clone();
    begin_paid_period(world, subscription)?;
    let resumed = world.require("subscription", id, "id")?.clone();
    world.emit("customer.subscription.resumed", &resumed, None);
    Ok(())
}

fn begin_paid_period(world: &mut World, mut subscription: Value) -> Result<(), ApiError> {
    let now = world.now();
    subscription.set("status", "active");
    subscription.set("billing_cycle_anchor", now);
    let end = beginning::next_end(subscription.at("items/data/0/price"), now, now);
    subscription_changes::set_period(&mut subscription, Some(now), end);
    bill_period(world, subscription)
}

/// Makes a due draft final and collects it.
fn finalize(world: &mut World, id: &str) -> Result<(), ApiError> {
    invoices::finalize(world, id, None)?;
    let invoice = world.require("invoice", id, "invoice")?;
    let charged = invoice.text("status") == "open"
        && invoice.text("collection_method") == "charge_automatically";
    if charged {
        collection::collect(
            world,
            id,
            None,
            Attempt {
                off_session: true,
                authenticated: None,
            },
            true,
        )
        .ok();
    }
    Ok(())
}
