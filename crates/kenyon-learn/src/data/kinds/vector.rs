//! Vectors: lists of numbers of one fixed length.

use super::{ColumnKind, Encoding, Kind, Layout, Tensor};
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Vector;

impl Kind for Vector {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Vector
    }

    fn name(&self) -> &'static str {
        "vector"
    }

    fn wanted(&self) -> &'static str {
        "a list"
    }

    fn column(&self, layout: Layout<'_>) -> Column {
        elements(layout)
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Elements
    }

    fn tensor(&self, _channels: Option<usize>, width: Option<usize>) -> Tensor {
        Tensor { datatype: "FP32", shape: vec![width.map_or(-1, |w| w as i64)] }
    }

    fn form(&self) -> &'static str {
        "list"
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// An empty column of vectors.
pub(super) fn elements(layout: Layout<'_>) -> Column {
    Column::Vector { width: layout.width.unwrap_or_default(), shape: layout.shape.cloned(), values: Vec::new() }
}
