//! Whose customers were seen lately: a guess that saves a read, because a customer never changes hands.
//! What the table says is read along and counts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ids::{CustomerId, UserId};

/// The most customers that are remembered; then all are forgotten.
const REMEMBERED_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Users(Mutex<HashMap<CustomerId, UserId>>);

impl Users {
    pub(super) fn of(&self, customer_id: &CustomerId) -> Option<UserId> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.get(customer_id).cloned()
    }

    pub(super) fn remember(&self, customer_id: &CustomerId, user_id: &UserId) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= REMEMBERED_MAX {
            users.clear();
        }
        users.insert(customer_id.clone(), user_id.clone());
    }
}
