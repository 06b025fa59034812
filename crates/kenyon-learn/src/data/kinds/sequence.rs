//! Sequences: lists of any length, of numbers, of vectors (channels) or of strings.

use super::{ColumnKind, Encoding, Kind, Layout, Tensor};
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Sequence;

impl Kind for Sequence {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Sequence
    }

    fn name(&self) -> &'static str {
        "sequence"
    }

    fn wanted(&self) -> &'static str {
        "a list"
    }

    fn column(&self, layout: Layout<'_>) -> Column {
        match layout.channels {
            Some(0) => Column::Strings { offsets: vec![0], values: Vec::new() },
            channels => Column::Series { channels: channels.unwrap_or_default(), offsets: vec![0], values: Vec::new() },
        }
    }

    fn encoding(&self, strings: bool) -> Encoding {
        if strings { Encoding::Words } else { Encoding::Steps }
    }

    fn tensor(&self, channels: Option<usize>, _width: Option<usize>) -> Tensor {
        match channels {
            Some(0) => Tensor { datatype: "BYTES", shape: vec![-1] },
            Some(channels) if channels > 1 => Tensor { datatype: "FP32", shape: vec![-1, channels as i64] },
            _ => Tensor { datatype: "FP32", shape: vec![-1] },
        }
    }

    fn form(&self) -> &'static str {
        "list"
    }

    fn is_list(&self) -> bool {
        true
    }
}
