//! Runs a network and prints its report: `cargo run --release -p kadmos-sim --example report -- NODES SEED LOOKUPS K`.

use kadmos_sim::{RunConfig, RunError, run};

fn main() -> Result<(), RunError> {
    let mut numbers = std::env::args().skip(1).map_while(|argument| argument.parse::<u32>().ok());
    let mut config = RunConfig::default();
    config.nodes = numbers.next().unwrap_or(config.nodes);
    config.seed = numbers.next().map_or(config.seed, u64::from);
    config.lookups = numbers.next().unwrap_or(config.lookups);
    config.k = numbers.next().map_or(config.k, |k| k as usize);
    let report = run(&config, &mut |_| {})?;
    println!("{report}");
    Ok(())
}
