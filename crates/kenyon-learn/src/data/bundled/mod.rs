//! Two small real data sets embedded in the binary: for `kenyon demo`, the documentation and
//! tests. `SOURCES.md` in this folder names their authors and licence.

/// UCI optical digits: 1,797 images of 8×8 (`pixel_0_0` … `pixel_7_7`, 0–16) and `target`, as gzipped CSV.
pub const DIGITS: &[u8] = include_bytes!("digits_8x8.csv.gz");

/// UCI breast cancer Wisconsin: 569 rows of 30 measurements and `target` (0 malignant, 1 benign), as CSV.
pub const BREAST_CANCER: &[u8] = include_bytes!("breast_cancer.csv");
