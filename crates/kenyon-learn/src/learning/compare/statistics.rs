//! Variances of a bootstrap, tests by Student's t, and control of the false discovery rate.

/// The variance of an estimate, and with how many degrees of freedom it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) variance: f64,
    pub(crate) freedom: f64,
}

impl Spread {
    /// Of a bootstrap over `n` things with the variance `variance`, corrected for their number.
    pub(crate) fn single(variance: f64, n: usize) -> Self {
        Self { variance: single_variance(variance, n), freedom: n as f64 - 1.0 }
    }

    /// From the three bootstraps of a quantity, as rsatoolbox combines them.
    ///
    /// `both` counts the noise of subjects and stimuli together and their interaction three times over. With
    /// `r = n / (n − 1)` for subjects and stimuli, the estimate is
    /// `r_subj σ²_subj + r_stim σ²_stim − r_subj r_stim (σ²_both − σ²_subj − σ²_stim)`, for many of both
    /// `2 (σ²_subj + σ²_stim) − σ²_both` (Schütt et al. 2023), not below the single ones nor above `both`. The degrees of
    /// freedom are those of the sum of the single ones: with the lesser of the two, tests reject too rarely.
    pub(crate) fn dual(both: f64, subjects: Self, stimuli: Self) -> Self {
        let plain = |s: Self| s.variance * s.freedom / (s.freedom + 1.0);
        let ratio = |s: Self| (s.freedom + 1.0) / s.freedom;
        let interaction = ratio(subjects) * ratio(stimuli) * (both - plain(subjects) - plain(stimuli));
        let sum = subjects.plus(stimuli);
        let variance = (sum.variance - interaction).max(subjects.variance).max(stimuli.variance).min(both);
        Self { variance, freedom: sum.freedom }
    }

    /// Over subjects and stimuli, where the variance over subjects is `within` in samples of stimuli: what both have in
    /// common is in each of the two, and in `within` twice.
    pub(crate) fn crossed(subjects: Self, stimuli: Self, within: f64) -> Self {
        let sum = subjects.plus(stimuli);
        let common = (within - subjects.variance).max(0.0);
        // Neither is above the whole; the greater of two estimates often is.
        let variance = (sum.variance - common).max(subjects.variance.min(stimuli.variance));
        Self { variance, freedom: sum.freedom }
    }

    /// Of a sum of two independent quantities (Welch 1947, Satterthwaite 1946).
    pub(crate) fn plus(self, other: Self) -> Self {
        let (variance, part) = (self.variance + other.variance, |s: Self| s.variance.powi(2) / s.freedom);
        let least = self.freedom.min(other.freedom);
        let freedom = variance.powi(2) / (part(self) + part(other));
        Self { variance, freedom: if freedom.is_finite() { freedom.max(least) } else { least } }
    }

    pub(crate) fn error(self) -> f64 {
        self.variance.sqrt()
    }

    /// Half the width of the 95 % interval.
    pub(crate) fn margin(self) -> f64 {
        t_quantile(0.025, self.freedom) * self.error()
    }

    /// The p of a value above 0, one-sided.
    pub(crate) fn p_above_zero(self, value: f64) -> f64 {
        t_above(value / self.variance.max(f64::EPSILON).sqrt(), self.freedom)
    }

    /// The p of a difference from 0, two-sided, where the bootstrap's distribution has this skewness: it goes with one of
    /// the error, which Hall's transformation takes out ("On the removal of skewness by transformation", 1992).
    pub(crate) fn p_different_skewed(self, value: f64, skewness: f64) -> f64 {
        let (t, third) = (value / self.variance.max(f64::EPSILON).sqrt(), skewness / 3.0);
        let symmetric = t + third * t * t + third * third * t.powi(3) / 3.0 + skewness / 6.0;
        2.0 * t_above(symmetric.abs(), self.freedom)
    }

    /// The p of a difference from 0, two-sided.
    pub(crate) fn p_different(self, value: f64) -> f64 {
        2.0 * self.p_above_zero(value.abs())
    }
}

/// Variance of a bootstrap over one thing, corrected for its number.
pub fn single_variance(variance: f64, n: usize) -> f64 {
    variance * n as f64 / (n as f64 - 1.0)
}

