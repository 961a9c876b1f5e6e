//! One fetch for everyone who waits: callers that ask for the same customer at once share the next answer.
//!
//! A caller may only use a fetch that began after it asked: what it asks for is newer than what it knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::ids::CustomerId;
use crate::subscription::Subscription;

/// An answer, and when the fetch began that brought it.
pub(super) type Answer = (Timestamp, Vec<Subscription>);

#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Counts askings and beginnings in the order in which they happen.
    turn: u64,
    customers: HashMap<CustomerId, Arc<tokio::sync::Mutex<Option<Landed>>>>,
}

#[derive(Debug)]
struct Landed {
    began: u64,
    answer: Answer,
}

impl Flights {
    /// The answer of a fetch that began after this call; made by `fetch` unless somebody else's fits.
    pub(super) async fn share<E, F: Future<Output = Result<Answer, E>>>(
        &self,
        customer_id: &CustomerId,
        fetch: impl FnOnce() -> F,
    ) -> Result<Answer, E> {
        let (asked, customer) = self.ask(customer_id);
        let result = {
            let mut landed = customer.lock().await;
            match landed.as_ref() {
                Some(shared) if shared.began > asked => Ok(shared.answer.clone()),
                _ => {
                    let began = self.next_turn();
                    let fetched = fetch().await;
                    if let Ok(answer) = &fetched {
                        *landed = Some(Landed {
                            began,
                            answer: answer.clone(),
                        });
                    }
                    fetched
                }
            }
        };
        self.leave(customer_id, customer);
        result
    }

    fn ask(&self, customer_id: &CustomerId) -> (u64, Arc<tokio::sync::Mutex<Option<Landed>>>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn += 1;
        let asked = state.turn;
        (
            asked,
            Arc::clone(state.customers.entry(customer_id.clone()).or_default()),
        )
    }

    fn next_turn(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn += 1;
        state.turn
    }

    /// Forgets a customer for whom nobody waits any more.
    fn leave(&self, customer_id: &CustomerId, customer: Arc<tokio::sync::Mutex<Option<Landed>>>) {
        drop(customer);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .customers
            .get(customer_id)
            .is_some_and(|customer| Arc::strong_count(customer) == 1)
        {
            state.customers.remove(customer_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_the_next_fetch_and_never_one_that_had_begun() {
        let flights = Flights::default();
        let fetched = AtomicUsize::new(0);
        let fetch = || async {
            let number = fetched.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Infallible>((
                Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
                vec![],
            ))
        };
        let (customer, other) = (CustomerId::from("cus_1"), CustomerId::from("cus_2"));
        let (first, second, third, alone) = tokio::join!(
            flights.share(&customer, fetch),
            flights.share(&customer, fetch),
            flights.share(&customer, fetch),
            flights.share(&other, fetch),
        );
        assert_eq!(first.unwrap().0.as_second(), 0);
        let (second, third) = (second.unwrap().0, third.unwrap().0);
        assert_eq!(second, third, "shared");
        assert!(second.as_second() > 0, "begun after they asked");
        assert!(alone.is_ok());
        assert_eq!(fetched.load(Ordering::SeqCst), 3);
        assert!(flights.0.lock().unwrap().customers.is_empty());
    }
}
