//! Verification before publishing: the files of a bundle are loaded again and must predict the held-out rows
//! with the same bits.

use super::bundle::Bundle;
use super::fit::Fitted;
use crate::data::Table;
use crate::{Error, Result};

/// Rows per forward pass.
const CHUNK: usize = 512;

/// The files of a bundle, by name.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The files of a trained bundle, after they were loaded again and predicted the measured rows of `table` bit for bit.
///
/// # Errors
/// `not_reproducible` with the reason where they do not.
pub fn verified_files(fitted: &Fitted, table: &Table) -> Result<Files> {
    let files = fitted.bundle.files()?;
    let wrong = |reason: String| {
        Error::unprocessable("not_reproducible", format!("the saved model is not the one that was measured: {reason}"))
    };
    let loaded = Bundle::load(|name| files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| &bytes[..]))
        .map_err(|error| wrong(error.detail))?;
    let outputs = loaded.network.outputs();
    let measured = fitted.measured.rows.chunks(CHUNK).zip(fitted.measured.outputs.chunks(CHUNK * outputs));
    let mut members = fitted.measured.members.chunks(CHUNK);
    for (rows, expected) in measured {
        let batch = loaded.encode_plain(&table.select(rows))?;
        let answers = match members.next() {
            Some(members) => loaded.network.forward_members(&batch, members)?,
            None => loaded.network.forward(&batch)?,
        };
        if let Some(at) = expected.iter().position(|x| !x.is_finite()) {
            return Err(wrong(format!("it has no finite answer for row {}", rows[at / outputs] + 1)));
        }
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if answers.len() != expected.len() || !answers.iter().zip(expected).all(same) {
            let at = answers.iter().zip(expected).position(|pair| !same(pair)).unwrap_or(0) / outputs;
            return Err(wrong(format!("row {} is answered otherwise", rows[at] + 1)));
        }
    }
    Ok(files)
}
