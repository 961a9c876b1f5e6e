//! The frame of every page, and how text, money and dates are shown. Everything that is not our own text is escaped.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const STYLE: &str = include_str!("style.css");

/// Currencies without a smaller unit: <https://docs.stripe.com/currencies#zero-decimal>.
const ZERO_DECIMAL: [&str; 16] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv",
    "xaf", "xof", "xpf",
];

/// A page in two columns, as Checkout and the Portal are.
pub(super) fn columns(title: &str, left: &str, right: &str) -> String {
    let body = format!(
        "<div class=\"columns\"><section class=\"side\">{left}</section><main>{right}</main></div>"
    );
    document(title, &body)
}

/// A page with one short message.
pub(super) fn plain(title: &str, body: &str) -> String {
    document(title, &format!("<main class=\"plain\">{body}</main>"))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{}</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>",
        escape(title)
    )
}

/// Text as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An address as it may stand in a link: only the web, no scripts.
pub(super) fn href(url: &str) -> String {
    let web = url.starts_with("https://") || url.starts_with("http://");
    if web { escape(url) } else { "#".to_owned() }
}

/// An amount in the smallest unit of its currency, e.g. `$15.00`.
pub(super) fn money(amount: i64, currency: &str) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    let number = if ZERO_DECIMAL.contains(&currency) {
        grouped(amount)
    } else {
        format!("{}.{:02}", grouped(amount / 100), amount % 100)
    };
    let symbol = match currency {
        "usd" => "$",
        "eur" => "€",
        "gbp" => "£",
        "jpy" => "¥",
        other => return format!("{sign}{number}&nbsp;{}", escape(&other.to_uppercase())),
    };
    format!("{sign}{symbol}{number}")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A price's rhythm, e.g. `per month` or `every 3 months`; empty for a one-time price.
pub(super) fn rhythm(interval: &str, count: i64) -> String {
    match (interval, count) {
        ("", _) => String::new(),
        (interval, 0 | 1) => format!("per {}", escape(interval)),
        (interval, count) => format!("every {count} {}s", escape(interval)),
    }
}

/// A day, e.g. `20 December 2026`.
pub(super) fn day(seconds: i64) -> String {
    let zoned = Timestamp::from_second(seconds).map(|moment| moment.to_zoned(TimeZone::UTC));
    let Ok(date) = zoned.map(|zoned| zoned.date()) else {
        return String::new();
    };
    let month = match date.month() {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    };
    format!("{} {month} {}", date.day(), date.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<b a='x' c=\"y\">&"),
            "&lt;b a=&#39;x&#39; c=&quot;y&quot;&gt;&amp;"
        );
        assert_eq!(href("javascript:alert(1)"), "#");
        assert_eq!(
            href("http://localhost:3000/?a=1&b=2"),
            "http://localhost:3000/?a=1&amp;b=2"
        );
    }

    #[test]
    fn money_is_shown_in_its_currency() {
        assert_eq!(money(1500, "usd"), "$15.00");
        assert_eq!(money(-5, "eur"), "-€0.05");
        assert_eq!(money(123_456_789, "usd"), "$1,234,567.89");
        assert_eq!(money(1500, "jpy"), "¥1,500");
        assert_eq!(money(990, "sek"), "9.90&nbsp;SEK");
    }

    #[test]
    fn rhythms_and_days() {
        assert_eq!(
            [rhythm("month", 1), rhythm("month", 3), rhythm("", 0)],
            ["per month", "every 3 months", ""]
        );
        assert_eq!(day(1_797_760_800), "20 December 2026");
    }
}
