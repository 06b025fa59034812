//! Configuration by flag, environment (`KENYON_*`) and `kenyon.toml`, in that order of strength.
