//! Kadmos' store on disk beside redb, fjall and LevelDB, under the load of a server of the public network.
//!
//!     cargo run --release --manifest-path bench/stores/Cargo.toml -- [directory] [engine...]
//!
//! Each engine runs in a process of its own, is killed, and is opened by another. Prints a table, and JSON with `--json`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod engines;
mod load;

use engines::{Engine, NAMES, Result, open};
use load::{KEYS, LIFE, RECORDS, START, claim, mix, multihash};

/// Announced at once in a burst.
const BATCH: u64 = 100;
/// Re-announcements at 100 a second, for so many seconds.
const STEADY_SECONDS: u64 = 30;
const READS: u64 = 200_000;
/// Records that expire at once, while others are read.
const EXPIRING: u64 = 370_000;

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("child-run") => return run(&args[1], Path::new(&args[2])),
        Some("child-open") => return reopen(&args[1], Path::new(&args[2])),
        _ => {}
    }
    let json = args.iter().position(|arg| arg == "--json").map(|at| args.remove(at)).is_some();
    let directory = if args.is_empty() { PathBuf::from("bench-stores") } else { PathBuf::from(args.remove(0)) };
    let names: Vec<&str> =
        if args.is_empty() { NAMES.to_vec() } else { args.iter().map(String::as_str).collect() };
    let mut figures: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for name in &names {
        let path = directory.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&directory)?;
        for step in ["child-run", "child-open"] {
            let mut child = Command::new(std::env::current_exe()?)
                .args([step, name])
                .arg(&path)
                .stdout(Stdio::piped())
                .spawn()?;
            let lines = BufReader::new(child.stdout.take().ok_or("the child has an output")?).lines();
            for line in lines {
                let line = line?;
                if line == "kill me" {
                    child.kill()?;
                    break;
                }
                if let Some((figure, value)) = line.split_once(' ') {
                    eprintln!("{name}: {line}");
                    figures.entry(figure.to_string()).or_default().insert(name.to_string(), value.parse()?);
                }
            }
            child.wait()?;
        }
        std::fs::remove_dir_all(&path)?;
    }
    if json {
        println!("{figures:#?}");
    }
    println!("| | {} |", names.join(" | "));
    println!("| --- |{}", " ---: |".repeat(names.len()));
    for (figure, values) in &figures {
        let cells: Vec<String> =
            names.iter().map(|name| values.get(*name).map_or("absent".into(), |value| format!("{value}"))).collect();
        println!("| {figure} | {} |", cells.join(" | "));
    }
    Ok(())
}

fn say(figure: &str, value: f64) {
    println!("{figure} {value:.2}");
}

fn run(name: &str, path: &Path) -> Result<()> {
    let mut engine = open(name, path, START)?;
    let mut worst = Duration::ZERO;
    let before = written();
    let start = Instant::now();
    // The whole of two days at once: how fast it goes, and for how long it stops.
    for first in (0..RECORDS).step_by(BATCH as usize) {
        let claims: Vec<_> =
            (first..first + BATCH).map(|number| claim(number, START + number * LIFE / RECORDS / 2)).collect();
        let start = Instant::now();
        engine.announce(&claims)?;
        worst = worst.max(start.elapsed());
    }
    engine.sync()?;
    say("burst_records_per_second", RECORDS as f64 / start.elapsed().as_secs_f64());
    say("burst_worst_stall_ms", worst.as_secs_f64() * 1e3);
    say("burst_bytes_written_per_record", (written() - before) as f64 / RECORDS as f64);

    // 100 a second, certain within one: an engine that does not see to that is told to twice a second.
    let now = START + LIFE / 2;
    let before = written();
    let mut slowest = Duration::ZERO;
    let mut announced = 0;
    let start = Instant::now();
    for tick in 0..STEADY_SECONDS * 10 {
        let claims: Vec<_> = (0..10).map(|more| claim(mix(tick * 10 + more) % RECORDS, now + tick / 10)).collect();
        engine.announce(&claims)?;
        announced += 10;
        if tick % 5 == 4 && !engine.syncs_itself() {
            let start = Instant::now();
            engine.sync()?;
            slowest = slowest.max(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(tick * 100 + 100).saturating_sub(start.elapsed()));
    }
    std::thread::sleep(Duration::from_millis(600));
    say("steady_bytes_written_per_record", (written() - before) as f64 / announced as f64);
    if !engine.syncs_itself() {
        say("steady_slowest_sync_ms", slowest.as_secs_f64() * 1e3);
    }

    reads(&mut *engine, now, "read")?;
    engine.maintain()?;
    say("rss_mb", status("VmRSS:") / 1e6);
    say("rss_peak_mb", status("VmHWM:") / 1e6);
    say("disk_bytes_per_record", size(path) as f64 / RECORDS as f64);

    // So many have expired by then; and between any two steps of taking them away, somebody reads.
    let then = START + LIFE + EXPIRING * LIFE / RECORDS / 2;
    let mut worst = Duration::ZERO;
    let mut gone = 0;
    let before = written();
    let mut reading = 0;
    loop {
        let start = Instant::now();
        let freed = engine.expire(then, 512)?;
        gone += freed;
        reading += 1;
        engine.get(&multihash(mix(reading) % KEYS), then)?;
        worst = worst.max(start.elapsed());
        if freed == 0 {
            break;
        }
    }
    engine.sync()?;
    say("expired_records", gone as f64);
    say("expire_longest_wait_ms", worst.as_secs_f64() * 1e3);
    say("expire_bytes_written_per_record", (written() - before) as f64 / gone as f64);
    // Some more, of which the end need not be certain.
    for number in 0..5_000 {
        engine.announce(&[claim(mix(number) % RECORDS, then)])?;
    }
    println!("kill me");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn reads(engine: &mut dyn Engine, now: u64, label: &str) -> Result<()> {
    let mut times = Vec::with_capacity(READS as usize);
    let mut found = 0;
    for number in 0..READS {
        // Half of them are for what nobody provides.
        let key = multihash(mix(number) % KEYS + if number % 2 == 0 { 0 } else { KEYS * 9 });
        let start = Instant::now();
        found += engine.get(&key, now)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |part: f64| times[((READS - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    say(&format!("{label}_p50_us"), at(0.5));
    say(&format!("{label}_p99_us"), at(0.99));
    say(&format!("{label}_found_per_key"), found as f64 / (READS / 2) as f64);
    Ok(())
}

fn reopen(name: &str, path: &Path) -> Result<()> {
    let start = Instant::now();
    let now = START + LIFE + EXPIRING * LIFE / RECORDS / 2;
    let mut engine = open(name, path, now)?;
    let found = engine.get(&multihash((RECORDS - 1) % KEYS), now)?;
    say("reopen_after_kill_s", start.elapsed().as_secs_f64());
    say("reopen_cpu_s", computed());
    assert!(found > 0, "a record that was certain is there");
    say("reopen_rss_peak_mb", status("VmHWM:") / 1e6);
    reads(&mut *engine, now, "reopen_read")?;
    Ok(())
}

/// Bytes that this process has caused to be written.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Seconds that all threads of this process have computed. Clock ticks are a hundredth of a second on Linux.
fn computed() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
