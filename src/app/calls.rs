//! The runtime of control calls.

use crate::error::{Error, Kind};

/// Runs `calls` to their end, and closes all of their connections: each group of calls has a runtime of its own,
/// which takes the tasks that hold connections along.
///
/// A server then has nobody else to look after when the load begins, however few threads it has.
///
/// # Errors
/// If the system has no means for a runtime.
pub(super) fn run<T>(calls: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::System, "cannot start a runtime").because(error))?;
    let result = runtime.block_on(calls);
    // A look-up of a name that takes long is not waited for.
    runtime.shutdown_background();
    Ok(result)
}
