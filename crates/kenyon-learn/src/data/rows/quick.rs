//! The fast path through a request's rows: one pass over the bytes, numbers directly into lists and
//! columns. It reads plain JSON only; whatever else it finds (escapes, exponents, objects in objects,
//! mistakes) it leaves to the general reader, which then starts from the first byte.

use super::RowsBuilder;
use crate::data::cell::{Cell, List};
use crate::data::number::Decimal;

/// Reads `[{…},{…}]` into `builder`; none where the general reader has to.
pub(super) fn read(bytes: &[u8], builder: &mut RowsBuilder) -> Option<()> {
    let mut reader = Reader { bytes, at: 0 };
    reader.list(|reader| {
        reader.row(builder)?;
        builder.close();
        Some(())
    })?;
    reader.space();
    (reader.at == bytes.len()).then_some(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// What is between brackets and commas.
    #[inline]
    fn list(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn row(&mut self, builder: &mut RowsBuilder) -> Option<()> {
        self.expect(b'{')?;
        let mut hint = 0;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        // The list moves out while the builder takes the cell that borrows it; a builder that was given
        // up half way is not used again.
        let mut list = std::mem::take(&mut builder.inner.list);
        loop {
            self.space();
            let key = self.string()?;
            let slot = builder.slot(key, &mut hint);
            self.expect(b':')?;
            self.value(|cell| builder.inner.put(slot, cell), &mut list)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    builder.inner.list = list;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    #[inline]
    fn value(&mut self, take: impl FnOnce(Cell<'_>), list: &mut List) -> Option<()> {
        match self.peek()? {
            b'"' => take(Cell::Text(self.string()?)),
            b'[' => {
                self.elements(list)?;
                take(Cell::List(list));
            }
            b't' => take(self.word("true", Cell::Boolean(true))?),
            b'f' => take(self.word("false", Cell::Boolean(false))?),
            b'n' => take(self.word("null", Cell::Missing)?),
            _ => take(self.scalar()?),
        }
        Some(())
    }

    fn elements(&mut self, list: &mut List) -> Option<()> {
        list.clear();
        self.list(|reader| {
            list.len += 1;
            match reader.peek()? {
                b'"' => list.push_text(reader.string()?),
                b'n' => list.numbers.push(reader.word("null", f64::NAN)?),
                b'[' => {
                    let before = list.numbers.len();
                    reader.list(|reader| {
                        reader.space();
                        list.numbers.push(reader.number()?);
                        Some(())
                    })?;
                    list.inner.push(list.numbers.len() - before);
                }
                _ => list.numbers.push(reader.number()?),
            }
            Some(())
        })
    }

    /// A number outside of a list, integers exact.
    #[inline]
    fn scalar(&mut self) -> Option<Cell<'static>> {
        let whole = Decimal::scan(&self.bytes[self.at..])?;
        match whole.integer() {
            Some(value) => {
                self.at += whole.length;
                Some(Cell::Integer(value))
            }
            None => self.number().map(Cell::Number),
        }
    }

    #[inline]
    fn number(&mut self) -> Option<f64> {
        // Rows of pixels are mostly single digits.
        if let Some(b"0.0,") = self.bytes.get(self.at..self.at + 4) {
            self.at += 3;
            return Some(0.0);
        }
        let rest = &self.bytes[self.at..];
        let read = Decimal::scan(rest)?;
        let value = match read.double() {
            Some(value) => value,
            None => std::str::from_utf8(&rest[..read.length]).ok()?.parse().ok()?,
        };
        self.at += read.length;
        Some(value)
    }

    fn word<T>(&mut self, word: &str, value: T) -> Option<T> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())?;
        Some(value)
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let rest = self.bytes[self.at..].strip_prefix(b"\"")?;
        let end = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
        if rest[end] != b'"' {
            return None;
        }
        self.at += end + 2;
        std::str::from_utf8(&rest[..end]).ok()
    }
}
