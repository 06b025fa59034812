//! Training rows and held-out rows: seeded, stratified, the same on every machine.

use super::target::{Encoded, NO_CLASS};
use crate::random::Random;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Row numbers of each part, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Training rows.
    pub training: Vec<usize>,
    /// Held-out rows that choose the pass whose weights are kept, and nothing else; none where members leave rows out.
    pub stopping: Vec<usize>,
    /// Held-out rows that calibrate the answers and give the metrics.
    pub validation: Vec<usize>,
}

/// Share of the held-out rows that choose the pass, and share of the training rows that do where the request names those
/// that are held out.
const STOPPING: f32 = 1.0 / 3.0;
const OF_TRAINING: f32 = 0.1;
/// With fewer rows to choose the pass by, half of the held-out rows do.
const FEW_STOPPING: usize = 200;

impl Split {
    /// Lets some of the held-out rows choose the pass.
    #[must_use]
    pub fn with_stopping(self, targets: &Encoded, seed: u64) -> Self {
        let rows = self.validation.len();
        let share = STOPPING.max((FEW_STOPPING as f32 / rows as f32).min(0.5));
        let only = masked(targets, &self.validation);
        match split(&only, share, seed) {
            Ok(Self { validation: stopping, .. }) if stopping.len() < rows => {
                let validation = without(&self.validation, &stopping);
                Self { stopping, validation, ..self }
            }
            _ => self,
        }
    }

    /// Lets some of the training rows choose the pass, held out by `rule` as the others were: of the targets it is given, the
    /// rows that are held out have none. Where the rule leaves none of them (one group, one moment), they are drawn at random.
    #[must_use]
    pub fn with_stopping_by(
        self,
        targets: &Encoded,
        seed: u64,
        rule: impl FnOnce(&Encoded, f32) -> Result<Self>,
    ) -> Self {
        let left = masked(targets, &self.training);
        match rule(&left, OF_TRAINING).or_else(|_| split(&left, OF_TRAINING, seed)) {
            Ok(Self { validation: stopping, .. }) => {
                let training = without(&self.training, &stopping);
                Self { training, stopping, ..self }
            }
            Err(_) => self,
        }
    }
}

/// The targets of `rows`; the others have none.
fn masked(targets: &Encoded, rows: &[usize]) -> Encoded {
    match targets {
        Encoded::Classes(ids) => {
            let mut of = vec![NO_CLASS; ids.len()];
            rows.iter().for_each(|&row| of[row] = ids[row]);
            Encoded::Classes(of)
        }
        Encoded::Values(values) => {
            let mut of = vec![f32::NAN; values.len()];
            rows.iter().for_each(|&row| of[row] = values[row]);
            Encoded::Values(of)
        }
    }
}

/// The rows that are not among `others`; both ascending.
fn without(rows: &[usize], others: &[usize]) -> Vec<usize> {
    rows.iter().copied().filter(|row| others.binary_search(row).is_err()).collect()
}

/// The labelled rows in parts, each of which is left out by one member of an ensemble and evaluated by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folds {
    /// The fold of each row; [`NO_FOLD`] where it has no label.
    pub of_row: Vec<u8>,
    /// How many there are.
    pub count: usize,
}

/// The fold of a row without a label.
pub const NO_FOLD: u8 = u8::MAX;

/// Deals the labelled rows to `count` folds of equal size, with equal shares of every class; at most 64.
pub fn folds(targets: &Encoded, count: usize, seed: u64) -> Folds {
    let mut rows = labelled(targets);
    let mut of_row = vec![NO_FOLD; targets.len()];
    Random::stream(seed, "folds", 0).shuffle(&mut rows);
    // Rows of a class are consecutive and are dealt in turn.
    if let Encoded::Classes(ids) = targets {
        rows.sort_by_key(|&row| ids[row]);
    }
    for (at, row) in rows.into_iter().enumerate() {
        of_row[row] = (at % count.max(1)) as u8;
    }
    Folds { of_row, count }
}

/// The rows with a label, ascending.
pub fn labelled(targets: &Encoded) -> Vec<usize> {
    (0..targets.len()).filter(|&row| is_labelled(targets, row)).collect()
}

