//! Piecewise-linear bins of a number: their edges, and how a value fills them (Gorishniy et al. 2022).

use crate::data::Batch;

/// Edges between at most `bins` bins with about as many of the sorted values each. A value that fills a bin
/// by being repeated counts as one bin and leaves the others to the rest; few values have edges between all of them.
pub(super) fn edges(sorted: &[f64], bins: usize) -> Vec<f64> {
    let runs: Vec<&[f64]> = sorted.chunk_by(|a, b| a == b).collect();
    if runs.len() <= bins + 1 {
        return runs.iter().map(|run| run[0]).collect();
    }
    let (mut most, mut before) = (sorted.len() as f64 / bins as f64, f64::INFINITY);
    while most < before {
        let (full, rest): (Vec<f64>, Vec<f64>) = runs.iter().map(|run| run.len() as f64).partition(|&n| n >= most);
        before = most;
        most = most.min(rest.iter().sum::<f64>() / bins.saturating_sub(full.len()).max(1) as f64);
    }
    let counted = |run: &&[f64]| (run.len() as f64).min(most.max(1.0));
    let step = (runs.iter().map(counted).sum::<f64>() - 1.0) / bins as f64;
    let (mut edges, mut end) = (Vec::with_capacity(bins + 1), 0.0);
    for run in &runs {
        end += counted(run);
        // The first edge is the least value and the last one the largest.
        while edges.len() <= bins && edges.len() as f64 * step < end - 1e-6 {
            edges.push(run[0]);
        }
    }
    edges.dedup();
    edges
}

/// A bin below the value is full, the one it lies in as full as it is far into it. The full ones are not pushed to a
/// compact batch.
pub(super) fn push_bins(edges: &[f64], value: f64, start: u32, batch: &mut Batch) {
    let below = edges.partition_point(|&edge| edge < value);
    let Some(bin) = below.min(edges.len().saturating_sub(1)).checked_sub(1) else { return };
    if batch.bins.is_none() {
        (0..bin).for_each(|full| batch.push_entry(start + full as u32, 1.0));
    }
    // Halves, so that the widest bin there is does not overflow.
    let (low, high) = (edges[bin] / 2.0, edges[bin + 1] / 2.0);
    let share = if value >= edges[bin + 1] { 1.0 } else { (value / 2.0 - low) / (high - low) };
    batch.push_entry(start + bin as u32, share as f32);
}
