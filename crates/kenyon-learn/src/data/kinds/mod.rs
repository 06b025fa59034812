//! Column kinds: one file a kind, one list. A kind defines how a cell is read and what its canonical identity
//! is, which cells of a file are evidence for it, how its column is stored, encoded and sent over the wire.

mod boolean;
mod category;
mod duration;
mod image;
pub(in crate::data) mod number;
mod sequence;
mod spelling;
mod text;
pub(in crate::data) mod timestamp;
mod vector;

pub(in crate::data) use category::canonical;
pub use spelling::Spelling;
pub(in crate::data) use spelling::{Evidence, is_weak_word, is_word};

use super::cell::{Cell, List};
use super::table::Column;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// How a column is read: a handle into the list of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ColumnKind {
    /// A finite number.
    Number,
    /// One of a set of names.
    Category,
    /// True or false.
    Boolean,
    /// A point in time, kept as Unix seconds.
    Timestamp,
    /// Free text.
    Text,
    /// A list of numbers of one fixed length.
    Vector,
    /// A list of any length: of numbers, of vectors (channels), or of strings.
    Sequence,
    /// A base64 PNG or JPEG.
    Image,
    /// A length of time or a time of day, kept as seconds.
    Duration,
}

/// Every kind, in the order of [`ColumnKind`].
static KINDS: [&dyn Kind; 9] = [
    &number::Number,
    &category::Category,
    &boolean::Boolean,
    &timestamp::Timestamp,
    &text::Text,
    &vector::Vector,
    &sequence::Sequence,
    &image::Image,
    &duration::Duration,
];

/// The definition of a column kind.
pub(in crate::data) trait Kind: Sync {
    /// Its handle.
    fn kind(&self) -> ColumnKind;

    /// Its name in requests.
    fn name(&self) -> &'static str;

    /// What a cell should have been, for an error's reason: `a number`.
    fn wanted(&self) -> &'static str;

    /// The cell's canonical identity; none where it does not fit. Kinds of lists read no scalars.
    fn read<'c>(&self, _cell: Cell<'c>, _spelling: &Spelling) -> Option<Scalar<'c>> {
        None
    }

    /// Whether a text of a file that is not a plain number is of this kind; `evidence` records spellings
    /// that only one reading allows.
    fn recognises(&self, _text: &str, _evidence: &mut Evidence) -> bool {
        false
    }

    /// An empty column of it.
    fn column(&self, layout: Layout<'_>) -> Column;

    /// What the encoder makes of it.
    fn encoding(&self, strings: bool) -> Encoding;

    /// Its tensor in the Open Inference Protocol, without the batch dimension; `width` where it is known.
    fn tensor(&self, channels: Option<usize>, width: Option<usize>) -> Tensor;

    /// The form field for it.
    fn form(&self) -> &'static str;

    /// Whether its values are real numbers, with a range and a mean.
    fn is_real(&self) -> bool {
        false
    }

    /// Whether its values are lists (an image is one of pixels).
    fn is_list(&self) -> bool {
        false
    }

    /// Whether only the plainest words for "no value" mean that, since any other may be a value.
    fn keeps_words(&self) -> bool {
        false
    }
}

/// The canonical identity of a cell that is no list.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::data) enum Scalar<'c> {
    /// A finite number, or seconds.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// A name or a text.
    Name(Cow<'c, str>),
}

/// The layout of a column, from its plan.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::data) struct Layout<'p> {
    /// Numbers a row, where known.
    pub(in crate::data) width: Option<usize>,
    /// Shape of a vector or image.
    pub(in crate::data) shape: Option<&'p Vec<usize>>,
    /// Channels of a sequence; 0 for strings.
    pub(in crate::data) channels: Option<usize>,
}

/// How the encoder represents a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A standardised number with bins.
    Number,
    /// A number with the phases of day, week and year.
    Phases,
    /// A boolean.
    Flag,
    /// One of a set of names.
    Names,
    /// Words.
    Words,
    /// The elements of a list of fixed length.
    Elements,
    /// The steps of a series.
    Steps,
}

/// An input tensor of the Open Inference Protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name of its type: `FP64`, `BYTES` …
    pub datatype: &'static str,
    /// Sizes after the batch; -1 for any.
    pub shape: Vec<i64>,
}

