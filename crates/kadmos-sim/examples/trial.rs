//! Runs trials without the program: `cargo run --release --example trial -- [--full] [--seed=N] [--go-percent=N] [TRIAL...]`.

use std::error::Error;
use std::process::ExitCode;

use kadmos_sim::trial::{TrialConfig, TrialName, TrialNews, run_trials};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let named = words.iter().map(|word| word.parse()).collect::<Result<Vec<TrialName>, _>>()?;
    let trials = if named.is_empty() { TrialName::ALL } else { &named };
    let seed = flags.iter().find_map(|flag| flag.strip_prefix("--seed=")).map_or(Ok(1), str::parse)?;
    let go = flags.iter().find_map(|flag| flag.strip_prefix("--go-percent="));
    let full = flags.iter().any(|flag| flag == "--full");
    let mut config = TrialConfig { full, seed, ..TrialConfig::default() };
    config.go_percent = go.map_or(Ok(config.go_percent), str::parse)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed = 0;
    run_trials(trials, &config, jobs, &mut |news| {
        match news {
            TrialNews::Progress(_) => {}
            TrialNews::Ended(Ok(report)) => {
                println!("{report}");
                failed += u32::from(!report.passed());
            }
            TrialNews::Ended(Err(error)) => {
                println!("{error}");
                failed += 1;
            }
        }
        true
    });
    println!("{failed} of {} trials failed", trials.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
