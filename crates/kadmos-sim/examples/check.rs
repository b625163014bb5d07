//! Checks seeds and prints what failed: `cargo run --release -p kadmos-sim --example check -- FIRST SEEDS [SHRINK_SECS]`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kadmos_sim::check::{Saved, check_many, shrink};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map_while(|argument| argument.parse::<u64>().ok());
    let first = numbers.next().unwrap_or(0);
    let seeds = numbers.next().unwrap_or(10);
    let shrink_secs = numbers.next().unwrap_or(0);
    let began = Instant::now();
    let mut failed = 0;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    check_many(first, seeds, jobs, None, &mut |report| {
        if !report.passed() {
            println!("{report}, {} ms", report.real_ms);
            failed += 1;
            if shrink_secs > 0 {
                let small = shrink(&report, Duration::from_secs(shrink_secs), &mut |_| {});
                println!("smallest: {small}");
                if let Ok(text) = serde_json::to_string(&Saved::of(&small)) {
                    println!("{text}");
                }
            }
        }
        true
    });
    println!("{failed} of {seeds} failed, {:.1} s", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
