//! A hand-written reader for the JSON of infer requests: numbers are parsed directly into typed values, without a tree
//! of values between, which is several times as fast as a general reader on a row of pixels.

mod scanner;

use self::scanner::{MAX_DEPTH, Scanner, malformed};
use super::tensor::{Datatype, Values};
use crate::{Error, Result};
use kenyon_learn::data::number::Decimal;
use std::borrow::Cow;

/// An infer request as JSON; data of the binary extension are not attached yet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    /// `parameters.binary_data_output`: the form of outputs that do not set their own.
    pub(super) binary_output: bool,
    pub(super) inputs: Vec<Input<'a>>,
    pub(super) outputs: Vec<Wanted<'a>>,
}

/// An input tensor.
#[derive(Debug, PartialEq)]
pub(super) struct Input<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
    /// Elements that are `null`.
    pub(super) missing: Vec<usize>,
}

/// Where an input's elements are.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// In the JSON.
    Here(Values),
    /// This many bytes after it.
    Binary(usize),
}

/// A requested output.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted<'a> {
    pub(super) name: Cow<'a, str>,
    /// Whether it is sent as raw bytes.
    pub(super) binary: Option<bool>,
    /// This many classes as `value:index:label` strings instead (Triton's classification extension).
    pub(super) classes: Option<usize>,
    /// Of an embedding: another layer than the last one.
    pub(super) layer: Option<Cow<'a, str>>,
}

/// Reads a request.
pub(super) fn parse(json: &[u8]) -> Result<Parsed<'_>> {
    let text = std::str::from_utf8(json).map_err(|_| malformed("the request is not UTF-8", 0))?;
    let mut reader = Scanner { text, bytes: json, at: 0 };
    let mut parsed = Parsed::default();
    let mut has_inputs = false;
    reader.object(|reader, key| {
        match key {
            "id" => parsed.id = reader.optional_string()?,
            "inputs" => {
                has_inputs = true;
                reader.array(|reader| {
                    parsed.inputs.push(reader.input()?);
                    Ok(())
                })?;
            }
            "outputs" => reader.array(|reader| {
                parsed.outputs.push(reader.wanted()?);
                Ok(())
            })?,
            "parameters" => reader.object(|reader, key| {
                match key {
                    "binary_data_output" => parsed.binary_output = reader.boolean()?,
                    _ => reader.skip(0)?,
                }
                Ok(())
            })?,
            _ => reader.skip(0)?,
        }
        Ok(())
    })?;
    reader.end()?;
    if !has_inputs {
        return Err(Error::malformed("invalid_request", "the request has no inputs"));
    }
    Ok(parsed)
}

