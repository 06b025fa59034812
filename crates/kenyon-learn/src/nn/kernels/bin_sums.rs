//! Running sums of the weights of a number's bins. With them a number costs two lines, however many bins it has:
//! the sum of all lines below the bin it lies in, and that bin's line times the share that is filled (piecewise-linear
//! encoding, Gorishniy et al. 2022). Gradients go back the same way: what a sum gets, all lines in it get.

use super::isa::dispatch;
use super::lane::{LANE, Lane};
use crate::data::BinRanges;

/// Which lines of a layer are running sums of others. A layer's own lines come first, one an input, then for each
/// number with bins the sums of its first one, two, … lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BinSums {
    /// Sums in all.
    count: usize,
    runs: Vec<BinRun>,
}

/// The lines of one number's bins, and where the sums of them are: sum `i` is that of the lines up to `first + i`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BinRun {
    /// The line of the first bin.
    pub(crate) first: u32,
    /// Bins, at least one.
    pub(crate) bins: u32,
    /// The line of the first sum; there is one less than bins.
    pub(crate) sums: u32,
}

impl BinRun {
    fn own(&self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.bins) as usize
    }

    fn sums(&self) -> std::ops::Range<usize> {
        self.sums as usize..(self.sums + self.bins - 1) as usize
    }
}

impl BinSums {
    /// The sums over `bins` of a layer of `inputs` inputs.
    pub(crate) fn new(inputs: usize, bins: &BinRanges) -> Self {
        let mut sums = Self::default();
        for range in bins.iter().filter(|range| range.end as usize <= inputs) {
            let (first, bins) = (range.start, range.end - range.start);
            sums.runs.push(BinRun { first, bins, sums: (inputs + sums.count) as u32 });
            sums.count += bins as usize - 1;
        }
        sums
    }

    /// How many sums there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether no input is a bin.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The bins of each number.
    pub(crate) fn runs(&self) -> &[BinRun] {
        &self.runs
    }

    /// How many lines are in the sum at line `line`; 1 for a line that is no sum.
    pub(crate) fn summed(&self, line: u32) -> u32 {
        let after = self.runs.partition_point(|run| run.sums <= line);
        let run = self.runs[..after].iter().rev().find(|run| run.bins > 1);
        run.filter(|run| line < run.sums + run.bins - 1).map_or(1, |run| line - run.sums + 1)
    }
}

dispatch! {
    /// Makes the sums of `runs` what they should be.
    pub(crate) fn sum_bins(lines: &mut [Lane], runs: &[BinRun]) {
        for run in runs {
            let Some((own, sums)) = lines.split_at_mut_checked(run.sums as usize) else { continue };
            let mut sum = [0.0f32; LANE];
            for (line, out) in own[run.own()].iter().zip(&mut sums[..run.bins as usize - 1]) {
                for l in 0..LANE {
                    sum[l] += line.0[l];
                }
                out.0 = sum;
            }
        }
    }
}

dispatch! {
    /// Adds the gradient of each sum of `runs` to those of the lines in it.
    pub(crate) fn spread_bins(gradients: &mut [Lane], runs: &[BinRun]) {
        for run in runs {
            let Some((own, sums)) = gradients.split_at_mut_checked(run.sums as usize) else { continue };
            let mut sum = [0.0f32; LANE];
            for (line, of_sum) in own[run.own()].iter_mut().rev().skip(1).zip(sums[..run.bins as usize - 1].iter().rev())
            {
                for l in 0..LANE {
                    sum[l] += of_sum.0[l];
                    line.0[l] += sum[l];
                }
            }
        }
    }
}

dispatch! {
    /// `lines[ids[i]] += steps[i]`.
    pub(crate) fn add_lines(lines: &mut [Lane], ids: &[u32], steps: &[Lane]) {
        for (&id, step) in ids.iter().zip(steps) {
            let line = &mut lines[id as usize].0;
            for l in 0..LANE {
                line[l] += step.0[l];
            }
        }
    }
}