impl Tensor {
    fn scalar(datatype: &'static str) -> Self {
        Self { datatype, shape: Vec::new() }
    }
}

impl ColumnKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|kind| kind.kind())
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.name() == name)
    }

    /// Its name in requests.
    pub fn name(self) -> &'static str {
        self.spec().name()
    }

    /// How the encoder represents it; `strings` for sequences of strings.
    pub fn encoding(self, strings: bool) -> Encoding {
        self.spec().encoding(strings)
    }

    /// Its tensor in the Open Inference Protocol, without the batch dimension.
    pub fn tensor(self, channels: Option<usize>, width: Option<usize>) -> Tensor {
        self.spec().tensor(channels, width)
    }

    /// The form field for it: `number`, `text`, `checkbox` …
    pub fn form(self) -> &'static str {
        self.spec().form()
    }

    /// Whether its values are real numbers, with a range and a mean.
    pub fn is_real(self) -> bool {
        self.spec().is_real()
    }

    /// Whether its values are lists.
    pub fn is_list(self) -> bool {
        self.spec().is_list()
    }

    /// Whether two JSON values are the same cell of a column of this kind.
    pub fn same(self, a: &Value, b: &Value) -> bool {
        let spelling = Spelling::default();
        a == b
            || match (scalar_cell(a), scalar_cell(b)) {
                (Some(a), Some(b)) => {
                    let (a, b) = (self.spec().read(a, &spelling), self.spec().read(b, &spelling));
                    a.is_some() && a == b
                }
                _ => false,
            }
    }

    pub(in crate::data) fn spec(self) -> &'static dyn Kind {
        KINDS[self as usize]
    }
}

/// A JSON value that is not a list as a cell.
pub(in crate::data) fn scalar_cell(value: &Value) -> Option<Cell<'_>> {
    Some(match value {
        Value::Bool(b) => Cell::Boolean(*b),
        Value::String(text) => Cell::Text(text),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(x), _) => Cell::Integer(x.into()),
            (_, Some(x)) => Cell::Integer(x.into()),
            _ => Cell::Number(n.as_f64()?),
        },
        _ => return None,
    })
}

/// Whether some lists are of one length and of plain numbers, and so a vector.
pub(in crate::data) fn list_kind(shortest: usize, longest: usize, plain: bool) -> ColumnKind {
    if plain && shortest == longest && longest > 0 { ColumnKind::Vector } else { ColumnKind::Sequence }
}

/// The numbers of a list as singles; larger ones are clipped, not infinite.
pub(in crate::data) fn singles(list: &List) -> impl Iterator<Item = f32> {
    list.numbers.iter().map(|x| single(*x))
}

/// A number as a single; one beyond all singles is the largest.
#[inline]
pub(in crate::data) fn single(x: f64) -> f32 {
    (x as f32).clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_is_in_the_order_of_the_handles() {
        for (at, kind) in KINDS.iter().enumerate() {
            assert_eq!(kind.kind() as usize, at);
            let name = serde_json::to_value(kind.kind()).unwrap();
            assert_eq!(name, kind.name());
        }
        assert_eq!(ColumnKind::all().count(), KINDS.len());
    }

    #[test]
    fn one_value_has_one_identity() {
        let category = ColumnKind::Category;
        for (a, b) in [
            (json!(1), json!(1.0)),
            (json!(1), json!("1")),
            (json!("1.0"), json!(" 1 ")),
            (json!(true), json!("True")),
            (json!(-0.0), json!("0")),
            (json!("a"), json!(" a")),
            (json!(u64::MAX), json!("18446744073709551615")),
        ] {
            assert!(category.same(&a, &b), "{a} {b}");
        }
        for (a, b) in [
            (json!("01"), json!(1)),
            (json!("a"), json!("A")),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)),
            (json!(i64::MIN), json!(i64::MIN + 1)),
            (json!([1]), json!(1)),
        ] {
            assert!(!category.same(&a, &b), "{a} {b}");
        }
        assert!(ColumnKind::Boolean.same(&json!(1), &json!("TRUE")));
        assert!(ColumnKind::Timestamp.same(&json!("1970-01-02"), &json!(86400)));
        assert!(ColumnKind::Number.same(&json!("1e3"), &json!(1000)));
    }
}
