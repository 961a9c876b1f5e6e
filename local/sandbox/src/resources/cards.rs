//! Stripe's test cards and what each of them does: <https://docs.stripe.com/testing>.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::world::CardInput;

/// When a card asks its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    Never,
    /// Until it was set up for payments without its holder.
    UntilSetUp,
    Always,
}

/// What comes of a card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestCard {
    pub(crate) authentication: Authentication,
    /// Code and decline code of every charge.
    pub(crate) decline: Option<(&'static str, Option<&'static str>)>,
    /// It can be saved although charges fail.
    pub(crate) can_be_saved: bool,
    pub(crate) disputed: bool,
    /// Seconds until a debit is known to have succeeded or failed; cards answer at once.
    pub(crate) settles_after: Option<i64>,
}

const GOOD: TestCard = TestCard {
    authentication: Authentication::Never,
    decline: None,
    can_be_saved: true,
    disputed: false,
    settles_after: None,
};

const FAILING_DEBIT: TestCard = TestCard {
    decline: Some(("generic_decline", None)),
    settles_after: Some(SOON),
    ..GOOD
};

/// When Stripe's quick and slow test debits are settled.
const SOON: i64 = 2;
const LATER: i64 = 180;

/// The behavior of a card number, or of the IBAN of a debit.
pub(crate) fn test_card(number: &str) -> TestCard {
    let declined = |code, decline_code| TestCard {
        decline: Some((code, decline_code)),
        can_be_saved: false,
        ..GOOD
    };
    match number {
        "4000000000000002" => declined("card_declined", Some("generic_decline")),
        "4000000000009995" => declined("card_declined", Some("insufficient_funds")),
        "4000000000009987" => declined("card_declined", Some("lost_card")),
        "4000000000009979" => declined("card_declined", Some("stolen_card")),
        "4000000000006975" => declined("card_declined", Some("card_velocity_exceeded")),
        "4000000000000069" => declined("expired_card", None),
        "4000000000000127" => declined("incorrect_cvc", None),
        "4000000000000119" => declined("processing_error", None),
        "4000000000000341" => TestCard {
            decline: Some(("card_declined", Some("generic_decline"))),
            ..GOOD
        },
        "4000002500003155" => TestCard {
            authentication: Authentication::UntilSetUp,
            ..GOOD
        },
        "4000002760003184" | "4000000000003220" => TestCard {
            authentication: Authentication::Always,
            ..GOOD
        },
        "4000008400001629" => TestCard {
            authentication: Authentication::Always,
            ..declined("card_declined", Some("generic_decline"))
        },
        "4000008260003178" => TestCard {
            authentication: Authentication::Always,
            can_be_saved: true,
            ..declined("card_declined", Some("insufficient_funds"))
        },
        "AT321904300235473204" => TestCard {
            settles_after: Some(LATER),
            ..GOOD
        },
        "AT591904300235473203" => TestCard {
            settles_after: Some(LATER),
            ..FAILING_DEBIT
        },
        "AT861904300235473202" | "IT60X0542811101000000123456" => FAILING_DEBIT,
        debit if read_iban(debit).is_some() => TestCard {
            settles_after: Some(SOON),
            ..GOOD
        },
        "4000000000000259" => TestCard {
            disputed: true,
            ..GOOD
        },
        _ => GOOD,
    }
}

/// The 402 of a decline.
pub(crate) fn decline(code: &str, decline_code: Option<&str>) -> ApiError {
    let message = match (code, decline_code) {
        ("expired_card", _) => "Your card has expired.",
        ("incorrect_cvc", _) => "Your card's security code is incorrect.",
        ("processing_error", _) => {
            "An error occurred while processing your card. Try again in a little bit."
        }
        ("authentication_required", _) => {
            "Your card was declined. This transaction requires authentication."
        }
        ("generic_decline", _) => "The payment was declined by the bank.",
        (_, Some("insufficient_funds")) => "Your card has insufficient funds.",
        (_, Some("card_velocity_exceeded")) => {
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."
        }
        _ => "Your card was declined.",
    };
    ApiError::card(code, decline_code, message)
}

