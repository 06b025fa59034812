//! Timestamps: dates with or without a time and a zone, as Unix seconds; without a zone they are UTC.
//! ISO 8601, `31/12/2024`, `12/31/24 6:30 PM`, `31.12.2024`, `3 Mar 2004`, `March 3, 2004`, `Wed, 03 Mar 2004 18:00 GMT`,
//! `03MAR2004:18:00:00`; months alone (`2004-03`, `Mar 2004`) are their first day.

use super::{ColumnKind, Encoding, Evidence, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::{Cell, parse_moment, parse_number};
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Timestamp;

impl Kind for Timestamp {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Timestamp
    }

    fn name(&self) -> &'static str {
        "timestamp"
    }

    fn wanted(&self) -> &'static str {
        "a date or time"
    }

    fn read<'c>(&self, cell: Cell<'c>, spelling: &Spelling) -> Option<Scalar<'c>> {
        let seconds = match cell {
            Cell::Integer(x) => x as f64,
            Cell::Number(x) | Cell::Moment(x) => x,
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => {
                let text = text.trim();
                let date = parse_moment(text).or_else(|| parse_date(text, spelling.day_first));
                date.or_else(|| parse_date(text, !spelling.day_first)).or_else(|| parse_number(text))?
            }
            _ => return None,
        };
        seconds.is_finite().then_some(Scalar::Number(seconds))
    }

    fn recognises(&self, text: &str, evidence: &mut Evidence) -> bool {
        if parse_moment(text).is_some() {
            return true;
        }
        match (parse_date(text, true), parse_date(text, false)) {
            (None, None) => return false,
            (Some(_), None) => evidence.day_first += 1,
            (None, Some(_)) => evidence.month_first += 1,
            (Some(a), Some(b)) if a != b => {
                evidence.slashes += u64::from(text.contains('/'));
                // Points are written day first.
                evidence.either_order += u64::from(!text.contains('.'));
            }
            _ => evidence.seasons += u64::from(is_season(text)),
        }
        true
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Timestamp(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Phases
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("FP64")
    }

    fn form(&self) -> &'static str {
        "datetime-local"
    }

    fn is_real(&self) -> bool {
        true
    }
}

/// A date that is not year first, with or without a time and a zone. `day_first` decides what `03/04` is.
pub(in crate::data) fn parse_date(text: &str, day_first: bool) -> Option<f64> {
    if !text.is_ascii() || !(6..=48).contains(&text.len()) || !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let (date, clock) = match text.find(':') {
        None => (text, None),
        // SAS separates the time by a colon, too: `03MAR2004:18:00:00`.
        Some(colon)
            if text[..colon].contains(|c: char| c.is_ascii_alphabetic())
                && text[..colon].len() >= 7
                && joined(&text[..colon]).is_some() =>
        {
            (&text[..colon], Some(&text[colon + 1..]))
        }
        Some(colon) => {
            let hours = text[..colon].bytes().rev().take_while(u8::is_ascii_digit).count();
            if !(1..=2).contains(&hours) {
                return None;
            }
            let (date, clock) = text.split_at(colon - hours);
            let date = date.strip_suffix(['T', 't']).unwrap_or(date);
            (date.trim_end_matches([' ', ',']), Some(clock))
        }
    };
    let (year, month, day) = parse_day(date, day_first)?;
    let seconds = match clock {
        None => 0.0,
        Some(clock) => {
            let (seconds, zone) = parse_clock(clock)?;
            seconds - zone_seconds(zone.trim())?
        }
    };
    let date = jiff::civil::Date::new(year, month, day).ok()?;
    let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()?;
    Some(midnight.as_second() as f64 + seconds)
}

