//! The command line. Client commands speak the HTTP interface like anyone else.

/// Runs the program and tells how it went.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
