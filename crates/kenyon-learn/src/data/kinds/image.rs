//! Images: PNG or JPEG, as base64 or bytes, decoded to a vector of pixels.

use super::vector::elements;
use super::{ColumnKind, Encoding, Evidence, Kind, Layout, Tensor};
use crate::data::cell::looks_like_image;
use crate::data::table::Column;

/// See the module documentation.
pub(super) struct Image;

impl Kind for Image {
    fn kind(&self) -> ColumnKind {
        ColumnKind::Image
    }

    fn name(&self) -> &'static str {
        "image"
    }

    fn wanted(&self) -> &'static str {
        "a base64 PNG or JPEG"
    }

    fn recognises(&self, text: &str, _evidence: &mut Evidence) -> bool {
        looks_like_image(text)
    }

    fn column(&self, layout: Layout<'_>) -> Column {
        elements(layout)
    }

    fn encoding(&self, _strings: bool) -> Encoding {
        Encoding::Elements
    }

    fn tensor(&self, _channels: Option<usize>, _width: Option<usize>) -> Tensor {
        Tensor::scalar("BYTES")
    }

    fn form(&self) -> &'static str {
        "file"
    }

    fn is_list(&self) -> bool {
        true
    }
}
