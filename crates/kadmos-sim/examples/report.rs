//! Runs a network and prints its report:
//! `cargo run --release -p kadmos-sim --example report -- NODES SEED LOOKUPS K SETTLE_SECS [oracle] [amino] [wire] [half-go]`.

use kadmos_sim::{Model, RunConfig, RunError, run};

fn main() -> Result<(), RunError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut numbers = arguments.iter().map_while(|argument| argument.parse::<u32>().ok());
    let mut config = RunConfig { oracle_start: has("oracle"), wire: has("wire"), ..RunConfig::default() };
    config.nodes = numbers.next().unwrap_or(config.nodes);
    config.seed = numbers.next().map_or(config.seed, u64::from);
    config.lookups = numbers.next().unwrap_or(config.lookups);
    config.k = numbers.next().map_or(config.k, |k| k as usize);
    config.settle_secs = numbers.next().map_or(config.settle_secs, u64::from);
    config.go_per_mille = if has("half-go") { 500 } else { 0 };
    if has("amino") {
        config.model = Model::amino();
    }
    let report = run(&config, &mut |_| {})?;
    println!("{report}");
    Ok(())
}