/// The sums of `runs` over rows of `width` numbers, one row an input.
pub(crate) fn summed_rows(rows: &[f32], width: usize, runs: &[BinRun]) -> Vec<f32> {
    let mut out = Vec::with_capacity(runs.iter().map(|run| run.sums().len() * width).sum());
    for run in runs {
        let mut sum = vec![0.0f32; width];
        for row in run.own().take(run.sums().len()) {
            sum.iter_mut().zip(&rows[row * width..(row + 1) * width]).for_each(|(sum, weight)| *sum += weight);
            out.extend_from_slice(&sum);
        }
    }
    out
}

/// Adds the gradient of each sum of `runs` to those of the rows in it, and leaves out those of the sums: what [`summed_rows`] is to
/// rows this is to their gradients, which are followed by those of the sums.
pub(crate) fn spread_rows(gradients: &mut Vec<f32>, width: usize, inputs: usize, runs: &[BinRun]) {
    let (own, of_sums) = gradients.split_at_mut(inputs * width);
    let mut sum = vec![0.0f32; width];
    for run in runs {
        sum.fill(0.0);
        for bin in (0..run.sums().len()).rev() {
            let (from, to) = ((run.sums as usize - inputs + bin) * width, (run.first as usize + bin) * width);
            for ((sum, of_sum), own) in sum.iter_mut().zip(&of_sums[from..from + width]).zip(&mut own[to..to + width]) {
                *sum += of_sum;
                *own += *sum;
            }
        }
    }
    gradients.truncate(inputs * width);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_hold_what_is_below_and_their_gradients_go_back() {
        // Inputs 1 to 3, 4 and 6 to 9 are bins.
        let sums = BinSums::new(10, &BinRanges::new([1..4, 4..5, 6..10]));
        assert_eq!((sums.count(), sums.runs().len()), (5, 3));
        let expected: [&[usize]; 5] = [&[1], &[1, 2], &[6], &[6, 7], &[6, 7, 8]];
        let mut lines: Vec<Lane> = (0..15).map(|i| Lane([(i * i + 1) as f32; LANE])).collect();
        sum_bins(&mut lines, sums.runs());
        let mut gradients: Vec<Lane> = (0..15).map(|i| Lane([if i < 10 { 0.0 } else { i as f32 }; LANE])).collect();
        spread_bins(&mut gradients, sums.runs());
        for (i, below) in expected.iter().enumerate() {
            assert_eq!(lines[10 + i].0[3], below.iter().map(|&b| (b * b + 1) as f32).sum::<f32>());
            assert_eq!(sums.summed(10 + i as u32), below.len() as u32);
        }
        for input in 0..10 {
            let all: f32 = (0..5).filter(|&i| expected[i].contains(&input)).map(|i| 10.0 + i as f32).sum();
            assert_eq!(gradients[input].0[7], all, "input {input}");
            assert_eq!(sums.summed(input as u32), 1);
        }
        let rows: Vec<f32> = lines[..10].iter().flat_map(|line| [line.0[0], 2.0 * line.0[0]]).collect();
        let plain = summed_rows(&rows, 2, sums.runs());
        assert!(plain.chunks(2).zip(&lines[10..]).all(|(row, line)| row == [line.0[0], 2.0 * line.0[0]]));
        let mut of_rows: Vec<f32> = (0..15).flat_map(|i| [if i < 10 { 0.0 } else { i as f32 }; 2]).collect();
        spread_rows(&mut of_rows, 2, 10, sums.runs());
        assert!(of_rows.chunks(2).zip(&gradients[..10]).all(|(row, line)| row == &line.0[..2]));
        let mut moved = lines.clone();
        add_lines(&mut moved, &[2, 0], &lines[5..7]);
        assert_eq!((moved[2].0[0], moved[0].0[0], moved[1]), (5.0 + 26.0, 1.0 + 37.0, lines[1]));
    }
}
