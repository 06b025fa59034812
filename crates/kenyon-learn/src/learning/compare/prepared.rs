//! What every comparison offers for one sample of stimuli, and the noise ceiling that follows.

/// Matrices of systems and subjects, restricted to a sample of stimuli.
pub(crate) trait Prepared: Sync {
    /// Similarity of each system to each subject, `[systems, subjects]`.
    fn fits(&self) -> Vec<f64>;

    /// Similarity of the average of the subjects, each taken `counts` times, to each of `targets`.
    fn pooled(&self, counts: &[f64], targets: &[usize]) -> Vec<f64>;

    /// Similarity of each of the `present` subjects to the average of the others, each taken `counts` times.
    fn without_each(&self, counts: &[f64], present: &[usize]) -> Vec<f64> {
        let mut others = counts.to_vec();
        present
            .iter()
            .flat_map(|&s| {
                let own = std::mem::take(&mut others[s]);
                let fit = self.pooled(&others, &[s]);
                others[s] = own;
                fit
            })
            .collect()
    }
}

/// Mean similarity of each system over the subjects, each taken `counts` times.
pub(crate) fn mean_fits(fits: &[f64], counts: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum();
    let mean = |row: &[f64]| row.iter().zip(counts).map(|(f, c)| f * c).sum::<f64>() / total;
    fits.chunks_exact(counts.len()).map(mean).collect()
}

/// Lower and upper noise ceiling: each subject against the average of the others, and of all.
pub(crate) fn ceiling(prepared: &dyn Prepared, counts: &[f64]) -> (f64, f64) {
    let present: Vec<usize> = (0..counts.len()).filter(|&s| counts[s] > 0.0).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let upper = mean(&prepared.pooled(counts, &present));
    if present.len() < 2 {
        // A sample with one subject only, as rsatoolbox counts it.
        return (upper, upper);
    }
    (mean(&prepared.without_each(counts, &present)), upper)
}
