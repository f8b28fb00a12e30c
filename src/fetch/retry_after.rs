//! When a source asks to be tried again.

use std::time::{Duration, SystemTime};

/// Reads a `Retry-After`: seconds, or a date. None of what is neither.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Longer than any budget, however long.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |value, expected: Option<u64>| {
            assert_eq!(parse(value, now), expected.map(Duration::from_secs), "{value}");
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("99999999999999999999999", Some(u64::from(u32::MAX)));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("Sat, 06 Nov 1993 08:49:37 GMT", Some(0));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("+1", None);
        check("soon", None);
    }
}
