//! The state machine: objects, events, clock and journal.
//!
//! Synchronous and without I/O besides its journal. What the objects mean is in `resources`; this file only keeps
//! them, numbers them and announces what happened.

mod notes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::journal::{Changes, Journal};
use crate::json::{Fields, public};
use crate::resources::due;
use crate::{API_VERSION, Error};

/// A card as a customer types it.
#[derive(Clone, Debug, Default)]
pub struct CardInput {
    /// Digits; spaces and dashes are ignored.
    pub number: String,
    /// 1 to 12; 0 stands for a month in the future.
    pub exp_month: u8,
    /// Four digits; 0 stands for a year in the future.
    pub exp_year: u16,
    /// Three digits, four for American Express; empty stands for a good one.
    pub cvc: String,
    /// Answer of the 3-D Secure challenge, when it was asked.
    pub authenticated: Option<bool>,
}

/// What paying led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayOutcome {
    /// The session is complete.
    Complete,
    /// The card wants a 3-D Secure challenge; pay again with the answer.
    RequiresAction,
}

/// The request that causes what happens now; events carry it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    pub(crate) request: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// All of Stripe's state, as far as the sandbox knows it.
pub struct World {
    objects: HashMap<String, Stored>,
    by_type: BTreeMap<String, BTreeMap<u64, String>>,
    events: BTreeMap<u64, Value>,
    event_numbers: HashMap<String, u64>,
    kv: BTreeMap<String, Value>,
    /// What happens by itself and when, by time and then by age of the object.
    due: BTreeSet<(i64, u64)>,
    ids: HashMap<u64, String>,
    next: u64,
    clock: Clock,
    /// The moment that `advance` is walking through; events happen then.
    moment: Option<i64>,
    journal: Journal,
    changes: Changes,
    public_url: String,
    pub(crate) cause: Cause,
    /// Charges that their cardholder disputes as soon as the payment is done.
    pub(crate) disputed: Vec<String>,
    /// Requests of the current second, by endpoint.
    requests: HashMap<String, (i64, u64)>,
}

struct Stored {
    seq: u64,
    due: Option<i64>,
    value: Value,
}

const OFFSET: &str = "clock/offset";

impl World {
    pub(crate) fn open(
        path: Option<&Path>,
        clock: Clock,
        public_url: String,
    ) -> Result<Self, Error> {
        let journal = Journal::open(path)?;
        let contents = journal.read()?;
        let mut world = Self {
            objects: HashMap::new(),
            by_type: BTreeMap::new(),
            events: BTreeMap::new(),
            event_numbers: HashMap::new(),
            kv: contents.kv.into_iter().collect(),
            due: BTreeSet::new(),
            ids: HashMap::new(),
            next: 1,
            clock,
            moment: None,
            journal,
            changes: Changes::default(),
            public_url,
            cause: Cause::default(),
            disputed: Vec::new(),
            requests: HashMap::new(),
        };
        for (id, seq, value) in contents.objects {
            world.next = world.next.max(seq + 1);
            world.index(&id, seq, value);
        }
        for (seq, event) in contents.events {
            world.next = world.next.max(seq + 1);
            world.event_numbers.insert(event.text("id").to_owned(), seq);
            world.events.insert(seq, event);
        }
        if let Some(offset) = world.kv_get(OFFSET).and_then(Value::as_i64) {
            world.clock.set_offset(offset);
        }
        world.forget_keys();
        world.furnish();
        Ok(world)
    }

    /// Seconds since 1970 on the sandbox's clock, or at the moment that is being walked through.
    pub fn now(&self) -> i64 {
        self.moment.unwrap_or_else(|| self.clock.now())
    }

    /// Base of the hosted pages' addresses.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Any object by its id.
    pub fn object(&self, id: &str) -> Option<&Value> {
        self.objects.get(id).map(|stored| &stored.value)
    }

    /// All objects whose `object` member is this, newest first.
    pub fn list(&self, object_type: &str) -> Vec<&Value> {
        let ids = self.by_type.get(object_type);
        ids.into_iter()
            .flat_map(|ids| ids.values().rev())
            .filter_map(|id| self.object(id))
            .collect()
    }

    /// Events with a greater sequence number, oldest first.
    pub fn events_after(&self, seq: u64) -> Vec<(u64, Value)> {
        self.events
            .range(seq.saturating_add(1)..)
            .map(|(seq, event)| (*seq, event.clone()))
            .collect()
    }

    /// An event by its id.
    pub fn event(&self, id: &str) -> Option<&Value> {
        self.events.get(self.event_numbers.get(id)?)
    }

    /// The sequence number of an event.
    pub(crate) fn event_number(&self, id: &str) -> Option<u64> {
        self.event_numbers.get(id).copied()
    }