/// The number behind a test token such as `pm_card_visa` or `tok_visa`.
pub(crate) fn of_token(token: &str) -> Option<&'static str> {
    let name = token
        .strip_prefix("pm_card_")
        .or_else(|| token.strip_prefix("tok_"))?;
    Some(match name {
        "visa" | "us" | "bypassPending" => "4242424242424242",
        "mastercard" => "5555555555554444",
        "amex" => "378282246310005",
        "discover" => "6011111111111117",
        "visa_debit" => "4000056655665556",
        "authenticationRequired" => "4000002760003184",
        "authenticationRequiredOnSetup" | "threeDSecureOptional" => "4000002500003155",
        "threeDSecure2Required" | "threeDSecureRequired" => "4000000000003220",
        "threeDSecureRequiredChargeDeclined" => "4000008400001629",
        "authenticationRequiredChargeDeclinedInsufficientFunds" => "4000008260003178",
        "chargeCustomerFail" => "4000000000000341",
        "chargeDeclined" | "visa_chargeDeclined" => "4000000000000002",
        "chargeDeclinedInsufficientFunds" | "visa_chargeDeclinedInsufficientFunds" => {
            "4000000000009995"
        }
        "chargeDeclinedLostCard" | "visa_chargeDeclinedLostCard" => "4000000000009987",
        "chargeDeclinedStolenCard" | "visa_chargeDeclinedStolenCard" => "4000000000009979",
        "chargeDeclinedExpiredCard" => "4000000000000069",
        "chargeDeclinedIncorrectCvc" => "4000000000000127",
        "chargeDeclinedProcessingError" => "4000000000000119",
        "createDispute" | "createDisputeInquiry" | "createDisputeProductNotReceived" => {
            "4000000000000259"
        }
        _ => return None,
    })
}

/// The bare IBAN of a SEPA debit, and the `sepa_debit` member of its payment method; absent for a card.
pub(crate) fn read_iban(number: &str) -> Option<(String, Value)> {
    let iban: String = number.chars().filter(|sign| *sign != ' ').collect();
    let country = iban
        .get(..2)
        .filter(|country| country.bytes().all(|sign| sign.is_ascii_uppercase()))?;
    let last4 = iban.get(iban.len().checked_sub(4)?..)?;
    let shape = json!({
        "bank_code": iban.get(4..9), "branch_code": "", "country": country, "fingerprint": format!("Fp{iban}"),
        "generated_from": { "charge": null, "setup_attempt": null }, "last4": last4,
    });
    Some((iban.clone(), shape))
}

