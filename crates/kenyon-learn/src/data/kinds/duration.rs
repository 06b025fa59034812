//! Durations: `1h30m`, `90 min`, `01:30:00`, `1 day, 2:00:00`, `PT1H30M`, as seconds. A time of day is the
//! duration since midnight: `18:30`, `6:30 PM`, `18.30.00`. `01:30` is one hour and a half.

use super::timestamp::parse_clock;
use super::{ColumnKind, Encoding, Evidence, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::{Cell, parse_number};
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Duration;

impl Kind for Duration {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Duration
    }

    fn name(&self) -> &'static str {
        "duration"
    }

    fn wanted(&self) -> &'static str {
        "a duration"
    }

    fn read<'c>(&self, cell: Cell<'c>, _spelling: &Spelling) -> Option<Scalar<'c>> {
        let seconds = match cell {
            Cell::Integer(x) => x as f64,
            Cell::Number(x) => x,
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => {
                parse_duration(text.trim()).or_else(|| parse_number(text.trim()))?
            }
            _ => return None,
        };
        seconds.is_finite().then_some(Scalar::Number(seconds))
    }

    fn recognises(&self, text: &str, _evidence: &mut Evidence) -> bool {
        parse_duration(text).is_some()
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Number(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Number
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("FP64")
    }

    fn form(&self) -> &'static str {
        "text"
    }

    fn is_real(&self) -> bool {
        true
    }
}

const DAY: f64 = 86_400.0;

/// Seconds of a duration or of a time of day.
fn parse_duration(text: &str) -> Option<f64> {
    if !text.is_ascii() || text.len() > 48 {
        return None;
    }
    let (sign, body) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest.trim_start()),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if !body.bytes().next().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'P' | b'p' | b'.')) {
        return None;
    }
    iso(body).or_else(|| clock(body)).or_else(|| units(body)).map(|seconds| sign * seconds)
}

/// `P3DT1H30M`. Years and months have no fixed length.
fn iso(text: &str) -> Option<f64> {
    let upper = text.to_ascii_uppercase();
    let body = upper.strip_prefix('P')?;
    let (date, time) = body.split_once('T').unwrap_or((body, ""));
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let date = parts(date, |unit| match unit {
        "W" => Some(7.0 * DAY),
        "D" => Some(DAY),
        _ => None,
    })?;
    let time = parts(time, |unit| match unit {
        "H" => Some(3600.0),
        "M" => Some(60.0),
        "S" => Some(1.0),
        _ => None,
    })?;
    Some(date + time)
}

/// `36:15:00.5`, `1 day, 2:00:00`, `6:30 PM`, `18.30.00`.
fn clock(text: &str) -> Option<f64> {
    if let Some((seconds, "")) = parse_clock(text) {
        return Some(seconds);
    }
    let (days, text) = match text.find("day") {
        Some(at) => {
            let days: f64 = text[..at].trim().parse().ok()?;
            let rest = text[at + 3..].trim_start_matches('s').trim_start_matches([',', ' ']);
            (days, rest)
        }
        None => (0.0, text),
    };
    let separator = if text.contains(':') { ':' } else { '.' };
    let (hours, rest) = text.split_once(separator)?;
    let two =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<f64>().ok())?;
    let (minutes, seconds) = match rest.split_once(separator) {
        Some((minutes, seconds)) => {
            let whole = seconds.split_once('.').map_or(seconds, |(whole, _)| whole);
            two(whole)?;
            (minutes, seconds.parse::<f64>().ok()?)
        }
        // `18.30` is a number.
        None if separator == '.' => return None,
        None => (rest, 0.0),
    };
    let minutes = two(minutes)?;
    let plain = (1..=6).contains(&hours.len()) && hours.bytes().all(|b| b.is_ascii_digit());
    let dotted = separator != '.' || (hours.len() == 2 && hours < "24");
    if !plain || !dotted || minutes >= 60.0 || seconds >= 60.0 {
        return None;
    }
    Some(days * DAY + hours.parse::<f64>().ok()? * 3600.0 + minutes * 60.0 + seconds)
}

/// `1h30m`, `90 min`, `2 days 4 hours`, the larger units first.
fn units(text: &str) -> Option<f64> {
    let mut last = f64::INFINITY;
    let total = parts(text, |unit| {
        let seconds = match unit {
            "w" | "week" | "weeks" => 7.0 * DAY,
            "d" | "day" | "days" => DAY,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "ms" | "msec" | "millisecond" | "milliseconds" => 1e-3,
            "us" | "microsecond" | "microseconds" => 1e-6,
            "ns" | "nanosecond" | "nanoseconds" => 1e-9,
            _ => return None,
        };
        (seconds < last).then(|| {
            last = seconds;
            seconds
        })
    })?;
    (last < f64::INFINITY).then_some(total)
}

/// The sum of numbers, each with the unit after it.
fn parts(mut text: &str, mut unit: impl FnMut(&str) -> Option<f64>) -> Option<f64> {
    let mut total = 0.0;
    while !text.is_empty() {
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number = parse_number(&text[..digits])?;
        text = text[digits..].trim_start();
        let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        total += number * unit(&text[..letters])?;
        text = text[letters..].trim_start_matches([',', ' ']);
        text = text.strip_prefix("and ").unwrap_or(text);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_of_day_are_seconds() {
        for (text, seconds) in [
            ("1h30m", 5400.0),
            ("1h 30min", 5400.0),
            ("90 min", 5400.0),
            ("1.5 hours", 5400.0),
            ("1 hour and 30 minutes", 5400.0),
            ("01:30:00", 5400.0),
            ("01:30", 5400.0),
            ("1:30", 5400.0),
            ("PT1H30M", 5400.0),
            ("PT90M", 5400.0),
            ("P1DT12H", 129_600.0),
            ("P2W", 1_209_600.0),
            ("PT0.5S", 0.5),
            ("36:15:00", 130_500.0),
            ("1 day, 2:00:00", 93_600.0),
            ("2 days 02:00:00.5", 180_000.5),
            ("2d 4h", 187_200.0),
            ("500 ms", 0.5),
            ("-01:30:00", -5400.0),
            ("6:30 PM", 66_600.0),
            ("18.30.00", 66_600.0),
            ("00:00:00.25", 0.25),
        ] {
            assert_eq!(parse_duration(text), Some(seconds), "{text}");
        }
        for text in [
            "", "5", "1.5", "18.30", "P", "PT", "P1M", "1m2h", "5 kg", "h", "10:75", "25.00.00", "1:2:3:4", "a1h",
            "12:30:61", "1/2",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
