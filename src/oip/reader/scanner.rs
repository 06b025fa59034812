//! JSON from left to right, without a tree of values between.

use crate::{Error, Result};
use std::borrow::Cow;

/// How deep lists and objects may nest.
pub(super) const MAX_DEPTH: usize = 32;

pub(super) fn malformed(what: &str, at: usize) -> Error {
    Error::malformed("malformed_json", format!("{what} (at byte {at})"))
}

/// Reads JSON from its start to its end.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    /// The next byte.
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn error(&self, what: &str) -> Error {
        malformed(what, self.at)
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not space.
    pub(super) fn peek(&mut self) -> u8 {
        self.space();
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() == byte {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(&format!("expected '{}'", byte as char)))
    }

    pub(super) fn end(&mut self) -> Result<()> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("nothing may follow the request")) }
    }

    /// An object; `each` reads the value of every key.
    pub(super) fn object(&mut self, mut each: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.expect(b'{')?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            each(self, &key)?;
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected ',' or '}'")),
            }
        }
    }

    /// A list; `each` reads every element.
    pub(super) fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(b'[')?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            each(self)?;
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected ',' or ']'")),
            }
        }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => break,
                Some(0..0x20) | None => return Err(self.error("a string is not closed")),
                Some(_) => self.at += 1,
            }
        }
        // Escapes are rare in infer requests: serde_json reads them.
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'"' => {
                    let quoted = self.text.get(start - 1..self.at).ok_or_else(|| self.error("a broken string"))?;
                    return serde_json::from_str::<String>(quoted)
                        .map(Cow::Owned)
                        .map_err(|_| self.error("a string with a broken escape"));
                }
                _ => {}
            }
        }
        Err(self.error("a string is not closed"))
    }

    pub(super) fn optional_string(&mut self) -> Result<Option<Cow<'a, str>>> {
        if self.peek() == b'n' {
            self.word("null")?;
            return Ok(None);
        }
        self.string().map(Some)
    }

    pub(super) fn word(&mut self, word: &str) -> Result<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.error("an unknown word"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.peek() {
            b't' => self.word("true").map(|()| true),
            b'f' => self.word("false").map(|()| false),
            b'0' | b'1' => match self.integer()? {
                value @ (0 | 1) => Ok(value == 1),
                _ => Err(self.error("expected true or false")),
            },
            _ => Err(self.error("expected true or false")),
        }
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        self.space();
        let token = self.number_token()?;
        token.parse().map_err(|_| self.error("expected a whole number"))
    }

    pub(super) fn size(&mut self) -> Result<usize> {
        usize::try_from(self.integer()?).map_err(|_| self.error("expected a whole number that is not negative"))
    }

    /// The text of the current number.
    pub(super) fn number_token(&mut self) -> Result<&'a str> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let token = &self.text[start..self.at];
        // Forms that Rust accepts and JSON does not.
        let digits = token.strip_prefix('-').unwrap_or(token).as_bytes();
        let leading_zero = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
        if !digits.first().is_some_and(u8::is_ascii_digit) || leading_zero || digits.ends_with(b".") {
            return Err(malformed("expected a number", start));
        }
        Ok(token)
    }

    pub(super) fn skip(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        match self.peek() {
            b'{' => self.object(|reader, _| reader.skip(depth + 1)),
            b'[' => self.array(|reader| reader.skip(depth + 1)),
            b'"' => self.string().map(|_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number_token().map(|_| ()),
        }
    }
}
