//! Kernels over a weight `[inputs, units]` that stands row by row, as tensors do: the sum of the rows of active inputs, and its
//! gradient. What they compute does not depend on the number of threads: each number of the result is made by one of them.

use super::isa::{Isa, dispatch};
use super::lane::{LANE, fused};
use super::rows::SparseRows;
use super::vectors::dot_body;
use rayon::prelude::*;
use std::ops::Range;

/// Products below which a second thread costs more than it saves.
const SHARED_FROM: usize = 1 << 19;

/// Parts that the work is cut into, so that threads end at about the same time.
const PARTS: usize = 16;

/// Units whose sums are in registers at once.
const WIDE: usize = 64;
const NARROW: usize = 16;

/// The units that each input has a connection to, as ranges of neighbours.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reach {
    offsets: Vec<usize>,
    runs: Vec<(usize, usize)>,
}

impl Reach {
    /// For `units` units in as many groups of blocks as there are `connections`, each of which has for every input whether the units of the
    /// group have it.
    pub(crate) fn of_groups(inputs: usize, units: usize, connections: &[Vec<bool>]) -> Self {
        let ranges = group_ranges(units, connections.len());
        let groups: Vec<_> = ranges.zip(connections).map(|(units, own)| (units, own.as_slice())).collect();
        Self::new(inputs, &groups)
    }

    /// Of `inputs` inputs of groups of units, first to last: each the range of its units, and which inputs these have.
    fn new(inputs: usize, groups: &[(Range<usize>, &[bool])]) -> Self {
        let (mut offsets, mut runs) = (vec![0], Vec::<(usize, usize)>::new());
        for input in 0..inputs {
            let start = runs.len();
            for (units, connected) in groups {
                if !connected[input] {
                    continue;
                }
                match runs[start..].last_mut() {
                    Some(last) if last.1 == units.start => last.1 = units.end,
                    _ => runs.push((units.start, units.end)),
                }
            }
            offsets.push(runs.len());
        }
        Self { offsets, runs }
    }

    /// The ranges of units of an input.
    pub(crate) fn of(&self, input: usize) -> &[(usize, usize)] {
        &self.runs[self.offsets[input]..self.offsets[input + 1]]
    }

    /// The share of all connections that is there, of `units` units.
    fn share(&self, units: usize) -> f64 {
        let there: usize = self.runs.iter().map(|(from, to)| to - from).sum();
        there as f64 / ((self.offsets.len() - 1) * units).max(1) as f64
    }
}

/// The units of each of `groups` groups, which consist of whole blocks.
pub(crate) fn group_ranges(units: usize, groups: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = units.div_ceil(LANE);
    let start = move |group: usize| (group * blocks / groups * LANE).min(units);
    (0..groups).map(move |group| start(group)..start(group + 1))
}

/// The entries of sparse rows, input by input.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByInput {
    offsets: Vec<u32>,
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl ByInput {
    pub(crate) fn new(rows: &SparseRows<'_>) -> Self {
        let mut offsets = vec![0u32; rows.bound() + 1];
        for row in 0..rows.len() {
            rows.row(row).0.iter().for_each(|&index| offsets[index as usize + 1] += 1);
        }
        for input in 0..rows.bound() {
            offsets[input + 1] += offsets[input];
        }
        let (mut next, count) = (offsets.clone(), rows.entries());
        let mut out = Self { offsets, rows: vec![0; count], values: vec![0.0; count] };
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            for (&index, &value) in indices.iter().zip(values) {
                let at = &mut next[index as usize];
                (out.rows[*at as usize], out.values[*at as usize]) = (row as u32, value);
                *at += 1;
            }
        }
        out
    }

    fn of(&self, input: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[input] as usize..self.offsets[input + 1] as usize;
        (&self.rows[range.clone()], &self.values[range])
    }
}

/// Whether work of `entries` entries of `units` units is shared among threads.
fn is_shared(entries: usize, units: usize, reach: Option<&Reach>) -> bool {
    let products = entries as f64 * units as f64 * reach.map_or(1.0, |reach| reach.share(units));
    products >= SHARED_FROM as f64
}

/// `[rows, units]`: for each row the sum of value × weight row, and the bias where there is one. An input counts for the units in its
/// `reach`, or for all.
pub(crate) fn gather(
    weights: &[f32],
    units: usize,
    bias: Option<&[f32]>,
    rows: &SparseRows<'_>,
    reach: Option<&Reach>,
) -> Vec<f32> {
    let count = rows.len();
    let mut out = match bias {
        Some(bias) => bias.repeat(count),
        None => vec![0.0; count * units],
    };
    if units == 0 {
        return out;
    }
    if !is_shared(rows.entries(), units, reach) {
        gather_rows(Isa::best(), weights, units, rows, reach, &mut out);
        return out;
    }
    let part = count.div_ceil(PARTS);
    out.par_chunks_mut(part * units).enumerate().for_each(|(number, out)| {
        let rows = rows.slice(number * part, out.len() / units);
        gather_rows(Isa::best(), weights, units, &rows, reach, out);
    });
    out
}

