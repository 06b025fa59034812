//! The parts of `serving` that threads share.

#[path = "../../../src/serving/batch_queue/mod.rs"]
pub(crate) mod batch_queue;
#[path = "../../../src/serving/clock.rs"]
mod clock;
/// As much of the engine as the task of a stream uses.
pub(crate) mod engine {
    #[derive(Clone)]
    pub(crate) struct Engine;

    impl Engine {
        pub(crate) fn forget_answers(&self, _: &str, _: impl Fn(&str) -> bool) -> usize {
            0
        }
    }
}
#[path = "../../../src/serving/fair.rs"]
pub(crate) mod fair;
#[path = "../../../src/serving/library.rs"]
pub(crate) mod library;
#[path = "../../../src/serving/loaded_version.rs"]
pub(crate) mod loaded_version;
mod observe;
#[path = "../../../src/serving/open_models.rs"]
mod open_models;
mod queue_checks;
#[path = "../../../src/serving/routing.rs"]
mod routing;
#[path = "../../../src/serving/settings.rs"]
mod settings;
#[path = "../../../src/serving/stats.rs"]
mod stats;
mod stored;
#[path = "../../../src/serving/table.rs"]
mod table;
mod table_checks;

pub(crate) const CHECKS: &[(&str, fn())] = &[
    ("rows_are_answered_once", queue_checks::rows_are_answered_once),
    ("rows_of_a_caller_that_has_gone_are_not_counted", queue_checks::rows_of_a_caller_that_has_gone_are_not_counted),
    ("a_change_that_was_acknowledged_is_seen", table_checks::a_change_that_was_acknowledged_is_seen),
    ("a_deleted_model_does_not_answer", table_checks::a_deleted_model_does_not_answer),
    (
        "a_version_that_is_loaded_answers_with_what_was_learned",
        observe::a_version_that_is_loaded_answers_with_what_was_learned,
    ),
    (
        "what_was_acknowledged_is_learned_once_by_every_replica",
        observe::what_was_acknowledged_is_learned_once_by_every_replica,
    ),
    ("an_ended_task_acknowledges_nothing", observe::an_ended_task_acknowledges_nothing),
];
