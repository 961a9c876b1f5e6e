//! Proves of `event` and `decide` together, for any history of one user's events in Stripe's shapes: nothing
//! panics; deciding again after a decision was applied changes nothing more; the ledger has one entry per
//! source and the balance is its sum; no sale takes back more than it granted; and the same events in
//! another order and repeated end in the same account and records (P2, P3, P6).
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shared::access::Access;
use shared::account::Account;
use shared::catalog::{Catalog, Definition, StripePrices};
use shared::decide::{Decision, Fetched, Known, Record, decide, sale_of};
use shared::event::{Acted, Charge, Content, Envelope, Event, PaymentMethod};
use shared::sale::{Sale, SaleId};

const START: i64 = 1_790_000_000;

#[derive(Arbitrary, Debug)]
struct Input {
    open_checkout: Option<u8>,
    listed: [Option<Listed>; 2],
    events: Vec<Happening>,
}

/// A subscription in Stripe's answer to a fetch.
#[derive(Arbitrary, Debug)]
struct Listed {
    status: u8,
    quantity: u8,
    created: u16,
    cancel_at: Option<u16>,
    trial_end: Option<u16>,
    unpaid_since: Option<u16>,
}

/// An event. What Stripe never changes of an object follows from its number.
#[derive(Arbitrary, Debug)]
enum Happening {
    CheckoutSession {
        number: u8,
        payment_status: u8,
    },
    Invoice {
        number: u8,
        status: u8,
        attempts: u8,
        paid: u16,
    },
    PaymentIntent {
        number: u8,
        succeeded: bool,
    },
    Refund {
        number: u8,
        refunded: u16,
    },
    Dispute {
        number: u8,
        status: u8,
    },
    PaymentMethod {
        number: u8,
        detached: bool,
        expires: u8,
    },
    Subscription,
    CustomerUpdated,
    CustomerDeleted,
}

/// What a table would hold of the user.
#[derive(Clone, Debug)]
struct Table {
    account: Account,
    sales: BTreeMap<String, (SaleId, Sale)>,
    payment_methods: BTreeMap<String, PaymentMethod>,
    ledger: BTreeMap<String, i64>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let definition = Definition::parse(include_str!("../../catalog.toml")).unwrap();
    let prices = definition.offers().map(|offer| {
        let current = offer.lookup_key.replace("tollgate", "price").into();
        let former = Vec::new();
        (offer.lookup_key, StripePrices { current, former })
    });
    Catalog {
        prices: prices.collect(),
        definition: definition.clone(),
    }
});

fuzz_target!(|input: Input| {
    let events = &input.events[..input.events.len().min(24)];
    let is_deleted = |event: &Happening| matches!(event, Happening::CustomerDeleted);
    // Stripe lists nothing for a customer who is deleted by then.
    let listed = (!events.iter().any(is_deleted)).then(|| listed(&input.listed));
    let told = |events: &mut dyn Iterator<Item = &Happening>| {
        let mut table = Table::new(&input);
        for event in events {
            table.tell(event, listed.as_ref());
        }
        table
    };
    let forward = told(&mut events.iter());
    let backward = told(&mut events.iter().rev().chain(events.iter().rev()));
    assert!(
        forward.account.same_facts(&backward.account),
        "{forward:?} {backward:?}"
    );
    assert_eq!(forward.payment_methods, backward.payment_methods);
    assert_eq!(forward.facts(), backward.facts());
});

impl Table {
    fn new(input: &Input) -> Self {
        let mut account = json!({
            "user_id": "alice", "version": 1, "customer_id": "cus_1", "token_balance": 0, "synced_at": START,
        });
        if let Some(number) = input.open_checkout {
            account["checkout"] = json!({
                "attempt": 1, "begun_at": START, "expires_at": START + 3600,
                "session": {"id": format!("cs_{}", number % 3), "url": "https://checkout.example"},
                "purchase": {"key": "pro", "kind": "plan", "price_id": "price_pro_month", "recurring": true, "quantity": 1,
                    "currency": "usd", "success_url": "", "cancel_url": "", "promotion_codes": false, "automatic_tax": false},
            });
        }
        Self {
            account: serde_json::from_value(account).unwrap(),
            sales: BTreeMap::new(),
            payment_methods: BTreeMap::new(),
            ledger: BTreeMap::new(),
        }
    }

