//! How numbers are written for people.

/// "1,623,744".
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "3.3 MB".
pub fn bytes(value: u64) -> String {
    match value as f64 {
        v if v < 1e3 => format!("{value} B"),
        v if v < 1e6 => format!("{:.0} kB", v / 1e3),
        v if v < 1e8 => format!("{:.1} MB", v / 1e6),
        v if v < 1e9 => format!("{:.0} MB", v / 1e6),
        v => format!("{:.2} GB", v / 1e9),
    }
}

/// "40 ms", "2.5 s", "3 min 20 s", "2 h 5 min".
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if !s.is_finite() => "–".into(),
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        _ if whole < 60 => format!("{whole} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A setting as it is typed: "0.005", "1e-8".
pub fn setting(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:e}") } else { value.to_string() }
}

/// "1 row", "3 rows".
pub fn plural(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_623_744].map(count), ["0", "999", "1,000", "1,623,744"]);
        assert_eq!(
            [12, 934_000, 6_494_976, 271_000_000, 5_200_000_000].map(bytes),
            ["12 B", "934 kB", "6.5 MB", "271 MB", "5.20 GB"]
        );
        let times = [0.06, 2.46, 12.4, 59.9, 200.0, 7500.0, f64::NAN].map(duration);
        assert_eq!(times, ["60 ms", "2.5 s", "12 s", "1 min 0 s", "3 min 20 s", "2 h 5 min", "–"]);
        assert_eq!([plural(1, "row"), plural(1200, "row")], ["1 row", "1,200 rows"]);
    }

    #[test]
    fn a_setting_comes_back_as_it_was() {
        for value in [0.0, 0.005, 1e-8, 0.999, 1.0, 1e-3, 123_456.75, 3.3e-5] {
            assert_eq!(setting(value).parse(), Ok(value));
        }
        assert_eq!([0.005, 1e-8, 1.0].map(setting), ["0.005", "1e-8", "1"]);
    }
}
