//! The date and time, for templates that name them.

use minijinja::{Error, ErrorKind};

/// The function `strftime_now`: the time in UTC, written after `pattern`.
pub(super) fn strftime_now(pattern: &str) -> Result<String, Error> {
    let now = web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH).unwrap_or_default();
    strftime(pattern, now.as_secs())
}

/// Writes the moment `seconds` after 1970 after `pattern`, in UTC.
fn strftime(pattern: &str, seconds: u64) -> Result<String, Error> {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let days = seconds / 86_400;
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let weekday = (days + 4) % 7; // 1970 began on a Thursday
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        // GNU's mark for "without padding".
        let bare = code == Some('-');
        if bare {
            code = chars.next();
        }
        let (number, width) = match code {
            Some('Y') => (year, 4),
            Some('y') => (year % 100, 2),
            Some('m') => (month, 2),
            Some('d') => (day, 2),
            Some('H') => (hour, 2),
            Some('I') => ((hour + 11) % 12 + 1, 2),
            Some('M') => (minute, 2),
            Some('S') => (second, 2),
            Some('j') => (days - days_before(year) + 1, 3),
            Some('u') => ((weekday + 6) % 7 + 1, 1),
            Some('w') => (weekday, 1),
            other => {
                let name = |list: &[&'static str], index: u64| list[index as usize];
                match other {
                    Some('A') => out.push_str(name(&DAYS, weekday)),
                    Some('a') => out.push_str(&name(&DAYS, weekday)[..3]),
                    Some('B') => out.push_str(name(&MONTHS, month - 1)),
                    Some('b' | 'h') => out.push_str(&name(&MONTHS, month - 1)[..3]),
                    Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                    Some('e') => out.push_str(&format!("{day:2}")),
                    Some('F') => out.push_str(&strftime("%Y-%m-%d", seconds)?),
                    Some('T') => out.push_str(&strftime("%H:%M:%S", seconds)?),
                    Some('R') => out.push_str(&strftime("%H:%M", seconds)?),
                    Some('D') => out.push_str(&strftime("%m/%d/%y", seconds)?),
                    // Python's clock here knows no zone.
                    Some('Z' | 'z') => {}
                    Some('%') => out.push('%'),
                    _ => {
                        let what = format!("strftime_now: no such code in {pattern:?}");
                        return Err(Error::new(ErrorKind::InvalidOperation, what));
                    }
                }
                continue;
            }
        };
        let width = if bare { 0 } else { width };
        out.push_str(&format!("{number:0width$}"));
    }
    Ok(out)
}

/// Days from 1970 to the first of January of `year`.
fn days_before(year: u64) -> u64 {
    let leap_days = |before: u64| (before - 1) / 4 - (before - 1) / 100 + (before - 1) / 400;
    (year - 1970) * 365 + leap_days(year) - leap_days(1970)
}

/// Year, month and day of the day `days` after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut day = days - days_before(year);
    let february = 28 + u64::from(days_before(year + 1) - days_before(year) == 366);
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if day < length {
            return (year, month, day + 1);
        }
        day -= length;
    }
    (year, 12, 31)
}
