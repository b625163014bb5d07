//! The fuzz targets, briefly: enough to notice that one no longer builds, or that an old mistake is back.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// Seconds per target.
const SECONDS: u32 = 10;
/// One input may not take longer, in seconds.
const INPUT_SECONDS_MAX: u32 = 5;
/// Memory of a fuzzer, AddressSanitizer's own included.
const MEMORY_MIB_MAX: u32 = 2_048;

/// Every target of `fuzz/fuzz_targets`, from the inputs in `corpus/<target>` on.
pub(super) fn run_targets(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let targets = targets(&repo.root.join("fuzz/fuzz_targets"))?;
    run(repo.cargo(["fuzz", "build"]).env("RUSTC_BOOTSTRAP", "1"), limit)?;
    // A fuzzer keeps one core busy.
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = thread::scope(|scope| {
        let worker = || {
            while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                fuzz(repo, limit, target)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for result in results {
        result.map_err(|_| Failure::wrong("a thread that ran fuzzers panicked"))??;
    }
    Ok(format!("{} targets", targets.len()))
}

fn fuzz(repo: &Repo, limit: &Limit, target: &str) -> Result<(), Failure> {
    // libFuzzer writes what it finds to the first directory and only reads the second.
    let found = repo.root.join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&found)
        .map_err(|error| Failure::wrong(format!("cannot create {}: {error}", found.display())))?;
    let mut command = repo.cargo(["fuzz", "run", target]);
    command.arg(&found);
    let kept = repo.root.join("corpus").join(target);
    if kept.is_dir() {
        command.arg(&kept);
    }
    command.args(["--", &format!("-max_total_time={SECONDS}"), &format!("-timeout={INPUT_SECONDS_MAX}")]);
    command.args([&format!("-rss_limit_mb={MEMORY_MIB_MAX}"), "-print_final_stats=1", "-verbosity=0"]);
    run(command.env("RUSTC_BOOTSTRAP", "1"), limit)
}

fn targets(dir: &Path) -> Result<Vec<String>, Failure> {
    let unreadable =
        |error| Failure::wrong(format!("cannot list the fuzz targets in {}: {error}", dir.display()));
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    targets.sort();
    if targets.is_empty() {
        return Err(Failure::wrong(format!("there is no fuzz target in {}", dir.display())));
    }
    Ok(targets)
}
