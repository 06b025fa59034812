//! A small trained model, for the tests of what is done with one.

use super::{Bundle, FitSpec, fit, fit::Silent};
use crate::data::{Table, bundled, formats, plan, schema};
use crate::models::Family;

/// A model of the family, or of the one that is chosen, with the 150 rows of the bundled table that it was trained on.
/// Families that learn in passes have two.
pub(super) fn trained(family: Option<&str>) -> (Bundle, Table) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cancer.csv");
    std::fs::write(&path, bundled::BREAST_CANCER).unwrap();
    let limits = formats::Limits::default();
    let part = formats::detect(&path, None, None).unwrap();
    let inferred = schema::infer(&part, &limits).unwrap();
    let plan = plan::resolve(&inferred, &Default::default(), "target", None).unwrap();
    let table = plan::read_table(&[part], &plan.all(), &limits).unwrap().select(&(0..150).collect::<Vec<_>>());
    let mut spec = FitSpec { target: "target".into(), family: family.and_then(Family::named), ..FitSpec::default() };
    if family != Some("hybrid") {
        spec.config.insert("epochs".into(), 2.into());
    }
    (fit(&table, &plan, &spec, 1, None, &Silent).unwrap().bundle, table)
}
