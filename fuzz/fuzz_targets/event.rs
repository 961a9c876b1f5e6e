//! Proves of `event::Envelope::parse`, whatever bytes arrive: it does not panic, and what it makes of them
//! does not depend on space between the members.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use shared::event::Envelope;

fuzz_target!(|body: &[u8]| {
    let Ok(envelope) = Envelope::parse(body) else {
        return;
    };
    let spaced = [b" \r\n\t", body, b"\n"].concat();
    assert_eq!(Envelope::parse(&spaced).ok().as_ref(), Some(&envelope));
    // An event is one JSON value and nothing beside it.
    assert!(serde_json::from_slice::<&RawValue>(body).is_ok() || str::from_utf8(body).is_err());
    assert!(Envelope::parse(&[body, b"{}"].concat()).is_err());
});
