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

/// A bin below the value is 1, the one that contains it is the fraction up to the value.
pub(super) fn push_bins(edges: &[f64], value: f64, start: u32, batch: &mut Batch) {
    for (bin, edge) in edges.windows(2).enumerate() {
        if value <= edge[0] {
            break;
        }
        // Halves, so that the widest possible bin does not overflow.
        let half = edge[0] / 2.0;
        let share = if value >= edge[1] { 1.0 } else { (value / 2.0 - half) / (edge[1] / 2.0 - half) };
        batch.push_entry(start + bin as u32, share as f32);
    }
}
