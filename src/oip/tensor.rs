//! Tensors of the Open Inference Protocol: names of datatypes, values in memory, raw bytes.

use crate::{Error, Result};
use half::{bf16, f16};

/// An element type of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    Uint8,
    /// Unsigned, 2 bytes.
    Uint16,
    /// Unsigned, 4 bytes.
    Uint32,
    /// Unsigned, 8 bytes.
    Uint64,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 2 bytes.
    Int16,
    /// Signed, 4 bytes.
    Int32,
    /// Signed, 8 bytes.
    Int64,
    /// IEEE 754 half precision.
    Fp16,
    /// The upper half of a single.
    Bf16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// Strings; raw, each follows its length in 4 bytes.
    Bytes,
}

const NAMES: [(&str, Datatype); 14] = [
    ("FP32", Datatype::Fp32),
    ("BYTES", Datatype::Bytes),
    ("FP64", Datatype::Fp64),
    ("INT64", Datatype::Int64),
    ("INT32", Datatype::Int32),
    ("BOOL", Datatype::Bool),
    ("UINT8", Datatype::Uint8),
    ("UINT16", Datatype::Uint16),
    ("UINT32", Datatype::Uint32),
    ("UINT64", Datatype::Uint64),
    ("INT8", Datatype::Int8),
    ("INT16", Datatype::Int16),
    ("FP16", Datatype::Fp16),
    ("BF16", Datatype::Bf16),
];

impl Datatype {
    /// By its name in the protocol.
    pub(super) fn parse(name: &str) -> Result<Self> {
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, d)| *d).ok_or_else(|| {
            let shown: String = name.chars().take(32).collect();
            Error::malformed("unknown_datatype", format!("'{shown}' is not a datatype of the protocol"))
        })
    }

    /// Its name in the protocol.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, d)| *d == self).map_or("BYTES", |(n, _)| n)
    }

    /// Bytes an element takes; none for strings.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Smallest and largest value of an integer type that fits 64 signed bits.
    pub(super) fn range(self) -> Option<(i64, i64)> {
        match self {
            Self::Uint8 => Some((0, 0xff)),
            Self::Uint16 => Some((0, 0xffff)),
            Self::Uint32 => Some((0, 0xffff_ffff)),
            Self::Int8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
            Self::Int16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            Self::Int32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            Self::Int64 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }
}

/// Elements in row-major order, in the widest type of their kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// `BOOL`.
    Bool(Vec<bool>),
    /// All integers but `UINT64`.
    Int(Vec<i64>),
    /// `UINT64`.
    Uint(Vec<u64>),
    /// `FP16`, `BF16` and `FP32`.
    F32(Vec<f32>),
    /// `FP64`.
    F64(Vec<f64>),
    /// `BYTES`, as text.
    Text(Vec<Box<str>>),
}