    /// The way of one event, without the world around it.
    fn tell(&mut self, happening: &Happening, listed: Option<&Value>) {
        let acted = parse(happening);
        let charge = match &acted.event {
            Event::Refund(charge) => Some(charge.clone()),
            Event::Dispute(dispute) => charge(dispute.charge.as_str()),
            _ => None,
        };
        if self.decide(&acted, charge.as_ref(), listed) == Decision::NoChange {
            return;
        }
        self.apply(&acted, charge.as_ref(), listed);
        let again = self.decide(&acted, charge.as_ref(), listed);
        assert_eq!(again, Decision::NoChange, "{happening:?}");
        self.check();
    }

    fn decide(&self, acted: &Acted, charge: Option<&Charge>, listed: Option<&Value>) -> Decision {
        let record = match (sale_of(&acted.event, charge), &acted.event) {
            (Some(id), _) => {
                let seen = self.sales.get(id.source());
                let sale = seen.map(|(_, sale)| sale.clone()).unwrap_or_default();
                Record::Sale(id, Box::new(sale))
            }
            (None, Event::PaymentMethod(method)) => {
                Record::PaymentMethod(self.payment_methods.get(method.id.as_str()).cloned())
            }
            (None, _) => Record::None,
        };
        let known = Known {
            account: self.account.clone(),
            record,
        };
        let fetched = listed.map(|listed| Fetched {
            at: Timestamp::from_second(START).unwrap(),
            subscriptions: serde_json::from_value(listed.clone()).unwrap(),
        });
        let customer_id = "cus_1".into();
        decide(
            &known,
            &customer_id,
            &acted.event,
            charge,
            fetched,
            &CATALOG,
        )
    }

    fn apply(&mut self, acted: &Acted, charge: Option<&Charge>, listed: Option<&Value>) {
        let Decision::Change(changes) = self.decide(acted, charge, listed) else {
            return;
        };
        if let Some(account) = changes.account {
            self.account = account;
        }
        match changes.record {
            Some(Record::Sale(id, sale)) => {
                self.sales.insert(id.source().to_owned(), (id, *sale));
            }
            Some(Record::PaymentMethod(Some(method))) => {
                self.payment_methods.insert(method.id.to_string(), method);
            }
            Some(Record::None | Record::PaymentMethod(None)) | None => {}
        }
        for entry in changes.ledger {
            let before = self.ledger.insert(entry.source.clone(), entry.tokens);
            assert_eq!(before, None, "the ledger has {} already", entry.source);
        }
    }

    fn check(&self) {
        assert_eq!(
            self.account.token_balance,
            self.ledger.values().sum::<i64>()
        );
        for (_, sale) in self.sales.values() {
            assert!((0..=sale.granted).contains(&sale.taken_back), "{sale:?}");
        }
        for seconds in [0, START, START + 100_000] {
            let now = Timestamp::from_second(seconds).unwrap();
            let _ = Access::of(&self.account, &CATALOG, now).features(&CATALOG);
        }
    }

    /// The sales, without how many entries it took to get there.
    fn facts(&self) -> BTreeMap<String, Sale> {
        let without_count = |sale: &Sale| Sale {
            corrections: 0,
            ..sale.clone()
        };
        self.sales
            .iter()
            .map(|(source, (_, sale))| (source.clone(), without_count(sale)))
            .collect()
    }
}

fn parse(happening: &Happening) -> Acted {
    let (event_type, object) = object(happening);
    let event = json!({
        "id": "evt_1", "object": "event", "type": event_type, "created": START, "livemode": false,
        "api_version": "2026-08-26.dahlia", "data": {"object": object, "previous_attributes": {"customer": "cus_1"}},
    });
    match Envelope::parse(event.to_string().as_bytes())
        .unwrap()
        .content
    {
        Content::Acted(acted) => acted,
        other => panic!("{other:?} of {event}"),
    }
}

/// The charge of that id, as a fetch would show it.
fn charge(id: &str) -> Option<Charge> {
    let number = id
        .strip_prefix("ch_")
        .and_then(|number| number.parse().ok())?;
    match parse(&Happening::Refund {
        number,
        refunded: 0,
    })
    .event
    {
        Event::Refund(charge) => Some(charge),
        _ => None,
    }
}

