//! The date and time, for templates that name them.

use minijinja::{Error, ErrorKind};

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
];

/// The function `strftime_now`: the time in UTC, written after `pattern`.
pub(super) fn strftime_now(pattern: &str) -> Result<String, Error> {
    let now = web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH).unwrap_or_default();
    Moment::new(now.as_secs()).write(pattern)
}

/// A moment in UTC, in the parts that people count.
struct Moment {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// From 0, a Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    /// The moment `seconds` after the beginning of 1970.
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let mut year = 1970 + days / 366;
        while days_before(year + 1) <= days {
            year += 1;
        }
        let day_of_year = days - days_before(year) + 1;
        let february = days_before(year + 1) - days_before(year) - 337;
        let (mut month, mut day) = (1, day_of_year);
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if day <= length {
                break;
            }
            (month, day) = (month + 1, day - length);
        }
        let weekday = (days + 4) % 7; // 1970 began on a Thursday.
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        Self { year, month, day, day_of_year, weekday, hour, minute, second }
    }

    /// Fills `pattern`'s codes in, as Python's `strftime` does in the C locale and without a time zone.
    fn write(&self, pattern: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            // GNU's mark for "without padding".
            let bare = after.starts_with('-');
            let mut codes = after[usize::from(bare)..].chars();
            let Some(text) = codes.next().and_then(|code| self.field(code, bare)) else {
                let what = format!("strftime_now: no such code in {pattern:?}");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            };
            out.push_str(&text);
            rest = codes.as_str();
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What `code` stands for, with its padding or bare of it.
    fn field(&self, code: char, bare: bool) -> Option<String> {
        let weekday = WEEKDAYS[self.weekday as usize];
        let month = MONTHS[self.month as usize - 1];
        let (number, width) = match code {
            'Y' => (self.year, 4),
            'y' => (self.year % 100, 2),
            'm' => (self.month, 2),
            'd' => (self.day, 2),
            'j' => (self.day_of_year, 3),
            'H' => (self.hour, 2),
            'I' => ((self.hour + 11) % 12 + 1, 2),
            'M' => (self.minute, 2),
            'S' => (self.second, 2),
            'u' => ((self.weekday + 6) % 7 + 1, 1),
            'w' => (self.weekday, 1),
            'A' => return Some(weekday.into()),
            'a' => return Some(weekday[..3].into()),
            'B' => return Some(month.into()),
            'b' | 'h' => return Some(month[..3].into()),
            'p' => return Some(if self.hour < 12 { "AM" } else { "PM" }.into()),
            'e' if !bare => return Some(format!("{:2}", self.day)),
            'e' => (self.day, 1),
            'F' => return self.write("%Y-%m-%d").ok(),
            'D' => return self.write("%m/%d/%y").ok(),
            'T' => return self.write("%H:%M:%S").ok(),
            'R' => return self.write("%H:%M").ok(),
            'Z' | 'z' => return Some(String::new()),
            '%' => return Some("%".into()),
            _ => return None,
        };
        let width = if bare { 1 } else { width };
        Some(format!("{number:0width$}"))
    }
}

/// Days from the beginning of 1970 to that of `year`.
fn days_before(year: u64) -> u64 {
    let leap_days = |years: u64| years / 4 - years / 100 + years / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What these expect was written by Python.
    #[test]
    fn writes_what_python_writes() {
        let pattern = "%Y-%m-%d %H:%M:%S %y %j %a %A %b %B %I %p %u %w %e %-d %-m %-H %F %T %R %D %% %Z%z";
        let expected = [
            (
                0,
                "1970-01-01 00:00:00 70 001 Thu Thursday Jan January 12 AM 4 4  1 1 1 0 1970-01-01 00:00:00 00:00 01/01/70 % ",
            ),
            (
                951_786_061,
                "2000-02-29 01:01:01 00 060 Tue Tuesday Feb February 01 AM 2 2 29 29 2 1 2000-02-29 01:01:01 01:01 02/29/00 % ",
            ),
            (
                1_709_251_199,
                "2024-02-29 23:59:59 24 060 Thu Thursday Feb February 11 PM 4 4 29 29 2 23 2024-02-29 23:59:59 23:59 02/29/24 % ",
            ),
            (
                1_704_067_199,
                "2023-12-31 23:59:59 23 365 Sun Sunday Dec December 11 PM 7 0 31 31 12 23 2023-12-31 23:59:59 23:59 12/31/23 % ",
            ),
            (
                1_735_689_599,
                "2024-12-31 23:59:59 24 366 Tue Tuesday Dec December 11 PM 2 2 31 31 12 23 2024-12-31 23:59:59 23:59 12/31/24 % ",
            ),
            (
                4_102_444_800,
                "2100-01-01 00:00:00 00 001 Fri Friday Jan January 12 AM 5 5  1 1 1 0 2100-01-01 00:00:00 00:00 01/01/00 % ",
            ),
            (
                43_200,
                "1970-01-01 12:00:00 70 001 Thu Thursday Jan January 12 PM 4 4  1 1 1 12 1970-01-01 12:00:00 12:00 01/01/70 % ",
            ),
        ];
        for (seconds, text) in expected {
            assert_eq!(Moment::new(seconds).write(pattern).unwrap(), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = Moment::new(0);
        for day in 1..80_000 {
            let next = Moment::new(day * 86_400);
            let same_month = (next.year, next.month, next.day) == (last.year, last.month, last.day + 1);
            let new_month = (next.year, next.month, next.day) == (last.year, last.month + 1, 1);
            let new_year = (next.year, next.month, next.day, last.day) == (last.year + 1, 1, 1, 31) && last.month == 12;
            assert!(same_month || new_month || new_year, "day {day}");
            last = next;
        }
    }

    #[test]
    fn unknown_codes_are_errors() {
        for pattern in ["%", "a %-", "%Q", "%é"] {
            assert!(Moment::new(0).write(pattern).unwrap_err().to_string().contains("no such code"), "{pattern}");
        }
        assert_eq!(Moment::new(0).write("é").unwrap(), "é");
        assert_eq!(strftime_now("%Y").unwrap().len(), 4);
    }
}
