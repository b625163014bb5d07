//! Runs a study without the program and prints its report: `cargo run --example study -- lookup --quick`.

use std::error::Error;

use kadmos_sim::study::{StudyConfig, run_study};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let study = args.next().unwrap_or_else(|| "lookup".into()).parse()?;
    let mut config = StudyConfig { quick: true, ..StudyConfig::default() };
    config.servers = args.next().and_then(|servers| servers.parse().ok());
    config.seeds = args.next().and_then(|seeds| seeds.parse().ok());
    let report = run_study(study, &config, &mut |_| {})?;
    print!("{report}");
    Ok(())
}