/// Variance from the values that result where each of the observations weighs `less` less than 1 (Jaeckel 1972, "The
/// infinitesimal jackknife"); with `less` of 1 it is the jackknife.
pub(crate) fn jackknife_variance(values: impl ExactSizeIterator<Item = f64> + Clone, less: f64) -> f64 {
    let n = values.len() as f64;
    variance(values) * (n / less - 1.0).powi(2) / n
}

/// How much of [`jackknife_variance`] counts twice what depends on pairs of observations (Efron & Stein 1981), for a mean
/// of terms each of which averages over the other observations: `terms[j][i]` is the term of `i` where `j` weighs `less` less.
///
/// How a term changes with the weight of another observation is, but for main effects of both, a function `h` of the pair
/// divided by `n − 1`. The mean over all pairs has the variance `2 σ²_h / (n (n − 1))`, the jackknife counts twice that.
pub(crate) fn pairs_counted_twice(terms: &[&[f64]], less: f64) -> f64 {
    let n = terms.len();
    if n < 4 {
        return 0.0;
    }
    let others = (n - 1) as f64;
    let pairs = || (0..n).flat_map(|j| (0..n).filter(move |&i| i != j).map(move |i| (j, i)));
    let mean = pairs().map(|(j, i)| terms[j][i]).sum::<f64>() / (n as f64 * others);
    // Least squares of two main effects where there is no diagonal.
    let (mut by_weight, mut by_term) = (vec![0.0; n], vec![0.0; n]);
    for (j, i) in pairs() {
        by_weight[j] += terms[j][i] - mean;
        by_term[i] += terms[j][i] - mean;
    }
    let effect = |own: f64, other: f64| (others * own + other) / (others * others - 1.0);
    let left = |(j, i): (usize, usize)| {
        terms[j][i] - mean - effect(by_weight[j], by_term[j]) - effect(by_term[i], by_weight[i])
    };
    // The function is the same for (i, j) and (j, i): n (n − 3) / 2 degrees of freedom, each with two squares.
    let variance = pairs().map(|pair| left(pair).powi(2)).sum::<f64>() / (n as f64 * (n as f64 - 3.0));
    2.0 * others / n as f64 * variance / (less * less)
}

/// The same from how the terms moved where the weights of half of the observations grew and those of the others shrank, the
/// squares of these changes being `changed` in sum.
pub(crate) fn pairs_counted_twice_by(moved: &[f64], changed: f64) -> f64 {
    let n = moved.len() as f64;
    let squares = variance(moved.iter().copied()) * (n - 1.0);
    2.0 * (n - 1.0) * squares / (changed * (n * n - 2.0 * n + 2.0))
}

/// Sample variance.
pub(crate) fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
    if count < 2.0 {
        return f64::NAN;
    }
    let mean = sum / count;
    values.map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)
}

/// Third moment of the standardised values.
pub(crate) fn skewness(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
    let mean = sum / count;
    let deviation = variance(values.clone()).sqrt();
    if deviation > 0.0 { values.map(|v| ((v - mean) / deviation).powi(3)).sum::<f64>() / count } else { 0.0 }
}

/// Probability that Student's t with `freedom` degrees exceeds `t`.
pub fn t_above(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t > 0.0 { tail } else { 1.0 - tail }
}

/// The `t` that is exceeded with probability `tail`, in (0, 0.5].
pub fn t_quantile(tail: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while t_above(high, freedom) > tail && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if t_above(middle, freedom) > tail { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Benjamini and Hochberg's adjusted p of each test: at most `q` of the discoveries with a value up to `q`
/// are expected to be false.
pub fn false_discovery(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut least) = (vec![1.0; p.len()], 1.0f64);
    for (rank, &at) in order.iter().enumerate().rev() {
        least = least.min(p[at] * p.len() as f64 / (rank + 1) as f64);
        adjusted[at] = least;
    }
    adjusted
}

/// The regularised incomplete beta function (continued fraction by Lentz's method).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    let bound = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / bound(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / bound(1.0 + even * d);
        c = bound(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / bound(1.0 + odd * d);
        c = bound(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction / a
}

/// Natural logarithm of the gamma function for positive arguments (Lanczos).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = TERMS[0] + (1..9).map(|i| TERMS[i] / (x + i as f64)).sum::<f64>();
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}