fn object(happening: &Happening) -> (&'static str, Value) {
    match happening {
        Happening::CheckoutSession {
            number,
            payment_status,
        } => {
            let number = number % 3;
            let packs = ["tokens_1000", "tokens_1000", "tokens_monthly"];
            // The third one is of a subscription, whose money its invoice tells of.
            (
                "checkout.session.completed",
                json!({
                    "id": format!("cs_{number}"), "customer": "cus_1",
                    "payment_status": pick(&["paid", "unpaid", "no_payment_required", "later"], *payment_status),
                    "payment_intent": (number < 2).then(|| format!("pi_{number}")),
                    "metadata": {"pack": pick(&packs, number), "quantity": (number + 1).to_string()},
                }),
            )
        }
        Happening::Invoice {
            number,
            status,
            attempts,
            paid,
        } => {
            let number = number % 2;
            let statuses = ["draft", "open", "uncollectible", "void", "paid", "lost"];
            let price = pick(&["price_pro_month", "price_tokens_monthly"], number);
            (
                "invoice.paid",
                json!({
                    "id": format!("in_{number}"), "customer": "cus_1", "status": pick(&statuses, *status), "attempt_count": attempts,
                    "amount_paid": paid, "total": 2900, "currency": "usd", "created": START, "billing_reason": "subscription_cycle",
                    "parent": {"subscription_details": {"subscription": "sub_0", "metadata": {}}},
                    "lines": {"data": [{"quantity": number + 1, "pricing": {"price_details": {"price": price}}}]},
                }),
            )
        }
        Happening::PaymentIntent { number, succeeded } => (
            "payment_intent.succeeded",
            json!({
                "id": format!("pi_{}", number % 2), "customer": "cus_1", "amount": 500, "currency": "usd", "created": START,
                "status": if *succeeded { "succeeded" } else { "requires_payment_method" },
            }),
        ),
        Happening::Refund { number, refunded } => {
            let number = number % 4;
            (
                "charge.refunded",
                json!({
                    "id": format!("ch_{number}"), "customer": "cus_1", "amount": 1000, "amount_refunded": refunded,
                    "payment_intent": (number < 3).then(|| format!("pi_{}", number % 2)),
                    "invoice": (number == 3).then_some("in_0"),
                }),
            )
        }
        Happening::Dispute { number, status } => {
            let statuses = [
                "warning_needs_response",
                "warning_under_review",
                "warning_closed",
                "needs_response",
                "under_review",
                "prevented",
                "won",
                "lost",
                "forgotten",
            ];
            let number = number % 4;
            (
                "charge.dispute.closed",
                json!({
                    "id": format!("dp_{number}"), "charge": format!("ch_{number}"), "amount": 700, "status": pick(&statuses, *status),
                }),
            )
        }
        Happening::PaymentMethod {
            number,
            detached,
            expires,
        } => (
            "payment_method.updated",
            json!({
                "id": format!("pm_{}", number % 2), "type": "card", "customer": (!detached).then_some("cus_1"),
                "card": {"brand": "visa", "last4": "4242", "exp_month": 1 + expires % 12, "exp_year": 2030 + u16::from(*expires)},
            }),
        ),
        Happening::Subscription => (
            "customer.subscription.updated",
            json!({"id": "sub_0", "customer": "cus_1"}),
        ),
        Happening::CustomerUpdated => ("customer.updated", json!({"id": "cus_1"})),
        Happening::CustomerDeleted => ("customer.deleted", json!({"id": "cus_1"})),
    }
}

fn listed(of: &[Option<Listed>; 2]) -> Value {
    let statuses = [
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "canceled",
        "paused",
        "hidden",
    ];
    let kept = of.iter().enumerate().filter_map(|(number, of)| {
        let of = of.as_ref()?;
        let mut subscription = json!({
            "id": format!("sub_{number}"), "status": pick(&statuses, of.status), "price_id": "price_pro_month",
            "currency": "usd", "quantity": of.quantity, "created": of.created,
            "current_period_start": START, "current_period_end": START + 2_592_000,
        });
        for (name, time) in [
            ("cancel_at", of.cancel_at),
            ("trial_end", of.trial_end),
            ("unpaid_since", of.unpaid_since),
        ] {
            if let Some(time) = time {
                subscription[name] = (START + i64::from(time)).into();
            }
        }
        Some(subscription)
    });
    kept.collect()
}

fn pick(from: &[&'static str], by: u8) -> &'static str {
    from[usize::from(by) % from.len()]
}