/// Holds the newest rows out: `share` of the labelled ones by `order`. Rows without a time count as oldest.
///
/// # Errors
/// `too_few_rows` where nothing can be held out or nothing would be left.
pub fn newest(targets: &Encoded, order: &[f64], share: f32) -> Result<Split> {
    let mut rows: Vec<usize> = (0..order.len()).filter(|&row| is_labelled(targets, row)).collect();
    let moment = |row: usize| if order[row].is_nan() { f64::NEG_INFINITY } else { order[row] };
    rows.sort_by(|&a, &b| moment(a).total_cmp(&moment(b)).then(a.cmp(&b)));
    let mut from = rows.len() - ((rows.len() as f64 * f64::from(share)).round() as usize).clamp(1, rows.len().max(1));
    // Rows of one time stay on one side.
    while from > 0 && from < rows.len() && moment(rows[from]) == moment(rows[from - 1]) {
        from += 1;
    }
    held_out(targets, &rows[from..])
}

/// Holds whole groups out, drawn by `seed`, until they have `share` of the labelled rows. Rows without a group are
/// training rows.
///
/// # Errors
/// `too_few_groups` where there are fewer than two groups.
pub fn groups(targets: &Encoded, group_of: &[Option<u64>], share: f32, seed: u64) -> Result<Split> {
    let mut members: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (row, group) in group_of.iter().enumerate().filter(|(row, _)| is_labelled(targets, *row)) {
        if let Some(group) = group {
            members.entry(*group).or_default().push(row);
        }
    }
    if members.len() < 2 {
        let detail = "validation by group needs at least two groups with labelled rows";
        return Err(Error::unprocessable("too_few_groups", detail));
    }
    let wanted = members.values().map(Vec::len).sum::<usize>() as f64 * f64::from(share);
    let mut order: Vec<Vec<usize>> = members.into_values().collect();
    order.sort_by_key(|rows| rows[0]);
    Random::stream(seed, "groups", 0).shuffle(&mut order);
    let most = order.len() - 1;
    let mut chosen = Vec::new();
    for rows in order.into_iter().take(most) {
        // The last group is added if that is nearer to the share than leaving it out.
        if !chosen.is_empty() && chosen.len() as f64 + rows.len() as f64 / 2.0 > wanted {
            break;
        }
        chosen.extend(rows);
    }
    held_out(targets, &chosen)
}

/// Holds these rows out, as far as they have a label.
///
/// # Errors
/// `too_few_rows` where no labelled row is on one of the sides.
pub fn held_out(targets: &Encoded, rows: &[usize]) -> Result<Split> {
    let count = targets.len();
    let mut out = vec![false; count];
    rows.iter().for_each(|&row| out[row] = true);
    let training: Vec<usize> = (0..count).filter(|&row| !out[row]).collect();
    let validation: Vec<usize> = (0..count).filter(|&row| out[row] && is_labelled(targets, row)).collect();
    if validation.is_empty() || !training.iter().any(|&row| is_labelled(targets, row)) {
        return Err(Error::unprocessable("too_few_rows", "there are labelled rows on one side of the split only"));
    }
    Ok(Split { training, validation, ..Split::default() })
}

fn is_labelled(targets: &Encoded, row: usize) -> bool {
    match targets {
        Encoded::Values(values) => values[row].is_finite(),
        Encoded::Classes(ids) => ids[row] != NO_CLASS,
    }
}