/// The gradient of the weights, `[inputs, units]`, from that of what [`gather`] gave; 0 where there is no connection.
pub(crate) fn gather_gradient(
    gradient: &[f32],
    units: usize,
    rows: &SparseRows<'_>,
    reach: Option<&Reach>,
) -> Vec<f32> {
    let (inputs, entries) = (rows.bound(), ByInput::new(rows));
    let mut out = vec![0.0; inputs * units];
    if units == 0 || inputs == 0 {
        return out;
    }
    if !is_shared(rows.entries(), units, reach) {
        gradient_of_inputs(Isa::best(), gradient, units, &entries, 0, reach, &mut out);
        return out;
    }
    let part = inputs.div_ceil(PARTS);
    out.par_chunks_mut(part * units).enumerate().for_each(|(number, out)| {
        gradient_of_inputs(Isa::best(), gradient, units, &entries, number * part, reach, out);
    });
    out
}

/// The gradient of the values at the entries of `rows`, row after row, by the same: for each the product of its weight row and the
/// gradient of its row.
pub(crate) fn gather_back(
    weights: &[f32],
    gradient: &[f32],
    units: usize,
    rows: &SparseRows<'_>,
    reach: Option<&Reach>,
) -> Vec<f32> {
    let mut out = vec![0.0; rows.entries()];
    entries_back(Isa::best(), weights, gradient, units, rows, reach, &mut out);
    out
}

dispatch! {
    /// Adds to `out`, entry after entry.
    fn gather_rows(
        weights: &[f32], units: usize, rows: &SparseRows<'_>, reach: Option<&Reach>, out: &mut [f32],
    ) = gather_rows_body
}

#[inline(always)]
fn gather_rows_body<const FMA: bool>(
    weights: &[f32],
    units: usize,
    rows: &SparseRows<'_>,
    reach: Option<&Reach>,
    out: &mut [f32],
) {
    let line = |index: u32| &weights[index as usize * units..(index as usize + 1) * units];
    for (row, out) in out.chunks_exact_mut(units).enumerate() {
        let (indices, values) = rows.row(row);
        if let Some(reach) = reach {
            for (&index, &value) in indices.iter().zip(values) {
                for &(from, to) in reach.of(index as usize) {
                    add::<FMA, 1>([&line(index)[from..to]], &[value], &mut out[from..to]);
                }
            }
            continue;
        }
        let (eights, rest) = indices.as_chunks::<8>();
        let (eight_values, rest_values) = values.as_chunks::<8>();
        for (eight, values) in eights.iter().zip(eight_values) {
            add::<FMA, 8>(std::array::from_fn(|i| line(eight[i])), values, out);
        }
        for (&index, &value) in rest.iter().zip(rest_values) {
            add::<FMA, 1>([line(index)], &[value], out);
        }
    }
}

/// Adds `N` rows at once, so that the sums are read and written once for all of them.
#[inline(always)]
fn add<const FMA: bool, const N: usize>(lines: [&[f32]; N], values: &[f32; N], out: &mut [f32]) {
    // Slices of one length let the compiler see that no access below can miss.
    let lines = lines.map(|line| &line[..out.len()]);
    for at in 0..out.len() {
        let mut sum = out[at];
        for n in 0..N {
            sum = fused::<FMA>(values[n], lines[n][at], sum);
        }
        out[at] = sum;
    }
}

dispatch! {
    /// The gradient of the inputs from `first` on whose rows are `out`.
    fn gradient_of_inputs(
        gradient: &[f32], units: usize, entries: &ByInput, first: usize, reach: Option<&Reach>, out: &mut [f32],
    ) = gradient_of_inputs_body
}

#[inline(always)]
fn gradient_of_inputs_body<const FMA: bool>(
    gradient: &[f32],
    units: usize,
    entries: &ByInput,
    first: usize,
    reach: Option<&Reach>,
    out: &mut [f32],
) {
    let all = [(0, units)];
    for (number, out) in out.chunks_exact_mut(units).enumerate() {
        let (rows, values) = entries.of(first + number);
        if rows.is_empty() {
            continue;
        }
        for &(from, to) in reach.map_or(&all[..], |reach| reach.of(first + number)) {
            let mut at = from;
            while at + WIDE <= to {
                sum_column::<FMA, WIDE>(gradient, units, at, rows, values, &mut out[at..at + WIDE]);
                at += WIDE;
            }
            while at + NARROW <= to {
                sum_column::<FMA, NARROW>(gradient, units, at, rows, values, &mut out[at..at + NARROW]);
                at += NARROW;
            }
            for (&row, &value) in rows.iter().zip(values) {
                let from = row as usize * units;
                add::<FMA, 1>([&gradient[from + at..from + to]], &[value], &mut out[at..to]);
            }
        }
    }
}

