//! The defaults of the family that depend on data.

use crate::data::Task;
use crate::models::family::Rule;
use serde_json::json;

/// Up to so many pictures a class, and in all, deformed copies of each are learned.
const FEW_OF_A_CLASS: usize = 60;
const FEW: usize = 6_000;
/// Pictures that are learned, about, with copies.
const LEARNED: usize = 4_000;

/// See the module documentation; earlier rules win.
pub(super) static RULES: &[Rule] = &[Rule {
    name: "few_pictures",
    sentence: "Few pictures of a class are learned with deformed copies of each, where these help with left-out pictures, and none are held out.",
    settings: &["deformed_copies", "cross_fit"],
    measured: "beside no copies, none held out either: MNIST, 5 and 50 a class, .920 and .973 instead of .862 and .967, one a class .774 (refused before); Fashion-MNIST, 5 a class, .667 instead of .678, log loss .83 instead of 3.87 (one draw, 1,000 validation rows; benches, few pictures)",
    values: |data, _| {
        let labelled = data.classes.iter().sum::<usize>() == data.rows;
        let few = data.rows <= FEW && data.rows <= FEW_OF_A_CLASS * data.classes.len();
        let copies = (LEARNED / data.rows.max(1)).clamp(2, 100);
        (data.task == Task::Classification && data.has_picture() && labelled && few)
            .then(|| json!({ "deformed_copies": copies, "cross_fit": true }))
    },
}];