/// Year, month and day.
fn parse_day(text: &str, day_first: bool) -> Option<(i16, i8, i8)> {
    let mut words: Vec<&str> =
        text.split([' ', ',', '-', '/', '.']).map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.len() == 4 && !words[0].as_bytes()[0].is_ascii_digit() {
        // Mon, Tuesday.
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let day = words[0].get(..3)?.to_ascii_lowercase();
        if !DAYS.contains(&day.as_str()) {
            return None;
        }
        words.remove(0);
    }
    if let [word] = words[..] {
        words = joined(word)?.to_vec();
    }
    if let [a, b] = words[..] {
        return parse_month(text, a, b);
    }
    let [a, b, c] = words[..] else { return None };
    let (year, month, day) = match (month_of(a), month_of(b)) {
        (Some(month), _) => (c, month, b),
        (None, Some(month)) if a.len() == 4 && c.len() <= 2 => (a, month, c),
        (None, Some(month)) => (c, month, a),
        (None, None) => {
            let separators = text.bytes().filter(|b| !b.is_ascii_digit()).collect::<Vec<_>>();
            let [first, second] = separators[..] else { return None };
            if first != second || !matches!(first, b'/' | b'-' | b'.') {
                return None;
            }
            // Two-digit years are dates only where nothing else is short: `1.2.34` is a version.
            if first == b'.' && c.len() == 2 && (a.len() != 2 || b.len() != 2) {
                return None;
            }
            if a.len() == 4 {
                (a, small(b)?, c)
            } else if day_first {
                (c, small(b)?, a)
            } else {
                (c, small(a)?, b)
            }
        }
    };
    let day = day.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some((year_of(year)?, month, small(day)?))
}

/// Day, month and year of `03MAR2004`.
fn joined(text: &str) -> Option<[&str; 3]> {
    let from = text.find(|c: char| c.is_ascii_alphabetic())?;
    let to = text.rfind(|c: char| c.is_ascii_alphabetic())? + 1;
    let (day, month, year) = (&text[..from], &text[from..to], &text[to..]);
    small(day).and(month_of(month)).and(year_of(year)).map(|_| [day, month, year])
}

/// A month without a day: `2004-03`, `03/2004`, `Mar 2004`.
fn parse_month(text: &str, a: &str, b: &str) -> Option<(i16, i8, i8)> {
    let year = |word: &str| (word.len() == 4).then(|| year_of(word)).flatten().filter(|y| (1700..2200).contains(y));
    let month = |word: &str| match word.len() {
        2 => small(word).filter(|_| text.len() == 7 && text.contains(['-', '/'])),
        _ => month_of(word),
    };
    let (year, month) = year(a).zip(month(b)).or_else(|| year(b).zip(month(a)))?;
    Some((year, month, 1))
}

/// Whether a text may name a season of two years, such as `2010-11`, and not a month.
fn is_season(text: &str) -> bool {
    let Some((year, next)) = text.split_once(['-', '/']) else { return false };
    let numbers = (year.len(), next.len()) == (4, 2);
    numbers && year.parse::<u32>().ok().zip(next.parse::<u32>().ok()).is_some_and(|(y, n)| (y + 1) % 100 == n)
}

