//! What happened at Stripe, whether or not it was delivered: Stripe lists events for 30 days.
//! <https://docs.stripe.com/api/events/list>

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use stripe_client_core::StripeRequest;
use stripe_core::event::ListEvent;
use stripe_types::{RangeBoundsTs, RangeQueryTs};

use super::{Call, Error, List, PAGE_SIZE, Stripe};

/// The most pages that are read of one stretch of time.
const PAGES_MAX: usize = 20;

/// An event that Stripe still owes to some endpoint.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct UndeliveredEvent {
    /// `evt_…`
    pub id: String,
    /// Stripe's type string.
    pub r#type: String,
    /// When it happened, in seconds since 1970.
    pub created: i64,
    /// How many deliveries are owed; none when all attempts have failed.
    pub pending_webhooks: i64,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

impl Stripe {
    /// The bodies of the events that were created from `from` on and before `to`. `None` when they are too
    /// many to be read at once: ask for a shorter time.
    pub async fn events(
        &self,
        call: Call<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Vec<Box<RawValue>>>, Error> {
        self.list_events(call, ListEvent::new(), from, to).await
    }

    /// The events of that time that Stripe still owes to some endpoint.
    pub async fn undelivered_events(
        &self,
        call: Call<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<UndeliveredEvent>, Error> {
        let undelivered = ListEvent::new().delivery_success(false);
        let bodies = self.list_events(call, undelivered, from, to).await?;
        let too_many = || Error::NotUnderstood("too many undelivered events".to_owned());
        let events: Result<Vec<UndeliveredEvent>, Error> = bodies
            .ok_or_else(too_many)?
            .iter()
            .map(|body| read(body))
            .collect();
        let mut events = events?;
        events.retain(|event| event.pending_webhooks > 0);
        Ok(events)
    }

    async fn list_events(
        &self,
        call: Call<'_>,
        wanted: ListEvent,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Vec<Box<RawValue>>>, Error> {
        let created = RangeBoundsTs {
            gte: Some(from.as_second()),
            lt: Some(to.as_second()),
            ..RangeBoundsTs::default()
        };
        let wanted = wanted
            .created(RangeQueryTs::Bounds(created))
            .limit(PAGE_SIZE);
        let mut events = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut request = wanted.clone();
            if let Some(after) = after.take() {
                request = request.starting_after(after);
            }
            let page: List<Box<RawValue>> = self.send(call, request.build(), None).await?;
            let last: Option<Listed> = page.data.last().map(|last| read(last)).transpose()?;
            events.extend(page.data);
            if !page.has_more {
                return Ok(Some(events));
            }
            after = last.map(|last| last.id);
        }
        Ok(None)
    }
}

fn read<'b, T: Deserialize<'b>>(event: &'b RawValue) -> Result<T, Error> {
    serde_json::from_str(event.get())
        .map_err(|_| Error::NotUnderstood("an event without its usual fields".to_owned()))
}
