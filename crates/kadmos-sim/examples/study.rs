//! Runs a study without the program: `cargo run --release --example study -- lookup [--full] [FOLDER]`.

use std::error::Error;
use std::path::Path;

use kadmos_sim::study::{StudyConfig, run_study, write_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let mut words = words.into_iter();
    let study = words.next().unwrap_or_else(|| "lookup".into()).parse()?;
    let quick = !flags.iter().any(|flag| flag == "--full");
    let report = run_study(study, &StudyConfig { quick, ..StudyConfig::default() }, &mut |_| {})?;
    print!("{report}");
    if let Some(folder) = words.next() {
        write_folder(&report, Path::new(&folder))?;
    }
    Ok(())
}