impl Values {
    /// None yet, of this type.
    pub(super) fn empty(datatype: Datatype) -> Self {
        match datatype {
            Datatype::Bool => Self::Bool(Vec::new()),
            Datatype::Uint64 => Self::Uint(Vec::new()),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 => Self::F32(Vec::new()),
            Datatype::Fp64 => Self::F64(Vec::new()),
            Datatype::Bytes => Self::Text(Vec::new()),
            _ => Self::Int(Vec::new()),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bool(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Uint(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// From little-endian bytes, which must be whole elements.
    pub(super) fn from_raw(datatype: Datatype, raw: &[u8]) -> Result<Self> {
        let Some(size) = datatype.size() else { return strings(raw).map(Self::Text) };
        if !raw.len().is_multiple_of(size) {
            let detail = format!("{} bytes are not whole elements of {}", raw.len(), datatype.name());
            return Err(Error::malformed("invalid_tensor", detail));
        }
        Ok(match datatype {
            Datatype::Bool => {
                let truth = |&byte: &u8| match byte {
                    0 | 1 => Ok(byte == 1),
                    _ => Err(Error::malformed("invalid_tensor", format!("{byte} is no BOOL: 0 or 1"))),
                };
                Self::Bool(raw.iter().map(truth).collect::<Result<_>>()?)
            }
            Datatype::Uint8 => Self::Int(raw.iter().map(|&b| i64::from(b)).collect()),
            Datatype::Int8 => Self::Int(raw.iter().map(|&b| i64::from(b as i8)).collect()),
            Datatype::Uint16 => Self::Int(each(raw, |b| i64::from(u16::from_le_bytes(b)))),
            Datatype::Int16 => Self::Int(each(raw, |b| i64::from(i16::from_le_bytes(b)))),
            Datatype::Uint32 => Self::Int(each(raw, |b| i64::from(u32::from_le_bytes(b)))),
            Datatype::Int32 => Self::Int(each(raw, |b| i64::from(i32::from_le_bytes(b)))),
            Datatype::Uint64 => Self::Uint(each(raw, u64::from_le_bytes)),
            Datatype::Int64 => Self::Int(each(raw, i64::from_le_bytes)),
            Datatype::Fp16 => Self::F32(each(raw, |b| f16::from_le_bytes(b).to_f32())),
            Datatype::Bf16 => Self::F32(each(raw, |b| bf16::from_le_bytes(b).to_f32())),
            Datatype::Fp32 => Self::F32(each(raw, f32::from_le_bytes)),
            Datatype::Fp64 | Datatype::Bytes => Self::F64(each(raw, f64::from_le_bytes)),
        })
    }

    /// Appends the elements as little-endian bytes of `datatype`, which must be of their kind.
    pub(super) fn write_raw(&self, datatype: Datatype, out: &mut Vec<u8>) {
        match self {
            Self::Bool(v) => out.extend(v.iter().map(|&b| u8::from(b))),
            Self::Int(v) => {
                let size = datatype.size().unwrap_or(8);
                v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()[..size]));
            }
            Self::Uint(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::F32(v) => match datatype {
                Datatype::Fp16 => v.iter().for_each(|&x| out.extend_from_slice(&f16::from_f32(x).to_le_bytes())),
                Datatype::Bf16 => v.iter().for_each(|&x| out.extend_from_slice(&bf16::from_f32(x).to_le_bytes())),
                _ => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            },
            Self::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Self::Text(v) => {
                for text in v {
                    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    /// Bytes [`Values::write_raw`] writes.
    pub(super) fn raw_len(&self, datatype: Datatype) -> usize {
        match self {
            Self::Text(v) => v.iter().map(|t| 4 + t.len()).sum(),
            other => other.len() * datatype.size().unwrap_or(0),
        }
    }
}

fn each<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

fn strings(mut raw: &[u8]) -> Result<Vec<Box<str>>> {
    let bad = |detail: &str| Error::malformed("invalid_tensor", detail);
    let mut out = Vec::new();
    while let Some((length, rest)) = raw.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(|| bad("a BYTES tensor ends inside an element"))?;
        out.push(std::str::from_utf8(text).map_err(|_| bad("a BYTES element is not UTF-8"))?.into());
        raw = rest;
    }
    if raw.is_empty() { Ok(out) } else { Err(bad("a BYTES tensor ends inside a length")) }
}

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// Its name.
    pub(super) name: String,
    /// Its element type.
    pub(super) datatype: Datatype,
    /// Its dimensions, outermost first.
    pub(super) shape: Vec<usize>,
    /// Its elements.
    pub(super) values: Values,
    /// Elements that are `null`, in ascending order; only JSON has these.
    pub(super) missing: Vec<usize>,
}

impl Tensor {
    /// Checks that the shape holds exactly the values.
    pub(super) fn new(name: String, datatype: Datatype, shape: Vec<usize>, values: Values) -> Result<Self> {
        let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if elements != Some(values.len()) {
            let shown: String = name.chars().take(64).collect();
            let detail = format!("input '{shown}' has {} elements, which do not fit shape {shape:?}", values.len());
            return Err(Error::malformed("invalid_shape", detail));
        }
        Ok(Self { name, datatype, shape, values, missing: Vec::new() })
    }

    /// The same, with these elements missing.
    pub(super) fn without(self, missing: Vec<usize>) -> Self {
        Self { missing, ..self }
    }

    /// Whether an element is missing.
    pub(super) fn is_missing(&self, element: usize) -> bool {
        self.missing.binary_search(&element).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_datatype_survives_its_raw_form() {
        for (name, datatype) in NAMES {
            assert_eq!(Datatype::parse(name).unwrap().name(), name);
            let values = match Values::empty(datatype) {
                Values::Bool(_) => Values::Bool(vec![true, false, true]),
                Values::Int(_) => Values::Int(vec![0, 1, datatype.range().unwrap().1, datatype.range().unwrap().0]),
                Values::Uint(_) => Values::Uint(vec![0, u64::MAX]),
                Values::F32(_) => Values::F32(vec![0.0, -1.5, 2.0]),
                Values::F64(_) => Values::F64(vec![0.1, f64::MIN]),
                Values::Text(_) => Values::Text(vec!["".into(), "żółw".into()]),
            };
            let mut raw = Vec::new();
            values.write_raw(datatype, &mut raw);
            assert_eq!(raw.len(), values.raw_len(datatype), "{name}");
            assert_eq!(Values::from_raw(datatype, &raw).unwrap(), values, "{name}");
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        for (datatype, raw) in [
            (Datatype::Fp32, &[0u8, 0, 0][..]),
            (Datatype::Bytes, &[5, 0, 0, 0, b'a']),
            (Datatype::Bool, &[2]),
            (Datatype::Bytes, &[1, 0]),
            (Datatype::Bytes, &[1, 0, 0, 0, 0xff]),
            (Datatype::Bytes, &[0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(Values::from_raw(datatype, raw).unwrap_err().code, "invalid_tensor");
        }
        let too_large = Tensor::new("x".into(), Datatype::Bool, vec![usize::MAX, 2], Values::Bool(vec![]));
        assert_eq!(too_large.unwrap_err().code, "invalid_shape");
    }
}