/// A number of one or two digits.
fn small(text: &str) -> Option<i8> {
    (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn year_of(text: &str) -> Option<i16> {
    let digits = text.strip_prefix('\'').unwrap_or(text);
    let year: i16 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    match digits.len() {
        4 => Some(year),
        2 if year < 69 => Some(2000 + year),
        2 => Some(1900 + year),
        _ => None,
    }
}

fn month_of(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    if word.len() < 3 || !word.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let at = MONTHS.iter().position(|month| month.starts_with(&word) || (word == "sept" && *month == "september"))?;
    i8::try_from(at + 1).ok()
}

/// `hh:mm`, `hh:mm:ss.fff`, with AM or PM, as seconds since midnight, and what follows.
pub(in crate::data) fn parse_clock(text: &str) -> Option<(f64, &str)> {
    let (hours, rest) = text.split_once(':')?;
    let mut hours = f64::from(small(hours)?);
    let (minutes, mut rest) = rest.split_at_checked(2)?;
    let minutes = f64::from(small(minutes).filter(|m| *m < 60)?);
    let mut seconds = 0.0;
    if let Some(after) = rest.strip_prefix(':') {
        let length = after.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        small(after.get(..2)?)?;
        seconds = after[..length].parse::<f64>().ok().filter(|s| *s < 61.0)?;
        rest = &after[length..];
    }
    let word = rest.trim_start();
    let half = word.get(..2).map(str::to_ascii_lowercase);
    if let Some(half @ ("am" | "pm")) = half.as_deref() {
        if !(1.0..=12.0).contains(&hours) {
            return None;
        }
        hours = hours % 12.0 + if half == "pm" { 12.0 } else { 0.0 };
        rest = &word[2..];
    }
    (hours < 24.0).then_some((hours * 3600.0 + minutes * 60.0 + seconds, rest))
}

/// Seconds by which a zone is ahead of UTC.
fn zone_seconds(zone: &str) -> Option<f64> {
    if zone.is_empty() || ["z", "utc", "gmt"].iter().any(|name| zone.eq_ignore_ascii_case(name)) {
        return Some(0.0);
    }
    let zone = zone.strip_prefix("UTC").or_else(|| zone.strip_prefix("GMT")).unwrap_or(zone);
    let sign = match zone.as_bytes().first()? {
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return None,
    };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse::<f64>().ok()?, 0.0),
        4 => (digits[..2].parse::<f64>().ok()?, digits[2..].parse::<f64>().ok()?),
        _ => return None,
    };
    (hours <= 14.0 && minutes < 60.0).then_some(sign * (hours * 3600.0 + minutes * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_usual_spellings() {
        let day = 1_078_272_000.0; // 2004-03-03
        for (text, seconds) in [
            ("03/03/2004", day),
            ("3/3/04", day),
            ("03.03.2004", day),
            ("03-03-2004", day),
            ("3 Mar 2004", day),
            ("3-Mar-04", day),
            ("03 March 2004", day),
            ("Mar 3, 2004", day),
            ("March 3rd, 2004", day),
            ("2004 Mar 3", day),
            ("Wed, 03 Mar 2004 18:00:00 GMT", day + 64_800.0),
            ("03/03/2004 18:00", day + 64_800.0),
            ("3/3/2004 6:00 PM", day + 64_800.0),
            ("3/3/2004 6:00:30pm", day + 64_830.0),
            ("3/3/2004 12:00 AM", day),
            ("03.03.2004 18:00:00.5", day + 64_800.5),
            ("03/03/2004 18:00 +0100", day + 61_200.0),
            ("03/03/2004T18:00:00-02:00", day + 72_000.0),
            ("03MAR2004", day),
            ("3mar04", day),
            ("03MAR2004:18:00:00", day + 64_800.0),
            ("2004-03", day - 172_800.0),
            ("03/2004", day - 172_800.0),
            ("Mar 2004", day - 172_800.0),
            ("March 2004", day - 172_800.0),
        ] {
            assert_eq!(parse_date(text, true), Some(seconds), "{text}");
            assert_eq!(parse_date(text, false), Some(seconds), "{text}");
        }
        assert_eq!(parse_date("04/03/2004", true), Some(day + 86_400.0));
        assert_eq!(parse_date("03/04/2004", false), Some(day + 86_400.0));
        assert_eq!(parse_date("31/12/2004", false), None);
        for text in [
            "1.2.34",
            "1/2",
            "12:30",
            "3 Mai 2004",
            "32/01/2004",
            "2004",
            "10/20/30/40",
            "abc 1 2004",
            "1-2/2004",
            "3/3/2004 25:00",
            "3/3/2004 18:00 CEST",
            "555-12-3456",
            "2004-13",
            "2004-3",
            "0204-03",
            "Mar 04",
            "A1MAR2004",
            "03MAR",
            "a/b/2004",
            "192.168.10.10",
            "3/3/2004 6:0",
        ] {
            assert_eq!(parse_date(text, true), None, "{text}");
        }
    }

    #[test]
    fn the_order_of_a_column_is_tried_first() {
        let read = |text: &'static str, day_first| {
            Timestamp.read(Cell::Text(text), &Spelling { day_first, ..Spelling::default() })
        };
        assert_eq!(read("02/01/1970", true), Some(Scalar::Number(86_400.0)));
        assert_eq!(read("01/02/1970", false), Some(Scalar::Number(86_400.0)));
        assert_eq!(read("01/13/1970", true), Some(Scalar::Number(1_036_800.0)));
        assert_eq!(read("1970-01-02", true), Some(Scalar::Number(86_400.0)));
        assert_eq!(read("soon", true), None);
    }
}
