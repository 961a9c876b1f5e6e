//! Calendar months on the anchor's day: 31 January, 28 February, 31 March.

use jiff::{Span, Timestamp, tz::TimeZone};

/// The moment that many days, weeks, months or years after the anchor; the last day of a month when it has no such day.
pub(crate) fn after(anchor: i64, interval: &str, count: i64) -> i64 {
    let span = match interval {
        "day" => Span::new().try_days(count),
        "week" => Span::new().try_weeks(count),
        "year" => Span::new().try_years(count),
        _ => Span::new().try_months(count),
    };
    let moment = span.and_then(|span| {
        Timestamp::from_second(anchor)?
            .to_zoned(TimeZone::UTC)
            .checked_add(span)
    });
    moment.map_or(i64::MAX, |moment| moment.timestamp().as_second())
}

/// The first boundary of a period strictly after a moment.
pub(crate) fn next_boundary(anchor: i64, interval: &str, count: i64, moment: i64) -> i64 {
    let count = count.max(1);
    let mut periods: i64 = 0;
    loop {
        let boundary = after(anchor, interval, periods.saturating_mul(count));
        if boundary > moment || boundary == i64::MAX {
            return boundary;
        }
        periods += 1;
    }
}

/// Year and month of a moment.
pub(crate) fn year_and_month(moment: i64) -> (i64, i64) {
    let date = Timestamp::from_second(moment)
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC)
        .date();
    (i64::from(date.year()), i64::from(date.month()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_31st_comes_back_after_february() {
        let anchor = unix("2026-01-31T10:00:00Z");
        assert_eq!(after(anchor, "month", 1), unix("2026-02-28T10:00:00Z"));
        assert_eq!(after(anchor, "month", 2), unix("2026-03-31T10:00:00Z"));
        assert_eq!(
            next_boundary(anchor, "month", 1, unix("2026-02-28T10:00:00Z")),
            unix("2026-03-31T10:00:00Z")
        );
    }

    #[test]
    fn leap_day_in_common_years() {
        let anchor = unix("2028-02-29T00:00:00Z");
        assert_eq!(after(anchor, "year", 1), unix("2029-02-28T00:00:00Z"));
        assert_eq!(after(anchor, "year", 4), unix("2032-02-29T00:00:00Z"));
    }
}
