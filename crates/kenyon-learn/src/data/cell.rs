//! One value in a file or a request, and parsing it from plain text.
//! Readers make cells, sinks take them; nothing is allocated per cell.

/// A value, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// `null`, or an empty field.
    Missing,
    /// A typed boolean.
    Boolean(bool),
    /// A typed integer, exact to 64 bits with and without a sign.
    Integer(i128),
    /// A typed number; from Parquet it may be infinite.
    Number(f64),
    /// A typed point in time, in Unix seconds.
    Moment(f64),
    /// A typed string.
    Text(&'a str),
    /// An unquoted field of a CSV file, of any type; trimmed.
    Raw(&'a str),
    /// A quoted field of a CSV file: of any type, but never a word for "no value".
    Quoted(&'a str),
    /// Raw bytes of a binary column (an image).
    Bytes(&'a [u8]),
    /// A list.
    List(&'a List),
    /// An object, which no column can hold.
    Nested,
}

impl Cell<'_> {
    /// Whether it is null or an empty text.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(text) | Self::Raw(text) | Self::Quoted(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// Whether it is neither a list nor an object.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Nested)
    }

    /// Its type, for an error's reason.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Missing => "nothing".into(),
            Self::Boolean(b) => format!("{b}"),
            Self::Integer(n) => format!("the number {n}"),
            Self::Number(n) | Self::Moment(n) => format!("the number {}", number_text(*n)),
            Self::Text(t) | Self::Raw(t) | Self::Quoted(t) => format!("the text '{}'", shorten(t)),
            Self::Bytes(b) => format!("{} bytes", b.len()),
            Self::List(l) => format!("a list of {}", l.len),
            Self::Nested => "an object".into(),
        }
    }
}

/// The elements of a list, flat; reused from cell to cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    /// Elements at the outer level.
    pub(crate) len: usize,
    /// Numbers in order, those of inner lists one after the other; `null` is NaN.
    pub(crate) numbers: Vec<f64>,
    /// Lengths of inner lists, empty when there are none.
    pub(crate) inner: Vec<usize>,
    /// Strings, one after the other.
    pub(crate) text: String,
    /// Ends of the strings in `text`.
    pub(crate) ends: Vec<usize>,
    /// Whether it holds something that a list may not.
    pub(crate) odd: bool,
}

impl List {
    /// Clears it, keeping the allocations.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.numbers.clear();
        self.inner.clear();
        self.text.clear();
        self.ends.clear();
        self.odd = false;
    }

    /// Appends a string.
    pub(crate) fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The strings.
    pub(crate) fn strings(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.text[start..end];
            start = end;
            text
        })
    }

    /// Why it cannot be stored, if so: objects, deeper lists, or mixed kinds.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let kinds = usize::from(!self.ends.is_empty()) + usize::from(!self.inner.is_empty());
        if self.odd {
            Some("a list may hold numbers, lists of numbers, or strings")
        } else if kinds > 1
            || (!self.ends.is_empty() && !self.numbers.is_empty())
            || (!self.inner.is_empty() && self.inner.len() != self.len)
        {
            Some("a list may not mix numbers, strings and lists")
        } else if self.inner.windows(2).any(|w| w[0] != w[1]) {
            Some("the inner lists must all have the same length")
        } else {
            None
        }
    }

    /// Channels of the steps it holds: 0 for strings, 1 for plain numbers.
    pub(crate) fn channels(&self) -> usize {
        match (self.inner.first(), self.ends.is_empty()) {
            (Some(&n), _) => n,
            (None, true) => 1,
            (None, false) => 0,
        }
    }
}

/// The first characters of a value, for messages.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A number as a name: integers without a fraction.
pub(crate) fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{}", number as i64) } else { format!("{number}") }
}

