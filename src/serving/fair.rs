//! Division of the next batch among requests.

/// Splits `budget` rows between requests with `left` rows each, in order of arrival: each gets
/// an equal share or all it needs, and what small ones leave over goes to the others, so that
/// a huge request delays only itself (max-min fairness).
pub(crate) fn share(left: &[usize], budget: usize) -> Vec<usize> {
    let mut parts = vec![0; left.len()];
    let mut budget = budget;
    let mut open: Vec<usize> = (0..left.len()).filter(|&i| left[i] > 0).collect();
    while budget > 0 && !open.is_empty() {
        // With more requests than rows the first come get one row each.
        let each = (budget / open.len()).max(1);
        let mut still = Vec::with_capacity(open.len());
        for &i in &open {
            let part = each.min(left[i] - parts[i]).min(budget);
            parts[i] += part;
            budget -= part;
            if parts[i] < left[i] {
                still.push(i);
            }
        }
        open = still;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn small_requests_go_whole_and_the_large_one_gets_the_rest() {
        assert_eq!(share(&[10_000, 1, 3], 256), [252, 1, 3]);
    }

    #[test]
    fn equals_get_equal_shares_and_nothing_is_wasted() {
        assert_eq!(share(&[100, 100, 100], 150), [50, 50, 50]);
        assert_eq!(share(&[100, 100], 7), [4, 3]);
        assert_eq!(share(&[5, 5], 100), [5, 5]);
    }

    #[test]
    fn with_too_many_requests_the_first_come_first() {
        assert_eq!(share(&[2, 2, 2], 2), [1, 1, 0]);
        assert_eq!(share(&[], 5), [0; 0]);
    }
}
