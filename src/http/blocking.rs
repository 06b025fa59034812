//! Work that takes long, on a thread of its own.

use crate::{Error, Result};

/// Runs work of the processor or the disk on a thread for it.
pub(crate) async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?.map_err(E::into)
}