/// Whether a field is one of the words for a number that is not finite.
pub(crate) fn is_non_finite_word(text: &str) -> bool {
    let word = text.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// A boolean as text.
pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Whether a text is one number with a few other characters around it, such as `32.4 kg`, `<0.5` and `32.4*`.
pub(crate) fn holds_number(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let (Some(from), Some(to)) = (text.find(is_part), text.rfind(is_part)) else { return false };
    let (before, number, after) = (&text[..from], &text[from..=to], &text[to + 1..]);
    let short = before.chars().count() <= 2 && after.chars().count() <= 6;
    short && before.len() + after.len() > 0 && !before.contains(char::is_alphabetic) && number.chars().all(is_part)
}

/// A decimal number. Short ones are exact by one multiplication or division (Clinger 1990); the
/// standard library reads the others. Words such as `inf` are no numbers here; an overflow is infinite.
#[inline]
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        b'+' => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let (mut mantissa, mut count, mut fraction, mut at) = (0u64, 0usize, 0usize, 0usize);
    while at < digits.len() && digits[at].is_ascii_digit() {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digits[at] - b'0'));
        at += 1;
    }
    count += at;
    if at < digits.len() && digits[at] == b'.' {
        at += 1;
        let start = at;
        while at < digits.len() && digits[at].is_ascii_digit() {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digits[at] - b'0'));
            at += 1;
        }
        fraction = at - start;
        count += fraction;
    }
    if count == 0 {
        return None;
    }
    if at == digits.len() && count <= 19 && mantissa <= 1 << 53 && fraction < TENS.len() {
        let value = mantissa as f64 / TENS[fraction];
        return Some(if negative { -value } else { value });
    }
    match digits.get(at) {
        // A decimal point after the point, a letter: no number. Only an exponent may follow, Fortran's with a `D`.
        Some(b'e' | b'E') | None => text.parse().ok(),
        Some(b'd' | b'D') if at + 1 < digits.len() => text.replace(['d', 'D'], "e").parse().ok(),
        Some(_) => None,
    }
}

/// Whether the text is digits with a leading zero, such as a post code, which is a name and not a number.
pub(crate) fn leading_zero(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 1 && bytes[0] == b'0' && bytes.iter().all(u8::is_ascii_digit)
}

/// A date or time in Unix seconds: RFC 3339, or year first with `-` or `/`, with or without time.
/// Without an offset it is taken as UTC.
pub(crate) fn parse_moment(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let dated = bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && matches!(bytes[4], b'-' | b'/')
        && bytes[5].is_ascii_digit();
    if !dated || bytes.len() > 40 || !text.is_ascii() {
        return None;
    }
    let slashes;
    let text = if bytes[4] == b'/' {
        slashes = text.replace('/', "-");
        slashes.as_str()
    } else {
        text
    };
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_microsecond() as f64 / 1e6);
    }
    let civil = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|d| d.to_datetime(jiff::civil::Time::midnight())))
        .ok()?;
    Some(jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?.as_microsecond() as f64 / 1e6)
}

/// Whether the text begins as the base64 form of a PNG or a JPEG, with or without a `data:` prefix.
pub(crate) fn looks_like_image(text: &str) -> bool {
    let body = image_body(text);
    body.len() >= 64 && (body.starts_with("iVBORw0KGgo") || body.starts_with("/9j/"))
}

/// The base64 body of an image cell.
pub(crate) fn image_body(text: &str) -> &str {
    if text.starts_with("data:image/") { text.split_once(',').map_or(text, |(_, body)| body) } else { text }
}

/// Mixes 64 bits (the finaliser of MurmurHash3).
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// A hash of bytes that is the same on every machine and in every version, because saved models depend on it.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        h = mix(h ^ u64::from_le_bytes(*chunk)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let mut last = [0u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(h ^ u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_as_the_standard_library_reads_them(x in prop::num::f64::NORMAL, digits in 0usize..20) {
            for text in [format!("{x}"), format!("{x:e}"), format!("{:.*}", digits, x % 1e6)] {
                prop_assert_eq!(parse_number(&text), Some(text.parse::<f64>().unwrap()), "{}", text);
            }
        }

        #[test]
        fn what_is_no_number_is_none(text in "[a-zA-Z ,;:_/]{0,12}") {
            prop_assert_eq!(parse_number(&text), None);
        }
    }

    #[test]
    fn moments_are_read_with_and_without_time() {
        for (text, seconds) in [
            ("1970-01-02", 86_400.0),
            ("1970/01/02", 86_400.0),
            ("1970-01-01T01:00:00Z", 3_600.0),
            ("1970-01-01 01:00:00", 3_600.0),
            ("1970-01-01T02:00:00+01:00", 3_600.0),
            ("1970-01-01 00:00:00.5", 0.5),
        ] {
            assert_eq!(parse_moment(text), Some(seconds), "{text}");
        }
        for text in ["1970", "70-01-01", "1970-13-01", "1970-01-01x", "hello world", "12345678"] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    #[test]
    fn words_for_no_finite_number_and_leading_zeros_are_known() {
        assert!(is_non_finite_word("NaN") && is_non_finite_word("-inf") && is_non_finite_word("Infinity"));
        assert!(!is_non_finite_word("nancy") && !is_non_finite_word(""));
        assert!(leading_zero("01234") && !leading_zero("0") && !leading_zero("0.5"));
    }
}
