//! What a warm invocation costs beside the calls that it cannot do without.
//!
//! `webhook`, for an event that needs no fetch, against the same BatchGetItem and TransactWriteItems made with
//! the bare SDK; `profile` against one GetItem and one RS256 verification. Both sides run in turn, in one process,
//! over one kind of connection, against the DynamoDB that the environment names (`.ci/dev.py` runs this beside a
//! `tollgate dev`). The functions log to standard output as they do on Lambda; the results go to standard error.
//! Ends with an error when a bound is broken.
#![expect(
    clippy::disallowed_methods,
    reason = "a program that measures reads the environment and the clock"
)]
#![expect(clippy::print_stderr, reason = "its results are its output")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what cannot be set up is to stop"
)]

use std::time::{Duration, Instant};

use bench::recorder::Recorder;
use bench::{bare, input};
use jiff::Timestamp;
use serde_json::Value;
use shared::account::Account;
use shared::config::Environment;
use shared::http::HttpClient;
use shared::store::Store;

/// Pairs that count, and those before them that do not.
const PAIRS: usize = 400;
const WARM_UP: usize = 60;

/// The medians' bounds, in hundredths of what the bare calls take.
const WEBHOOK_BOUND: u128 = 125;
const PROFILE_BOUND: u128 = 130;

const USER: &str = "bench";
const CUSTOMER: &str = "cus_00000000000001";

/// How long one side of a comparison took, each time that counts.
#[derive(Default)]
struct Taken(Vec<Duration>);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let environment: Environment = std::env::vars().collect();
    shared::telemetry::init(&environment, Timestamp::now);
    let within = [webhook(&environment).await, profile(&environment).await];
    if within.contains(&false) {
        std::process::exit(1);
    }
}

async fn webhook(environment: &Environment) -> bool {
    let recorder = Recorder::new();
    let state = webhook::State::new(environment, recorder.client()).unwrap();
    let client = shared::aws::dynamodb(environment, &Recorder::new().client()).unwrap();
    claim(environment).await;
    bare::copy_to_twins(&client, environment.require("TABLE_NAME").unwrap()).await;

    let (mut ours, mut floor) = (Taken::default(), Taken::default());
    let run = Timestamp::now().as_millisecond();
    for number in 0..WARM_UP + PAIRS {
        let now = Timestamp::now();
        let request = input::payment_succeeded(environment, &format!("{run}x{number}"), now);
        let counts = number >= WARM_UP;
        let answer = ours
            .measure(counts, webhook::handle(&state, request, now))
            .await;
        let answered: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answered["outcome"], "applied", "{answered}");

        let asked = recorder.take();
        let [read, write] = &asked[..] else {
            // The first event finds out whose customer it is; the catalogue is read again once a minute.
            ours.forget(counts);
            continue;
        };
        assert_eq!(
            (read.0.as_str(), write.0.as_str()),
            ("BatchGetItem", "TransactWriteItems")
        );
        let (read, write) = (
            bare::batch_get(&client, &read.1),
            bare::transact(&client, &write.1),
        );
        floor
            .measure(counts, async {
                read.send().await.expect("the bare read");
                write.send().await.expect("the bare write");
            })
            .await;
    }
    compared(
        "webhook, applied",
        "BatchGetItem + TransactWriteItems",
        ours,
        floor,
        WEBHOOK_BOUND,
    )
}

async fn profile(environment: &Environment) -> bool {
    let recorder = Recorder::new();
    let state = profile::State::new(environment, recorder.client()).unwrap();
    let client = shared::aws::dynamodb(environment, &Recorder::new().client()).unwrap();
    let token = environment
        .require("BENCH_TOKEN")
        .expect("a token of the user");
    let keys = bare::keys(environment, token).await;

    let (mut ours, mut floor) = (Taken::default(), Taken::default());
    for number in 0..WARM_UP + PAIRS {
        let (request, counts) = (input::me(token), number >= WARM_UP);
        let answer = ours
            .measure(counts, profile::handle(&state, request, Timestamp::now()))
            .await;
        let answered: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answered["user_id"], USER, "{answered}");

        let asked = recorder.take();
        let [(operation, read)] = &asked[..] else {
            ours.forget(counts);
            continue;
        };
        assert_eq!(operation, "GetItem");
        let read = bare::get(&client, read);
        floor
            .measure(counts, async {
                keys.verify(token);
                read.send().await.expect("the bare read");
            })
            .await;
    }
    compared(
        "profile, /api/user/me",
        "RS256 + GetItem",
        ours,
        floor,
        PROFILE_BOUND,
    )
}

/// Makes the customer of the events the user's, as Checkout does.
async fn claim(environment: &Environment) {
    let store = Store::new(environment, &HttpClient::new()).unwrap();
    let user = USER.into();
    let account: Account = store.account(&user).await.unwrap();
    if account.customer_id.is_none() {
        let claimed = store
            .claim_customer(&account, &CUSTOMER.into(), "bench")
            .await;
        claimed.expect("the customer is the user's");
    }
}

impl Taken {
    async fn measure<T>(&mut self, counts: bool, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        if counts {
            self.0.push(begun.elapsed());
        }
        done
    }

    /// The last one was not what is compared.
    fn forget(&mut self, counted: bool) {
        if counted {
            self.0.pop();
        }
    }

    fn median_microseconds(mut self) -> u128 {
        self.0.sort_unstable();
        self.0[self.0.len() / 2].as_micros()
    }
}

/// Says what was measured, and whether it is within `bound` hundredths of the floor.
fn compared(what: &str, least: &str, ours: Taken, floor: Taken, bound: u128) -> bool {
    let pairs = ours.0.len();
    assert!(
        pairs == floor.0.len() && pairs > PAIRS * 9 / 10,
        "{what}: only {pairs} of {PAIRS} did what is compared"
    );
    let [ours, floor] = [ours, floor].map(Taken::median_microseconds);
    let hundredths = ours * 100 / floor.max(1);
    let within = hundredths <= bound;
    eprintln!(
        "{what}: {ours} µs; {least}: {floor} µs; {}.{:02} times (bound {}.{:02}), {pairs} pairs{}",
        hundredths / 100,
        hundredths % 100,
        bound / 100,
        bound % 100,
        if within { "" } else { ": BROKEN" },
    );
    within
}
