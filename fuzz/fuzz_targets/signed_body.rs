//! Proves of `signature::sign` and `signature::verify`: what was signed is accepted as it is while it is
//! timely, and refused once one byte of body or header is changed, added or taken away, or under another
//! secret.
#![no_main]

use std::num::NonZeroU8;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use shared::signature::{SigningSecret, sign, verify};

#[derive(Arbitrary, Debug)]
struct Input {
    signed_at: u32,
    age: i16,
    place: Place,
    change: Change,
    body: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Place {
    Body,
    Header,
    Secret,
}

#[derive(Arbitrary, Debug)]
enum Change {
    None,
    Flip(u16, NonZeroU8),
    Insert(u16, u8),
    Remove(u16),
}

static SECRETS: LazyLock<[SigningSecret; 2]> =
    LazyLock::new(|| ["whsec_first", "whsec_second"].map(|text| SigningSecret::new(text).unwrap()));

fuzz_target!(|input: Input| {
    let [ours, other] = &*SECRETS;
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let signed_at = i64::from(input.signed_at);
    let mut header = sign(&input.body, ours, at(signed_at)).into_bytes();
    let mut body = input.body.clone();
    let mut secret = ours;
    let changed = match input.place {
        Place::Body => apply(&input.change, &mut body),
        Place::Header => apply(&input.change, &mut header),
        Place::Secret => {
            secret = other;
            true
        }
    };
    let verdict = verify(
        Some(&header),
        &body,
        std::slice::from_ref(secret),
        at(signed_at + i64::from(input.age)),
    );
    let expected = !changed && input.age.unsigned_abs() <= 300;
    assert_eq!(verdict.is_ok(), expected, "{verdict:?}");
});

/// Changes one byte, and says whether anything is different now.
fn apply(change: &Change, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.clone();
    let length = bytes.len();
    match *change {
        Change::Flip(at, with) if length > 0 => bytes[usize::from(at) % length] ^= with.get(),
        Change::Insert(at, byte) => bytes.insert(usize::from(at) % (length + 1), byte),
        Change::Remove(at) if length > 0 => {
            bytes.remove(usize::from(at) % length);
        }
        Change::None | Change::Flip(..) | Change::Remove(_) => {}
    }
    *bytes != before
}
