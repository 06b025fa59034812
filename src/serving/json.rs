//! The few JSON tokens of answers, appended to bytes.

use serde::Serialize;

/// Appends any value; numbers get their shortest text that reads back the same.
pub(crate) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory fails only for maps with keys that are not strings, which are not written here.
    let _ = serde_json::to_writer(out, value);
}

/// Appends text unchanged: punctuation, and what is JSON already.
pub(crate) fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a list, each element by `each`.
pub(crate) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}
