//! How often the tests of a comparison with recordings reject a hypothesis that holds, over simulated studies.
//!
//!     cargo run --release -p kenyon-learn --example comparison_error_rates -- [studies] [threads]

use kenyon_learn::learning::compare::simulate::Study;
use kenyon_learn::learning::compare::{Comparison, Over};

fn main() -> kenyon_learn::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().ok());
    let studies = arguments.next().flatten().unwrap_or(1000);
    let threads = arguments.next().flatten().unwrap_or(2);
    println!("{studies} studies of 40 stimuli and 12 subjects, 500 samples each; shares with p up to 0.05");
    for comparison in [Comparison::RhoA, Comparison::Cosine] {
        for over in [Over::Stimuli, Over::Subjects, Over::Both] {
            let study = Study { stimuli: 40, subjects: 12, samples: 500, comparison, over };
            let rates = study.error_rates(studies, threads)?;
            println!(
                "{comparison:?} over {over:?}: zero {:.3}, between {:.3}, ceiling {:.3}",
                rates.zero, rates.between, rates.ceiling
            );
        }
    }
    Ok(())
}
