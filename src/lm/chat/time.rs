//! `strftime_now`: the date, for templates that tell it to the model.

use minijinja::{Error, ErrorKind};

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
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The present time in UTC, as `format` says.
pub(super) fn strftime_now(format: String) -> Result<String, Error> {
    match now() {
        Some(seconds) => strftime(&format, seconds),
        None => Err(Error::new(ErrorKind::InvalidOperation, "this platform has no clock")),
    }
}

/// Seconds since 1970-01-01 00:00 UTC.
fn now() -> Option<u64> {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    return None;
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    std::time::UNIX_EPOCH.elapsed().ok().map(|d| d.as_secs())
}

fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS[((days + 4) % 7) as usize];
    let month_name = MONTHS[(month as usize - 1).min(11)];
    let hour = second / 3600;
    let hour12 = (hour + 11) % 12 + 1;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        let bare = code == Some('-');
        if bare {
            code = chars.next();
        }
        let two = |n: u64| if bare { n.to_string() } else { format!("{n:02}") };
        match code {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&two(year % 100)),
            Some('m') => out.push_str(&two(month)),
            Some('d') => out.push_str(&two(day)),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('H') => out.push_str(&two(hour)),
            Some('I') => out.push_str(&two(hour12)),
            Some('M') => out.push_str(&two(second / 60 % 60)),
            Some('S') => out.push_str(&two(second % 60)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(weekday),
            Some('a') => out.push_str(&weekday[..3]),
            Some('%') => out.push('%'),
            other => {
                let code = other.map(String::from).unwrap_or_default();
                let what = format!("strftime_now: unknown code '%{code}'");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        }
    }
    Ok(out)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian
/// calendar. Years are counted from March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468; // since 0000-03-01
    let era = day / 146_097; // 400 years
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153; // 0 is March
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let all = "%Y-%m-%d %H:%M:%S %a %A %b %B %y %e %I %p %-d %-m %%";
        let at = |seconds| strftime(all, seconds).unwrap();
        let epoch = "1970-01-01 00:00:00 Thu Thursday Jan January 70  1 12 AM 1 1 %";
        assert_eq!(at(0), epoch);
        // 2024-02-29 and the day after, from `date -u -d @...`.
        assert!(at(1_709_251_199).starts_with("2024-02-29 23:59:59 Thu"));
        assert!(at(1_709_251_200).starts_with("2024-03-01 00:00:00 Fri"));
        assert!(at(4_107_542_400).starts_with("2100-03-01 00:00:00 Mon"));
        assert!(at(1_735_689_599).contains("Tue Tuesday Dec December 24 31 11 PM"));
        assert!(strftime("%Q", 0).is_err() && strftime("%", 0).is_err());
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(0);
        for day in 1..200_000 {
            let next = civil(day);
            let same_month = (next.0, next.1, next.2) == (last.0, last.1, last.2 + 1);
            let new_month = next.2 == 1 && last.2 >= 28 && next.1 == last.1 % 12 + 1;
            assert!(same_month || new_month, "{last:?} then {next:?}");
            last = next;
        }
        // `date -u -d '1970-01-01 +199999 days'`
        assert_eq!(last, (2517, 7, 31));
    }
}
