//! A moment as RFC 3339 writes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads `2027-01-01T00:00:00Z`, or with an offset such as `+01:00`; from 1970 on.
pub fn moment(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, zone) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || !(1..=12).contains(&month) || !(1..=days_in(month, year)).contains(&day) {
        return None;
    }
    let local = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = local - offset(zone)?;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then_some(part)?.parse().ok()
    };
    let found = [next(digits[0])?, next(digits[1])?, next(digits[2])?];
    parts.next().is_none().then_some(found)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let [hours, minutes, _] = numbers(&format!("{rest}:00"), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let months: i64 = (1..month).map(|month| days_in(month, year)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_other_programs_read_them() {
        // The numbers are from `date -d … +%s`.
        let check = |text: &str, expected: Option<u64>| {
            let found = moment(text).map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_secs());
            assert_eq!(found, expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2027-01-01T00:00:00Z", Some(1_798_761_600));
        check("2027-01-01T00:00:00+01:00", Some(1_798_758_000));
        check("2027-01-01T00:00:00-05:30", Some(1_798_781_400));
        check("2024-02-29T23:59:59Z", Some(1_709_251_199));
        check("2000-03-01T00:00:00Z", Some(951_868_800));
        check("2100-03-01T00:00:00Z", Some(4_107_542_400));
        check("2023-02-29T00:00:00Z", None);
        check("2027-13-01T00:00:00Z", None);
        check("2027-00-01T00:00:00Z", None);
        check("2027-01-00T00:00:00Z", None);
        check("2027-04-31T00:00:00Z", None);
        check("2027-01-01T24:00:00Z", None);
        check("2027-01-01T00:60:00Z", None);
        check("2027-01-01T00:00:60Z", None);
        check("2027-01-01 00:00:00Z", None);
        check("2027-01-01T00:00:00", None);
        check("2027-01-01T00:00:00z", None);
        check("2027-01-01T00:00:00.5Z", None);
        check("2027-01-01T00:00:00+1:00", None);
        check("2027-01-01T00:00:00+24:00", None);
        check("2027-01-01", None);
        check("1969-12-31T23:59:59Z", None);
        check("+027-01-01T00:00:00Z", None);
        check("ääääääääääääääääää", None);
        check("", None);
    }
}