/// Checks what a customer typed and answers the `card` member of a payment method, with the bare number.
pub(crate) fn read(card: &CardInput, now: i64) -> Result<(String, Value), ApiError> {
    let number: String = card
        .number
        .chars()
        .filter(|sign| !matches!(sign, ' ' | '-'))
        .collect();
    let refuse = |code: &str, param: &str, message: &str| {
        Err(ApiError::card(code, None, message).param(param))
    };
    if number.len() < 12 || number.len() > 19 || !number.bytes().all(|sign| sign.is_ascii_digit()) {
        return refuse(
            "invalid_number",
            "number",
            "The card number is not a valid credit card number.",
        );
    }
    if !luhn(&number) {
        return refuse(
            "incorrect_number",
            "number",
            "Your card number is incorrect.",
        );
    }
    let (this_year, this_month) = crate::calendar::year_and_month(now);
    let year = if card.exp_year == 0 {
        this_year + 4
    } else {
        i64::from(card.exp_year)
    };
    let month = if card.exp_month == 0 {
        12
    } else {
        i64::from(card.exp_month)
    };
    if !(1..=12).contains(&month) {
        return refuse(
            "invalid_expiry_month",
            "exp_month",
            "Your card's expiration month is invalid.",
        );
    }
    if year < this_year || year > this_year + 50 || (year == this_year && month < this_month) {
        return refuse(
            "invalid_expiry_year",
            "exp_year",
            "Your card's expiration year is invalid.",
        );
    }
    let brand = brand(&number);
    let cvc_length = if brand == "amex" { 4 } else { 3 };
    if !card.cvc.is_empty()
        && (card.cvc.len() != cvc_length || !card.cvc.bytes().all(|sign| sign.is_ascii_digit()))
    {
        return refuse(
            "invalid_cvc",
            "cvc",
            "Your card's security code is invalid.",
        );
    }
    let last4: String = number
        .chars()
        .skip(number.len().saturating_sub(4))
        .collect();
    // The same number has the same fingerprint, as at Stripe.
    let fingerprint = format!(
        "Fp{:0>14}",
        number.bytes().fold(7_u64, |sum, digit| {
            sum.wrapping_mul(31).wrapping_add(u64::from(digit)) % 100_000_000_000_000
        })
    );
    let shape = json!({
        "brand": brand,
        "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
        "country": "US", "display_brand": brand, "exp_month": month, "exp_year": year, "fingerprint": fingerprint,
        "funding": if number == "4000056655665556" { "debit" } else { "credit" }, "generated_from": null,
        "last4": last4, "networks": { "available": [brand], "preferred": null }, "regulated_status": "unregulated",
        "three_d_secure_usage": { "supported": true }, "wallet": null,
    });
    Ok((number, shape))
}

fn luhn(number: &str) -> bool {
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit.saturating_sub(b'0'));
            if place % 2 == 0 {
                digit
            } else {
                digit * 2 / 10 + digit * 2 % 10
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn brand(number: &str) -> &'static str {
    let first_two: u32 = number
        .get(..2)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default();
    match first_two {
        34 | 37 => "amex",
        40..=49 => "visa",
        22..=27 | 51..=55 => "mastercard",
        60 | 64 | 65 => "discover",
        30 | 36 | 38 | 39 => "diners",
        35 => "jcb",
        62 => "unionpay",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn typed(number: &str) -> CardInput {
        CardInput {
            number: number.to_owned(),
            ..CardInput::default()
        }
    }

    #[test]
    fn cards_are_checked_before_they_are_used() {
        assert_eq!(
            read(&typed("4242 4242 4242 4242"), NOW).unwrap().1["last4"],
            "4242"
        );
        assert_eq!(
            read(&typed("378282246310005"), NOW).unwrap().1["brand"],
            "amex"
        );
        assert_eq!(
            read(&typed("4242424242424241"), NOW)
                .unwrap_err()
                .code
                .as_deref(),
            Some("incorrect_number")
        );
        assert_eq!(
            read(&typed("42"), NOW).unwrap_err().code.as_deref(),
            Some("invalid_number")
        );
        let past = CardInput {
            exp_month: 1,
            exp_year: 2020,
            ..typed("4242424242424242")
        };
        assert_eq!(
            read(&past, NOW).unwrap_err().code.as_deref(),
            Some("invalid_expiry_year")
        );
        let cvc = CardInput {
            cvc: "12".to_owned(),
            ..typed("4242424242424242")
        };
        assert_eq!(
            read(&cvc, NOW).unwrap_err().code.as_deref(),
            Some("invalid_cvc")
        );
    }

    #[test]
    fn tokens_stand_for_numbers_that_pass_the_check() {
        for token in [
            "pm_card_visa",
            "pm_card_amex",
            "pm_card_chargeCustomerFail",
            "tok_visa",
            "pm_card_createDispute",
        ] {
            assert!(luhn(of_token(token).unwrap()), "{token}");
        }
        assert!(of_token("pm_1abc").is_none());
    }
}
