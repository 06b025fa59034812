//! Decimal numbers from text, for the readers of the predict path: most are short, and a short
//! one is exact by one division (Clinger 1990, "How to read floating point numbers accurately").

/// A JSON number of at most 19 digits without an exponent: `±mantissa / 10^decimals`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    negative: bool,
    mantissa: u64,
    decimals: usize,
    /// Bytes of text it takes up.
    pub length: usize,
}

impl Decimal {
    /// The number at the start of `bytes`; none where it is longer, has an exponent, or is not a number.
    #[inline]
    pub fn scan(bytes: &[u8]) -> Option<Self> {
        let negative = bytes.first() == Some(&b'-');
        let from = usize::from(negative);
        let mut at = from;
        let mut mantissa = 0u64;
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        let whole = at - from;
        let mut decimals = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let start = at;
            while let Some(chunk) = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>)
                && let Some(eight) = eight_digits(*chunk)
            {
                mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight);
                at += 8;
            }
            while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                at += 1;
            }
            decimals = at - start;
            if decimals == 0 {
                return None;
            }
        }
        let goes_on = matches!(bytes.get(at), Some(b'e' | b'E' | b'.' | b'+' | b'-'));
        let leading_zero = whole > 1 && bytes[from] == b'0';
        if goes_on || whole == 0 || leading_zero || whole + decimals > 19 {
            return None;
        }
        Some(Self { negative, mantissa, decimals, length: at })
    }

    /// The integer, where it is written without decimals and fits 64 bits; `-0` is none.
    #[inline]
    pub fn integer(self) -> Option<i128> {
        let value = i128::from(self.mantissa);
        let signed = self.negative && (value == 0 || value > 1 << 63);
        (self.decimals == 0 && !signed).then_some(if self.negative { -value } else { value })
    }

    /// The nearest double; none where one division does not give it.
    #[inline]
    pub fn double(self) -> Option<f64> {
        let value = (self.mantissa <= 1 << 53).then(|| self.mantissa as f64 / POWERS_F64[self.decimals])?;
        Some(if self.negative { -value } else { value })
    }

    /// The nearest single; none where it is too close to call.
    #[inline]
    pub fn single(self) -> Option<f32> {
        let value = if self.mantissa < 1 << 24 && self.decimals <= 10 {
            self.mantissa as f32 / POWERS_F32[self.decimals]
        } else {
            // Two roundings at most: the double is off by less than two units in its last place, so the
            // single is right unless the 29 bits it leaves out are that near to one half.
            let double = self.mantissa as f64 / POWERS_F64[self.decimals];
            let low_bits = (double.to_bits() & 0x1fff_ffff) as i64;
            if (low_bits - 0x1000_0000).abs() <= 2 {
                return None;
            }
            double as f32
        };
        Some(if self.negative { -value } else { value })
    }
}

/// The value of eight ASCII digits, or none when one of them is no digit. All eight at once: pairs,
/// then fours, then eights are summed inside one word.
fn eight_digits(chunk: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(chunk);
    let digits = word.wrapping_sub(0x3030_3030_3030_3030);
    let above = digits.wrapping_add(0x7676_7676_7676_7676);
    if (digits | above) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

const POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
const POWERS_F64: [f64; 20] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_short_number_is_left_alone() {
        for text in ["", "-", ".5", "1.", "01", "+1", "1e3", "1.5E2", "1.2.3", "--1", "12345678901234567890", "x"] {
            assert!(Decimal::scan(text.as_bytes()).is_none(), "{text}");
        }
        let read = Decimal::scan(b"-0.25, 7").unwrap();
        assert_eq!((read.length, read.double(), read.single()), (5, Some(-0.25), Some(-0.25)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_the_nearest(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,12})?") {
            if let Some(read) = Decimal::scan(text.as_bytes()) {
                prop_assert_eq!(read.length, text.len());
                if let Some(double) = read.double() {
                    prop_assert_eq!(double.to_bits(), text.parse::<f64>().unwrap().to_bits());
                }
                if let Some(single) = read.single() {
                    prop_assert_eq!(single.to_bits(), text.parse::<f32>().unwrap().to_bits());
                }
            }
        }

        #[test]
        fn doubles_of_pixels_too(value in 0.0f32..1.0) {
            let text = f64::from(value).to_string();
            if let Some(single) = Decimal::scan(text.as_bytes()).and_then(Decimal::single) {
                prop_assert_eq!(single.to_bits(), text.parse::<f32>().unwrap().to_bits());
            }
        }
    }
}