/// Holds `share` of the labelled rows out, the same share of every class. A class with a single row goes wholly
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
            // Rounding errors of one class are carried over to the next.
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
    fn the_newest_rows_are_held_out_and_a_moment_is_not_divided() {
        let targets = Encoded::Classes((0..10).map(|i| if i == 9 { NO_CLASS } else { i % 2 }).collect());
        let order = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 3.0, f64::NAN, 10.0];
        let s = newest(&targets, &order, 0.3).unwrap();
        assert_eq!((s.training, s.validation), (vec![3, 4, 5, 6, 7, 8, 9], vec![0, 1, 2]));
        let same = newest(&Encoded::Values(vec![1.0; 4]), &[1.0, 2.0, 2.0, 3.0], 0.5).unwrap();
        assert_eq!(same.validation, [3]);
        assert_eq!(newest(&Encoded::Values(vec![1.0; 4]), &[1.0; 4], 0.5).unwrap_err().code, "too_few_rows");
    }

    #[test]
    fn no_group_stands_on_both_sides() {
        let targets = Encoded::Classes((0..1000).map(|i| i % 2).collect());
        let group_of: Vec<Option<u64>> = (0..1000u64).map(|i| (i >= 10).then_some(i % 37)).collect();
        let s = groups(&targets, &group_of, 0.2, 7).unwrap();
        let out: Vec<_> = s.validation.iter().map(|&row| group_of[row]).collect();
        assert!(s.training.iter().all(|&row| group_of[row].is_none() || !out.contains(&group_of[row])));
        assert!((150..250).contains(&s.validation.len()), "{}", s.validation.len());
        assert_eq!(s.training.len() + s.validation.len(), 1000);
        assert_eq!(groups(&targets, &vec![Some(1); 1000], 0.2, 7).unwrap_err().code, "too_few_groups");
    }

    #[test]
    fn rows_that_choose_the_pass_are_neither_learned_nor_measured() {
        let targets = Encoded::Classes((0..3000).map(|i| u32::from(i % 10 == 0)).chain([NO_CLASS]).collect());
        let outer = split(&targets, 0.2, 7).unwrap();
        let auto = outer.clone().with_stopping(&targets, 7);
        assert_eq!((auto.stopping.len(), auto.validation.len(), &auto.training), (200, 400, &outer.training));
        let time: Vec<f64> = (0..3001).map(f64::from).collect();
        let named = newest(&targets, &time, 0.2).unwrap();
        let ordered = named.clone().with_stopping_by(&targets, 7, |of, share| newest(of, &time, share));
        assert_eq!((&ordered.validation, ordered.stopping.first()), (&named.validation, Some(&2160)));
        // The rows that are left have one moment.
        let months: Vec<f64> = (0..3001).map(|row| f64::from(u8::from(row >= 2400))).collect();
        let named = newest(&targets, &months, 0.2).unwrap();
        let drawn = named.with_stopping_by(&targets, 7, |of, share| newest(of, &months, share));
        assert_eq!((drawn.validation.first(), drawn.stopping.len()), (Some(&2400), 240));
        for split in [auto, ordered, drawn] {
            let mut all = [split.training, split.stopping, split.validation].concat();
            all.sort_unstable();
            assert_eq!(all, (0..3001).collect::<Vec<_>>());
        }
        let small = split_of(4).with_stopping(&Encoded::Values(vec![1.0; 8]), 1);
        assert_eq!((small.stopping.len(), small.validation.len()), (2, 2));
        assert_eq!(split_of(1).with_stopping(&Encoded::Values(vec![1.0; 8]), 1).stopping, [0; 0]);
    }

    fn split_of(rows: usize) -> Split {
        held_out(&Encoded::Values(vec![1.0; 8]), &(0..rows).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn folds_are_equal_in_size_and_in_classes() {
        let ids: Vec<u32> = (0..803).map(|i| if i % 10 == 0 { 1 } else { 0 }).chain([2, 2, 2, NO_CLASS]).collect();
        let dealt = folds(&Encoded::Classes(ids.clone()), 8, 7);
        let rows =
            |fold: u8, class: u32| (0..ids.len()).filter(|&r| dealt.of_row[r] == fold && ids[r] == class).count();
        for fold in 0..8 {
            assert!((90..=91).contains(&rows(fold, 0)) && (10..=11).contains(&rows(fold, 1)) && rows(fold, 2) <= 1);
        }
        assert_eq!((dealt.of_row[806], dealt.count), (NO_FOLD, 8));
        let targets = Encoded::Classes(ids);
        assert_eq!(folds(&targets, 8, 7), dealt);
        assert_ne!(folds(&targets, 8, 8), dealt);
        let values = folds(&Encoded::Values(vec![1.0, f32::NAN, 2.0, 3.0]), 3, 1).of_row;
        assert_eq!(values[1], NO_FOLD);
        assert_eq!(values.iter().map(|&fold| u32::from(fold)).sum::<u32>(), 3 + u32::from(NO_FOLD));
    }

    #[test]
    fn nothing_to_hold_out_is_an_error() {
        assert_eq!(split(&Encoded::Classes(vec![0, 1]), 0.2, 1).unwrap_err().code, "too_few_rows");
        assert_eq!(split(&Encoded::Values(vec![f32::NAN, 1.0]), 0.2, 1).unwrap_err().code, "too_few_rows");
    }
}
