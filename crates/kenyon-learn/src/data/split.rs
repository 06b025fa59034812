//! Which rows are learned from and which are held out: seeded, stratified, the same on every machine.

use super::target::{Encoded, NO_CLASS};
use crate::random::Random;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Row numbers of the two sides, each in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub training: Vec<usize>,
    /// Rows held out.
    pub validation: Vec<usize>,
}

/// Holds `share` of the labelled rows out, of every class alike. A class with a single row goes wholly
/// to training, and so do rows without a label.
///
/// # Errors
/// `too_few_rows` where nothing can be held out.
pub fn split(targets: &Encoded, share: f32, seed: u64) -> Result<Split> {
    let mut random = Random::stream(seed, "split", 0);
    let mut split = Split::default();
    match targets {
        Encoded::Values(values) => {
            let (known, unknown): (Vec<usize>, Vec<usize>) =
                (0..values.len()).partition(|&row| values[row].is_finite());
            split.training = unknown;
            divide(known, share, &mut random, &mut split, &mut 0.0);
        }
        Encoded::Classes(ids) => {
            let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            for (row, &id) in ids.iter().enumerate() {
                classes.entry(id).or_default().push(row);
            }
            split.training = classes.remove(&NO_CLASS).unwrap_or_default();
            // What rounding takes from one class it owes to the next.
            let mut owed = 0.0;
            for rows in classes.into_values() {
                divide(rows, share, &mut random, &mut split, &mut owed);
            }
        }
    }
    if split.validation.is_empty() {
        return Err(Error::unprocessable("too_few_rows", "there are too few labelled rows to hold any out"));
    }
    split.training.sort_unstable();
    split.validation.sort_unstable();
    Ok(split)
}

fn divide(mut rows: Vec<usize>, share: f32, random: &mut Random, split: &mut Split, owed: &mut f64) {
    random.shuffle(&mut rows);
    let wanted = rows.len() as f64 * f64::from(share) + *owed;
    let most = rows.len().saturating_sub(1);
    let taken = (wanted.round().max(0.0) as usize).clamp(usize::from(most > 1), most.max(usize::from(most > 1)));
    *owed = (wanted - taken as f64).clamp(-1.0, 1.0);
    split.training.extend_from_slice(&rows[taken..]);
    split.validation.extend_from_slice(&rows[..taken]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_class_is_held_out_alike_and_nothing_is_lost() {
        let ids: Vec<u32> = (0..1000).map(|i| if i % 10 == 0 { 1 } else { 0 }).chain([2, NO_CLASS]).collect();
        let s = split(&Encoded::Classes(ids.clone()), 0.2, 7).unwrap();
        let held = |class| s.validation.iter().filter(|&&r| ids[r] == class).count();
        assert_eq!((held(0), held(1), held(2), held(NO_CLASS)), (180, 20, 0, 0));
        let mut all = [s.training.clone(), s.validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..ids.len()).collect::<Vec<_>>());
        assert_eq!(split(&Encoded::Classes(ids.clone()), 0.2, 7).unwrap(), s);
        assert_ne!(split(&Encoded::Classes(ids), 0.2, 8).unwrap(), s);
    }

    #[test]
    fn nothing_to_hold_out_is_an_error() {
        assert_eq!(split(&Encoded::Classes(vec![0, 1]), 0.2, 1).unwrap_err().code, "too_few_rows");
        assert_eq!(split(&Encoded::Values(vec![f32::NAN, 1.0]), 0.2, 1).unwrap_err().code, "too_few_rows");
    }
}
