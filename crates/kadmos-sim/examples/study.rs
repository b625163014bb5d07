//! Runs a study without the program: `cargo run --release --example study -- lookup [--full] [--half-go] [FOLDER]`.

use std::error::Error;
use std::path::Path;

use kadmos_sim::study::{StudyConfig, run_study, write_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let mut words = words.into_iter();
    let study = words.next().unwrap_or_else(|| "lookup".into()).parse()?;
    let quick = !flags.iter().any(|flag| flag == "--full");
    let go_servers_percent = if flags.iter().any(|flag| flag == "--half-go") { 50 } else { 0 };
    let config = StudyConfig { quick, go_servers_percent, ..StudyConfig::default() };
    let report = run_study(study, &config, &mut |_| {})?;
    print!("{report}");
    if let Some(folder) = words.next() {
        write_folder(&report, Path::new(&folder))?;
    }
    Ok(())
}