    /// The sequence number of the newest event, zero when there is none.
    pub fn newest_event(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// All events, newest first.
    pub(crate) fn events_newest_first(&self) -> impl Iterator<Item = &Value> {
        self.events.values().rev()
    }

    /// Writes what changed since the last commit; a guard does it when dropped.
    pub(crate) fn commit(&mut self) -> Result<(), rusqlite::Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.changes);
        self.journal.write(&changes)
    }

    /// Stores an object as it is, without an event.
    pub(crate) fn put(&mut self, object: Value) {
        let id = object.text("id").to_owned();
        let seq = match self.objects.get(&id) {
            Some(stored) => stored.seq,
            None => self.number(),
        };
        self.changes
            .objects
            .insert(id.clone(), (seq, Some(object.clone())));
        self.index(&id, seq, object);
    }

    /// Removes an object from sight.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some(stored) = self.objects.remove(id) else {
            return;
        };
        if let Some(ids) = self.by_type.get_mut(stored.value.text("object")) {
            ids.remove(&stored.seq);
        }
        if let Some(due) = stored.due {
            self.due.remove(&(due, stored.seq));
        }
        self.ids.remove(&stored.seq);
        self.changes
            .objects
            .insert(id.to_owned(), (stored.seq, None));
    }

    /// Announces that something happened to an object as it is now.
    pub(crate) fn emit(
        &mut self,
        event_type: &str,
        object: &Value,
        previous: Option<Value>,
    ) -> String {
        let id = self.id("evt_1");
        let seq = self.number();
        let mut data = json!({ "object": public(object) });
        if let Some(previous) = previous {
            data.set("previous_attributes", previous);
        }
        let event = json!({
            "id": id,
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": self.cause.request, "idempotency_key": self.cause.idempotency_key },
            "type": event_type,
        });
        self.changes.events.push((seq, event.clone()));
        self.event_numbers.insert(id.clone(), seq);
        self.events.insert(seq, event);
        id
    }

    /// Stores an object and announces it.
    pub(crate) fn announce(&mut self, event_type: &str, object: Value) {
        self.emit(event_type, &object, None);
        self.put(object);
    }

    /// Stores the new state of an object and announces it with what its changed members were before. Says whether
    /// anything changed; an update that changes nothing is no event, as at Stripe.
    pub(crate) fn update(&mut self, event_type: &str, object: Value) -> bool {
        let previous = self
            .object(object.text("id"))
            .map(|before| changed(&public(before), &public(&object)));
        match previous {
            Some(Value::Object(members)) if members.is_empty() => {
                self.put(object);
                false
            }
            previous => {
                self.emit(event_type, &object, previous);
                self.put(object);
                true
            }
        }
    }

    /// A new id in Stripe's format.
    pub(crate) fn id(&self, prefix: &str) -> String {
        let length = if prefix.starts_with("cs_test_") {
            58
        } else {
            23
        };
        let random: String = (0..length).map(|_| fastrand::alphanumeric()).collect();
        format!("{prefix}{random}")
    }

    /// Walks to a moment without anything happening in between; `None` returns to the clock.
    pub(crate) fn set_moment(&mut self, moment: Option<i64>) {
        self.moment = moment;
    }

    pub(crate) fn moment(&self) -> Option<i64> {
        self.moment
    }

    /// Moves the clock itself.
    pub(crate) fn move_clock(&mut self, seconds: i64) {
        let offset = self.clock.offset().saturating_add(seconds);
        self.clock.set_offset(offset);
        self.kv_put(OFFSET, json!(offset));
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn index(&mut self, id: &str, seq: u64, value: Value) {
        let due = due::next(&value);
        let ids = self
            .by_type
            .entry(value.text("object").to_owned())
            .or_default();
        ids.insert(seq, id.to_owned());
        self.ids.insert(seq, id.to_owned());
        if let Some(due) = due {
            self.due.insert((due, seq));
        }
        let before = self
            .objects
            .insert(id.to_owned(), Stored { seq, due, value });
        if let Some(before) = before.and_then(|before| before.due)
            && Some(before) != due
        {
            self.due.remove(&(before, seq));
        }
    }

    /// Takes the first thing that is due by a moment.
    pub(crate) fn take_due(&mut self, until: i64) -> Option<(i64, String)> {
        let (time, seq) = *self.due.first().filter(|(time, _)| *time <= until)?;
        self.due.remove(&(time, seq));
        let id = self.ids.get(&seq)?.clone();
        // Whatever happens next stores the object again, and with that its next due time.
        if let Some(stored) = self.objects.get_mut(&id) {
            stored.due = None;
        }
        Some((time, id))
    }
}

/// Members of `before` that `after` shows differently, as Stripe's `previous_attributes`: nested objects hold only what
/// changed in them, lists are whole.
fn changed(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return before.clone();
    };
    let mut members = Map::new();
    for key in old
        .keys()
        .chain(new.keys().filter(|key| !old.contains_key(*key)))
    {
        let (was, is) = (
            old.get(key).unwrap_or(&Value::Null),
            new.get(key).unwrap_or(&Value::Null),
        );
        if was == is {
            continue;
        }
        let nested = was.is_object() && is.is_object();
        members.insert(
            key.clone(),
            if nested {
                changed(was, is)
            } else {
                was.clone()
            },
        );
    }
    Value::Object(members)
}
