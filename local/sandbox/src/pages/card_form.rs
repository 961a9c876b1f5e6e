//! The card fields that Checkout and the Portal share: as HTML, and as what a browser posts.
//!
//! Cards are Stripe's test cards, <https://docs.stripe.com/testing#cards>; no real number belongs here.

use serde::Deserialize;

use super::html::escape;
use crate::CardInput;

/// Test cards and what they do.
const TEST_CARDS: [(&str, &str); 11] = [
    ("4242424242424242", "succeeds"),
    ("5555555555554444", "succeeds (Mastercard)"),
    ("4000002500003155", "asks for 3-D Secure when it is saved"),
    ("4000002760003184", "asks for 3-D Secure every time"),
    ("4000000000000341", "is saved, but later charges fail"),
    ("4000000000000002", "is declined"),
    ("4000000000009995", "is declined: insufficient funds"),
    ("4000000000000069", "is declined: expired card"),
    ("4000000000000127", "is declined: incorrect CVC"),
    ("4000000000000119", "is declined: processing error"),
    ("4000000000000259", "succeeds, then is disputed"),
];

/// Test debits and what they do.
const TEST_IBANS: [(&str, &str); 4] = [
    ("AT611904300234573201", "succeeds after some seconds"),
    ("AT321904300235473204", "succeeds after three minutes"),
    ("AT861904300235473202", "fails after some seconds"),
    ("AT591904300235473203", "fails after three minutes"),
];

/// What a browser posts.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct CardForm {
    #[serde(default)]
    pub(super) number: String,
    #[serde(default)]
    pub(super) expiry: String,
    #[serde(default)]
    pub(super) cvc: String,
    /// In place of a card, where the session takes debits.
    #[serde(default)]
    pub(super) iban: String,
    /// Answer of the 3-D Secure page.
    #[serde(default)]
    pub(super) challenge: String,
    /// What the Portal's forms name besides a card.
    #[serde(default)]
    pub(super) subscription: String,
    #[serde(default)]
    pub(super) price: String,
}

impl CardForm {
    /// The card, or what the customer has left out. Whether it is good is not decided here.
    pub(super) fn card(&self) -> Result<CardInput, String> {
        if !self.iban.is_empty() {
            let number = self.iban.to_ascii_uppercase();
            return Ok(CardInput {
                number,
                ..CardInput::default()
            });
        }
        let number = digits(&self.number);
        if number.is_empty() {
            return Err("Your card number is incomplete.".to_owned());
        }
        let expiry = self.expiry();
        let (exp_month, exp_year) = expiry.ok_or("Your card's expiration date is incomplete.")?;
        let cvc = digits(&self.cvc);
        if !(3..=4).contains(&cvc.len()) {
            return Err("Your card's security code is incomplete.".to_owned());
        }
        let authenticated = match self.challenge.as_str() {
            "complete" => Some(true),
            "fail" => Some(false),
            _ => None,
        };
        Ok(CardInput {
            number,
            exp_month,
            exp_year,
            cvc,
            authenticated,
        })
    }

    /// `12 / 34`, `12/2034` or `1234`.
    fn expiry(&self) -> Option<(u8, u16)> {
        let digits = digits(&self.expiry);
        let (month, year) = match digits.len() {
            4 | 6 => digits.split_at_checked(2)?,
            3 | 5 => digits.split_at_checked(1)?,
            _ => return None,
        };
        let month = month
            .parse()
            .ok()
            .filter(|month| (1..=12).contains(month))?;
        let year: u16 = year.parse().ok()?;
        Some((
            month,
            if year < 100 {
                year.checked_add(2000)?
            } else {
                year
            },
        ))
    }

