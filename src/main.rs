//! The `kenyon` program: a thin shell around [`kenyon::cli`].

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kenyon::cli::main()
}