impl<'a> Scanner<'a> {
    fn input(&mut self) -> Result<Input<'a>> {
        let (mut name, mut datatype, mut shape) = (None, None, None);
        let (mut binary, mut data, mut data_at) = (None, None, None);
        self.object(|reader, key| {
            match key {
                "name" => name = Some(reader.string()?),
                "datatype" => datatype = Some(Datatype::parse(&reader.string()?)?),
                "shape" => {
                    let mut dims = Vec::with_capacity(4);
                    reader.array(|reader| {
                        dims.push(reader.size()?);
                        Ok(())
                    })?;
                    shape = Some(dims);
                }
                "parameters" => reader.object(|reader, key| {
                    match key {
                        "binary_data_size" => binary = Some(reader.size()?),
                        _ => reader.skip(0)?,
                    }
                    Ok(())
                })?,
                "data" => match datatype {
                    Some(datatype) => data = Some(reader.data(datatype, shape.as_deref())?),
                    // The type comes later: the data are read again once the type is read.
                    None => {
                        data_at = Some(reader.at);
                        reader.skip(0)?;
                    }
                },
                _ => reader.skip(0)?,
            }
            Ok(())
        })?;
        let need = |what: &str| Error::malformed("invalid_request", format!("an input has no {what}"));
        let name = name.ok_or_else(|| need("name"))?;
        let datatype = datatype.ok_or_else(|| need("datatype"))?;
        let shape = shape.ok_or_else(|| need("shape"))?;
        if let Some(at) = data_at {
            data = Some(Scanner { at, ..*self }.data(datatype, Some(&shape))?);
        }
        let (data, missing) = match (data, binary) {
            (_, Some(size)) => (Data::Binary(size), Vec::new()),
            (Some((values, missing)), None) => (Data::Here(values), missing),
            (None, None) => return Err(need("data")),
        };
        Ok(Input { name, datatype, shape, data, missing })
    }

    fn wanted(&mut self) -> Result<Wanted<'a>> {
        let mut wanted = Wanted::default();
        self.object(|reader, key| {
            match key {
                "name" => wanted.name = reader.string()?,
                "parameters" => reader.object(|reader, key| {
                    match key {
                        "binary_data" => wanted.binary = Some(reader.boolean()?),
                        "layer" => wanted.layer = reader.optional_string()?,
                        "classification" => wanted.classes = Some(reader.size()?).filter(|&n| n > 0),
                        _ => reader.skip(0)?,
                    }
                    Ok(())
                })?,
                _ => reader.skip(0)?,
            }
            Ok(())
        })?;
        Ok(wanted)
    }

    /// A flat or nested list of elements, and which of them are `null`.
    fn data(&mut self, datatype: Datatype, shape: Option<&[usize]>) -> Result<(Values, Vec<usize>)> {
        // The shape is untrusted: it reserves no more than the text could hold.
        let fits = (self.bytes.len() - self.at) / 2 + 1;
        let expected = shape.and_then(|s| s.iter().try_fold(1usize, |p, &d| p.checked_mul(d))).unwrap_or(0).min(fits);
        let mut values = Values::empty(datatype);
        let mut missing = Vec::new();
        match &mut values {
            Values::F32(v) => {
                v.reserve_exact(expected);
                self.floats(v, &mut missing, 0)?;
            }
            Values::F64(v) => self.elements(0, &mut |reader| {
                let value = reader.nullable(v.len(), &mut missing, |reader| {
                    reader.number_token()?.parse().map_err(|_| reader.error("expected a number"))
                })?;
                v.push(value.unwrap_or(f64::NAN));
                Ok(())
            })?,
            Values::Int(v) => {
                let (low, high) = datatype.range().unwrap_or((i64::MIN, i64::MAX));
                self.elements(0, &mut |reader| {
                    let value = reader.nullable(v.len(), &mut missing, Self::integer)?.unwrap_or(0);
                    if value < low || value > high {
                        return Err(reader.error(&format!("{value} is no {}", datatype.name())));
                    }
                    v.push(value);
                    Ok(())
                })?;
            }
            Values::Uint(v) => self.elements(0, &mut |reader| {
                let value = reader.nullable(v.len(), &mut missing, |reader| {
                    reader.number_token()?.parse().map_err(|_| reader.error("expected a UINT64"))
                })?;
                v.push(value.unwrap_or(0));
                Ok(())
            })?,
            Values::Bool(v) => self.elements(0, &mut |reader| {
                v.push(reader.nullable(v.len(), &mut missing, Self::boolean)?.unwrap_or(false));
                Ok(())
            })?,
            Values::Text(v) => self.elements(0, &mut |reader| {
                v.push(reader.nullable(v.len(), &mut missing, Self::string)?.unwrap_or_default().into());
                Ok(())
            })?,
        }
        Ok((values, missing))
    }

    /// An element, or none where it is `null`: its number goes to `missing`.
    fn nullable<T>(
        &mut self,
        element: usize,
        missing: &mut Vec<usize>,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.peek() != b'n' {
            return read(self).map(Some);
        }
        self.word("null")?;
        missing.push(element);
        Ok(None)
    }

    /// Elements of any type, flat or nested.
    fn elements(&mut self, depth: usize, each: &mut impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        self.array(|reader| {
            if reader.peek() == b'[' {
                return reader.elements(depth + 1, each);
            }
            each(reader)
        })
    }

    /// [`Scanner::elements`] for the most frequent type.
    fn floats(&mut self, out: &mut Vec<f32>, missing: &mut Vec<usize>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        self.expect(b'[')?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            // Rows of pixels are mostly single digits.
            while let Some(b"0.0, ") = self.bytes.get(self.at..self.at + 5) {
                out.push(0.0);
                self.at += 5;
            }
            match self.peek() {
                b'[' => self.floats(out, missing, depth + 1)?,
                b'n' => {
                    self.word("null")?;
                    missing.push(out.len());
                    out.push(f32::NAN);
                }
                _ => out.push(self.float()?),
            }
            match self.peek() {
                b',' => {
                    self.at += 1;
                    if self.bytes.get(self.at) == Some(&b' ') {
                        self.at += 1;
                    }
                }
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected ',' or ']'")),
            }
        }
    }

    /// A number as `f32`, the nearest there is.
    fn float(&mut self) -> Result<f32> {
        if let Some(read) = Decimal::scan(&self.bytes[self.at..])
            && let Some(value) = read.single()
        {
            self.at += read.length;
            return Ok(value);
        }
        self.slow_float()
    }

    fn slow_float(&mut self) -> Result<f32> {
        let token = self.number_token()?;
        let value: f32 = token.parse().map_err(|_| self.error("expected a number"))?;
        if value.is_finite() { Ok(value) } else { Err(self.error("a number beyond single precision")) }
    }
}

#[cfg(test)]
mod tests;
