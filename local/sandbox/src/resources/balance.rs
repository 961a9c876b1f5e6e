//! Balance transactions: what each movement of money does to the account's balance.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::Fields;
use crate::world::World;

/// Books a movement and answers its id. Stripe's fee is 2.9 % and 30 of the smallest unit.
pub(crate) fn book(
    world: &mut World,
    kind: &str,
    category: &str,
    source: &Value,
    amount: i64,
    fee: i64,
) -> String {
    let id = world.id("txn_1");
    let now = world.now();
    world.put(json!({
        "id": id, "object": "balance_transaction", "amount": amount, "available_on": now, "balance_type": "payments",
        "created": now, "currency": source.text("currency"), "description": null, "exchange_rate": null, "fee": fee,
        "fee_details": if fee == 0 { json!([]) } else { json!([{
            "amount": fee, "application": null, "currency": source.text("currency"),
            "description": "Stripe processing fees", "type": "stripe_fee",
        }]) },
        "net": amount - fee, "reporting_category": category, "source": source.text("id"), "status": "available",
        "type": kind,
    }));
    id
}

/// What the account has: all movements, by currency.
pub(crate) fn retrieve(world: &World) -> Value {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::from([("usd", 0)]);
    for transaction in world.list("balance_transaction") {
        *sums.entry(transaction.text("currency")).or_default() += transaction.int("net");
    }
    let available: Vec<Value> = sums
        .into_iter()
        .map(|(currency, sum)| json!({ "amount": sum, "currency": currency, "source_types": { "card": sum } }))
        .collect();
    json!({ "object": "balance", "available": available, "livemode": false, "pending": [] })
}

/// The fee for a card payment.
pub(crate) fn card_fee(amount: i64) -> i64 {
    (amount * 29 + 500) / 1000 + 30
}