/// `out` = the sum of value × the numbers of `gradient` from unit `at` on, of `N` units, whose sums stay in registers.
#[inline(always)]
fn sum_column<const FMA: bool, const N: usize>(
    gradient: &[f32],
    units: usize,
    at: usize,
    rows: &[u32],
    values: &[f32],
    out: &mut [f32],
) {
    let mut sums = [0.0f32; N];
    for (&row, &value) in rows.iter().zip(values) {
        let from = row as usize * units + at;
        let line = &gradient[from..from + N];
        for l in 0..N {
            sums[l] = fused::<FMA>(value, line[l], sums[l]);
        }
    }
    out.copy_from_slice(&sums);
}

dispatch! {
    /// See [`gather_back`].
    fn entries_back(
        weights: &[f32], gradient: &[f32], units: usize, rows: &SparseRows<'_>, reach: Option<&Reach>, out: &mut [f32],
    ) = entries_back_body
}

#[inline(always)]
fn entries_back_body<const FMA: bool>(
    weights: &[f32],
    gradient: &[f32],
    units: usize,
    rows: &SparseRows<'_>,
    reach: Option<&Reach>,
    out: &mut [f32],
) {
    let all = [(0, units)];
    let mut next = out.iter_mut();
    for row in 0..rows.len() {
        let gradient = &gradient[row * units..(row + 1) * units];
        for (&index, out) in rows.row(row).0.iter().zip(&mut next) {
            let line = &weights[index as usize * units..(index as usize + 1) * units];
            for &(from, to) in reach.map_or(&all[..], |reach| reach.of(index as usize)) {
                *out += dot_body::<FMA>(&line[from..to], &gradient[from..to]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Sums, the gradient of weights, and that of values, in double precision.
    fn expected(
        weights: &[f32],
        slopes: &[f32],
        units: usize,
        rows: &SparseRows<'_>,
        there: impl Fn(usize, usize) -> bool,
    ) -> [Vec<f64>; 3] {
        let mut out = [vec![0.0; rows.len() * units], vec![0.0; weights.len()], Vec::new()];
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            for (&index, &value) in indices.iter().zip(values) {
                let mut back = 0.0;
                for unit in (0..units).filter(|&unit| there(index as usize, unit)) {
                    let (weight, slope) = (index as usize * units + unit, f64::from(slopes[row * units + unit]));
                    out[0][row * units + unit] += f64::from(value) * f64::from(weights[weight]);
                    out[1][weight] += f64::from(value) * slope;
                    back += f64::from(weights[weight]) * slope;
                }
                out[2].push(back);
            }
        }
        out
    }

    #[test]
    fn sums_and_gradients_are_those_of_the_definition_with_and_without_reach() {
        // The last case is shared among threads.
        for (count, inputs, units) in [(3, 5, 1), (7, 40, 21), (9, 30, 100), (64, 200, 256)] {
            let mut random = Random::new(count as u64);
            let (mut offsets, mut indices, mut values) = (vec![0], vec![], vec![]);
            for row in 0..count {
                for _ in 0..if row == 1 { 0 } else { inputs / 2 } {
                    indices.push(random.below(inputs) as u32);
                    values.push(random.normal());
                }
                offsets.push(indices.len() as u32);
            }
            let rows = SparseRows::new(&offsets, &indices, &values, inputs).unwrap();
            let (weights, slopes) = (random.normals(inputs * units, 1.0), random.normals(count * units, 1.0));
            let half = units / 2;
            let connected: [Vec<bool>; 2] = [0, 1].map(|g| (0..inputs).map(|input| input % 3 != g).collect());
            let reach = Reach::new(inputs, &[(0..half, &connected[0]), (half..units, &connected[1])]);
            for reach in [None, Some(&reach)] {
                let there = |input: usize, unit: usize| reach.is_none() || connected[usize::from(unit >= half)][input];
                let wanted = expected(&weights, &slopes, units, &rows, there);
                let found = [
                    gather(&weights, units, None, &rows, reach),
                    gather_gradient(&slopes, units, &rows, reach),
                    gather_back(&weights, &slopes, units, &rows, reach),
                ];
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_eq!(found.len(), wanted.len());
                    let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-3;
                    assert!(found.iter().zip(wanted).all(near), "{count} rows, reach: {}", reach.is_some());
                }
                let bias = vec![2.0; units];
                let lifted = gather(&weights, units, Some(&bias), &rows, reach);
                assert!(lifted.iter().zip(&wanted[0]).all(|(a, b)| (f64::from(*a) - b - 2.0).abs() < 1e-3));
            }
        }
    }

    #[test]
    fn neighbouring_units_are_one_range() {
        let (yes, no) = (vec![true, false], vec![false, true]);
        let reach = Reach::new(2, &[(0..16, &yes), (16..32, &yes), (32..48, &no), (48..50, &yes)]);
        assert_eq!(reach.of(0), [(0, 32), (48, 50)]);
        assert_eq!(reach.of(1), [(32, 48)]);
        assert!((reach.share(50) - 0.5).abs() < 1e-9);
    }
}