    /// The fields with what was typed before; the security code is asked again.
    pub(super) fn fields(&self) -> String {
        format!(
            "<fieldset class=\"card\"><legend>Card information</legend>\
             <label for=\"card-number\">Card number</label>\
             <input id=\"card-number\" name=\"number\" value=\"{}\" inputmode=\"numeric\" autocomplete=\"cc-number\" \
             placeholder=\"1234 1234 1234 1234\" maxlength=\"23\" required>\
             <div class=\"pair\"><div><label for=\"card-expiry\">Expiry</label>\
             <input id=\"card-expiry\" name=\"expiry\" value=\"{}\" inputmode=\"numeric\" autocomplete=\"cc-exp\" \
             placeholder=\"MM / YY\" maxlength=\"9\" required></div>\
             <div><label for=\"card-cvc\">CVC</label>\
             <input id=\"card-cvc\" name=\"cvc\" inputmode=\"numeric\" autocomplete=\"cc-csc\" placeholder=\"CVC\" \
             maxlength=\"4\" required></div></div></fieldset>",
            escape(&self.number),
            escape(&self.expiry),
        )
    }

    /// The field for a debit in place of the card's.
    pub(super) fn iban_field(&self) -> String {
        format!(
            "<label for=\"iban\">IBAN</label><input id=\"iban\" name=\"iban\" value=\"{}\" required \
             minlength=\"15\" maxlength=\"42\" placeholder=\"AT61 1904 3002 3457 3201\">",
            escape(&self.iban)
        )
    }

    /// The same fields unseen, for the page in between.
    pub(super) fn hidden(&self) -> String {
        let fields = [
            ("number", &self.number),
            ("expiry", &self.expiry),
            ("cvc", &self.cvc),
        ];
        let inputs = fields.map(|(name, value)| {
            format!(
                "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
                escape(value)
            )
        });
        inputs.concat()
    }
}

/// Which numbers do what; nobody remembers them.
pub(super) fn hint() -> String {
    format!(
        "<details id=\"test-cards\"><summary>Test cards</summary>\
         <p>Any date in the future and any three digits go with them.</p>{}</details>",
        table(&TEST_CARDS)
    )
}

/// The same for debits.
pub(super) fn iban_hint() -> String {
    let table = table(&TEST_IBANS);
    format!("<details id=\"test-ibans\"><summary>Test IBANs</summary>{table}</details>")
}

fn table(rows: &[(&str, &str)]) -> String {
    let row = |(number, does): &(&str, &str)| {
        format!(
            "<tr><td><code>{}</code></td><td>{does}</td></tr>",
            in_fours(number)
        )
    };
    let rows: String = rows.iter().map(row).collect();
    format!("<table>{rows}</table>")
}

fn in_fours(number: &str) -> String {
    let mut text = String::new();
    for (position, digit) in number.chars().enumerate() {
        if position > 0 && position.is_multiple_of(4) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(number: &str, expiry: &str, cvc: &str) -> CardForm {
        CardForm {
            number: number.into(),
            expiry: expiry.into(),
            cvc: cvc.into(),
            ..CardForm::default()
        }
    }

    #[test]
    fn what_people_type_is_understood() {
        for expiry in ["12 / 34", "12/34", "1234", "12/2034"] {
            let card = form("4242 4242 4242 4242", expiry, "123").card().unwrap();
            assert_eq!(card.number, "4242424242424242");
            assert_eq!((card.exp_month, card.exp_year), (12, 2034));
        }
    }

    #[test]
    fn what_is_left_out_is_named() {
        for (number, expiry, cvc, word) in [
            ("", "12/34", "123", "number"),
            ("4242424242424242", "13/34", "123", "expiration"),
            ("4242424242424242", "", "123", "expiration"),
            ("4242424242424242", "12/34", "1", "security code"),
        ] {
            let message = form(number, expiry, cvc).card().unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn test_cards_are_shown_in_fours() {
        assert_eq!(in_fours("4242424242424242"), "4242 4242 4242 4242");
        assert!(hint().contains("4000 0025 0000 3155"));
    }

    #[test]
    fn typed_text_cannot_become_markup() {
        let html = form("\"><script>", "", "").fields();
        assert!(!html.contains("<script>"));
    }
}
