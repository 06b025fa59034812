//! Booleans: `true`, `True`, `1`, `yes`, `t` and their opposites.

use super::{ColumnKind, Encoding, Evidence, Kind, Layout, Scalar, Spelling, Tensor};
use crate::data::cell::{Cell, parse_boolean};
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Boolean;

impl Kind for Boolean {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Boolean
    }

    fn name(&self) -> &'static str {
        "boolean"
    }

    fn wanted(&self) -> &'static str {
        "true or false"
    }

    fn read<'c>(&self, cell: Cell<'c>, _spelling: &Spelling) -> Option<Scalar<'c>> {
        let truth = match cell {
            Cell::Boolean(b) => b,
            Cell::Integer(x @ (0 | 1)) => x == 1,
            Cell::Number(x) if x == 0.0 || x == 1.0 => x == 1.0,
            Cell::Raw(text) | Cell::Quoted(text) | Cell::Text(text) => match text.trim() {
                "1" | "1.0" | "yes" | "Yes" | "YES" | "y" | "Y" | "t" | "T" => true,
                "0" | "0.0" | "no" | "No" | "NO" | "n" | "N" | "f" | "F" => false,
                text => parse_boolean(text)?,
            },
            _ => return None,
        };
        Some(Scalar::Boolean(truth))
    }

    fn recognises(&self, text: &str, _evidence: &mut Evidence) -> bool {
        parse_boolean(text).is_some()
    }

    fn column(&self, _layout: Layout<'_>) -> Column {
        Column::Boolean(Vec::new())
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Flag
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("BOOL")
    }

    fn form(&self) -> &'static str {
        "checkbox"
    }
}
