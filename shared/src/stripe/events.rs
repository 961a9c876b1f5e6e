//! What happened at Stripe, whether or not it was delivered: Stripe lists events for 30 days.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use stripe_client_core::StripeRequest;
use stripe_core::event::ListEvent;
use stripe_types::{RangeBoundsTs, RangeQueryTs};

use super::{Call, Error, List, PAGE_SIZE, Stripe};

/// The most pages that are read of one stretch of time.
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct Listed {
    id: String,
}

impl Stripe {
    /// The bodies of the events that were created from `from` on and before `to`. `None` when they are too
    /// many to be read at once: ask for a shorter time. <https://docs.stripe.com/api/events/list>
    pub async fn events(
        &self,
        call: Call<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Vec<Box<RawValue>>>, Error> {
        let created = RangeBoundsTs {
            gte: Some(from.as_second()),
            lt: Some(to.as_second()),
            ..RangeBoundsTs::default()
        };
        let all = ListEvent::new()
            .created(RangeQueryTs::Bounds(created))
            .limit(PAGE_SIZE);
        let mut events = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut request = all.clone();
            if let Some(after) = after.take() {
                request = request.starting_after(after);
            }
            let page: List<Box<RawValue>> = self.send(call, request.build(), None).await?;
            let last = page
                .data
                .last()
                .map(|last| serde_json::from_str(last.get()));
            let last: Option<Listed> = last
                .transpose()
                .map_err(|_| Error::NotUnderstood("an event without id".to_owned()))?;
            events.extend(page.data);
            if !page.has_more {
                return Ok(Some(events));
            }
            after = last.map(|last| last.id);
        }
        Ok(None)
    }
}
