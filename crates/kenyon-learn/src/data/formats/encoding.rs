//! Character encodings: detection, and conversion to UTF-8 while reading.

use super::decode::{Source, carry, uncarry};
use crate::{Detail, Error, Result};
use encoding_rs::{DecoderResult, Encoding, ISO_8859_4, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::io::{self, Read};

/// Bytes decoded at once.
const CHUNK: usize = 64 << 10;

/// The encoding a caller names; 400 where there is none of this name.
pub(super) fn named(label: &str) -> Result<&'static Encoding> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        let reason = format!("'{label}' is not a supported character encoding");
        Error::malformed("unknown_encoding", reason.clone()).with_details([Detail::path("encoding", reason)])
    })
}

/// The encoding of a text that begins with `head`; UTF-8 unless there is evidence for another.
pub(super) fn of_head(head: &[u8]) -> Result<&'static Encoding> {
    // UTF-32: by its mark, or three bytes of four are zero.
    let zeros = head.iter().filter(|b| **b == 0).count();
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") || zeros * 10 > head.len() * 7 {
        return Err(Error::malformed("unknown_encoding", "the file is UTF-32: save it as UTF-8"));
    }
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return Ok(encoding);
    }
    // UTF-16 without a mark: every second byte of Western text is zero.
    let sample = &head[..head.len().min(4096) & !1];
    let zeros = |odd: usize| sample.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if sample.len() >= 4 && (even + odd) * 5 > sample.len() {
        if odd > 8 * even {
            return Ok(UTF_16LE);
        } else if even > 8 * odd {
            return Ok(UTF_16BE);
        }
    }
    match std::str::from_utf8(head) {
        Ok(_) => Ok(UTF_8),
        // Cut inside a character.
        Err(error) if error.error_len().is_none() && head.len() - error.valid_up_to() < 4 => Ok(UTF_8),
        Err(_) => {
            let mut evidence = EncodingEvidence::default();
            evidence.feed(head);
            evidence.finish()
        }
    }
}

/// The encoding of a whole text that is not UTF-8; UTF-8 where it is a damaged one.
pub(super) fn of_all(mut source: Source) -> Result<&'static Encoding> {
    let mut evidence = EncodingEvidence::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer).map_err(uncarry)? {
            0 => return evidence.finish(),
            n => evidence.feed(&buffer[..n]),
        }
    }
}

/// Gathers evidence for an encoding.
struct EncodingEvidence {
    detector: chardetng::EncodingDetector,
    /// Characters beyond ASCII that are valid UTF-8, and bytes that are not.
    valid: usize,
    invalid: usize,
    controls: usize,
    bytes: usize,
}

impl Default for EncodingEvidence {
    fn default() -> Self {
        let detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
        Self { detector, valid: 0, invalid: 0, controls: 0, bytes: 0 }
    }
}

impl EncodingEvidence {
    fn feed(&mut self, bytes: &[u8]) {
        self.detector.feed(bytes, false);
        self.bytes += bytes.len();
        self.controls +=
            bytes.iter().filter(|b| **b < 0x20 && !matches!(**b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1a | 0x1f)).count();
        for chunk in bytes.utf8_chunks() {
            self.valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
            self.invalid += chunk.invalid().len();
        }
    }

    fn finish(mut self) -> Result<&'static Encoding> {
        if self.controls * 100 > self.bytes {
            return Err(Error::malformed(
                "not_text",
                "the file is neither text nor in a format that is read here: send CSV, TSV, NDJSON, JSON or Parquet",
            ));
        }
        // A few broken bytes among many characters of UTF-8 are damage, not another encoding.
        if self.valid > self.invalid {
            return Ok(UTF_8);
        }
        self.detector.feed(b"", true);
        let detected = self.detector.guess(None, chardetng::Utf8Detection::Deny);
        // Rare in practice, and the default result of detectors for Western text with few accented letters.
        Ok(if detected == ISO_8859_4 { WINDOWS_1252 } else { detected })
    }
}

impl Source {
    /// The same text as UTF-8, without a byte order mark.
    pub(super) fn decoded(mut self, encoding: &'static Encoding) -> Result<Self> {
        if encoding == UTF_8 {
            let mark = if self.head().starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            self.skip(mark);
            return Ok(self);
        }
        Self::with_head(Box::new(Decoded::new(self, encoding)))
    }
}

/// A source's bytes as UTF-8.
pub(super) struct Decoded {
    source: Source,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    at: usize,
    filled: usize,
    ended: bool,
    out: Vec<u8>,
    taken: usize,
}

impl Decoded {
    pub(super) fn new(source: Source, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_with_bom_removal();
        Self { source, decoder, raw: vec![0; CHUNK], at: 0, filled: 0, ended: false, out: Vec::new(), taken: 0 }
    }

    /// Decodes the next bytes into `out`.
    fn advance(&mut self) -> io::Result<()> {
        self.out.resize(CHUNK * 3 + 16, 0);
        self.taken = 0;
        let mut written = 0;
        while written == 0 && !(self.ended && self.at == self.filled) {
            if self.at == self.filled {
                (self.at, self.filled) = (0, self.source.read(&mut self.raw)?);
                self.ended = self.filled == 0;
            }
            let raw = &self.raw[self.at..self.filled];
            let (result, read, wrote) =
                self.decoder.decode_to_utf8_without_replacement(raw, &mut self.out[written..], self.ended);
            self.at += read;
            written += wrote;
            match result {
                DecoderResult::InputEmpty => {}
                DecoderResult::OutputFull => break,
                DecoderResult::Malformed(..) => {
                    let name = self.decoder.encoding().name();
                    let detail = format!("the file is not valid {name}");
                    return Err(carry(Error::malformed("invalid_encoding", detail)));
                }
            }
        }
        self.out.truncate(written);
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.out.len() {
            self.advance()?;
        }
        let n = buffer.len().min(self.out.len() - self.taken);
        buffer[..n].copy_from_slice(&self.out[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}
