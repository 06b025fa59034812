//! Free text, unchanged.

use super::category::scalar_name;
use super::{ColumnKind, Encoding, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::Cell;
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Text;

impl Kind for Text {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Text
    }

    fn name(&self) -> &'static str {
        "text"
    }

    fn wanted(&self) -> &'static str {
        "a name or text"
    }

    fn read<'c>(&self, cell: Cell<'c>, _spelling: &Spelling) -> Option<Scalar<'c>> {
        Some(Scalar::Name(match cell {
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => text.trim().into(),
            other => scalar_name(other)?,
        }))
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Text(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Words
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("BYTES")
    }

    fn form(&self) -> &'static str {
        "textarea"
    }

    fn keeps_words(&self) -> bool {
        true
    }
}
