//! How often the tests are wrong where there is nothing to find.

use super::simulate::Study;
use super::*;

#[test]
fn type_one_errors_are_near_their_level() {
    // The example `comparison_error_rates` simulates 1,000 studies of a larger size; here are 200.
    let (studies, slack) = (200, 0.03);
    for over in [Over::Subjects, Over::Both] {
        let study = Study { stimuli: 24, subjects: 8, samples: 120, comparison: Comparison::RhoA, over };
        let rates = study.error_rates(studies, 2).unwrap();
        for (test, rate) in [("zero", rates.zero), ("between", rates.between), ("ceiling", rates.ceiling)] {
            println!("{over:?}, {test}: {rate}");
            // A bootstrap over stimuli counts the noise of single pairs about three times (rsatoolbox's does as
            // well), so with few stimuli its tests reject less than their level; they must never reject more.
            let least = if over == Over::Subjects { 0.01 } else { 0.0 };
            assert!((least..=0.07 + slack).contains(&rate), "{over:?}, {test}: {rate}");
        }
    }
}
