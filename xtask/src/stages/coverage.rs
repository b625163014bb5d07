//! Which lines the tests run, per crate, against floors that only rise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use toml::Table;

use super::tests::INTEROP;
use crate::failure::Failure;
use crate::process::{Limit, run as run_command, stdout_of};
use crate::repo::{Package, Repo};
use crate::tools::llvm_tool;
use crate::wrapper;

/// Floors, in percent of lines.
const FLOORS: &str = "xtask/coverage.toml";
/// The core's floor may not be lowered below this.
const CORE_FLOOR_MIN: f64 = 90.0;
/// Points that `--raise` leaves between a floor and what was measured: which lines run depends a little on timing.
const MARGIN: f64 = 1.0;
/// A crate this far above its floor, in points, should have it raised.
const SLACK: f64 = 3.0;

/// Runs the tests instrumented, prints lines covered per crate, and compares them with the floors; or, with
/// `raise`, raises the floors to what was measured.
pub(crate) fn measure(repo: &Repo, limit: &Limit, raise: bool) -> Result<String, Failure> {
    let floors = Floors::load(&repo.root.join(FLOORS))?;
    let packages: Vec<_> = repo
        .packages(limit)?
        .into_iter()
        .filter(|package| !["xtask", INTEROP].contains(&&*package.name))
        .collect();
    let work = repo.target.join("coverage");
    let profiles = work.join("profiles");
    // Profiles of an earlier build would be merged with this one's.
    let _ = std::fs::remove_dir_all(&work);
    let create = std::fs::create_dir_all(&profiles);
    create.map_err(|error| Failure::wrong(format!("cannot create {}: {error}", profiles.display())))?;

    let instrument = |command: &mut Command| -> Result<(), Failure> {
        wrapper::instrument(command)?;
        // Four files per binary, into which its runs merge themselves, instead of one per test.
        command.env("LLVM_PROFILE_FILE", profiles.join("%4m.profraw"));
        Ok(())
    };
    let selection = ["--workspace", "--exclude", "xtask", "--exclude", INTEROP, "--locked"];
    let mut tests = repo.cargo(["nextest", "run"]);
    if repo.ci {
        tests.args(["--profile", "ci"]);
    }
    instrument(tests.args(selection))?;
    run_command(&mut tests, limit)?;
    let mut list =
        repo.cargo(["nextest", "list", "--list-type", "binaries-only", "--message-format", "json"]);
    instrument(list.args(selection))?;
    let binaries = binaries(&stdout_of(&mut list, limit)?)?;

    let merged = work.join("merged.profdata");
    let mut merge = repo.command(&llvm_tool(repo, "llvm-profdata", limit)?.to_string_lossy());
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).arg(&profiles);
    run_command(&mut merge, limit)?;
    let mut export = repo.command(&llvm_tool(repo, "llvm-cov", limit)?.to_string_lossy());
    export.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged);
    for binary in &binaries {
        export.arg("-object").arg(binary);
    }
    let lines = Lines::read(&stdout_of(&mut export, limit)?, &packages)?;
    judge(&lines, &floors, raise.then(|| repo.root.join(FLOORS)).as_deref())
}

/// Every binary of the test run: the tests and the programs they start.
fn binaries(list: &str) -> Result<Vec<PathBuf>, Failure> {
    let list: Value = serde_json::from_str(list)
        .map_err(|error| Failure::wrong(format!("cannot read the output of nextest list: {error}")))?;
    let tests = list["rust-binaries"].as_object().into_iter().flat_map(|map| map.values());
    let mut found: Vec<_> =
        tests.filter_map(|binary| binary["binary-path"].as_str()).map(PathBuf::from).collect();
    let target = Path::new(list["rust-build-meta"]["target-directory"].as_str().unwrap_or_default());
    let programs = list["rust-build-meta"]["non-test-binaries"].as_object();
    for program in programs.into_iter().flat_map(|map| map.values()).filter_map(Value::as_array).flatten() {
        found.extend(program["path"].as_str().map(|path| target.join(path)));
    }
    if found.is_empty() { Err(Failure::wrong("nextest list names no test binary")) } else { Ok(found) }
}

/// Lines that can run and lines that did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: usize,
    covered: usize,
}

impl Count {
    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { self.covered as f64 * 100.0 / self.all as f64 }
    }
}

/// Counts per crate.
#[derive(Debug)]
struct Lines(BTreeMap<String, Count>);

impl Lines {
    /// Adds up an lcov report. Tests do not count: neither `tests/` nor what follows `#[cfg(test)]` at the start of
    /// a line, where by convention a file's tests begin.
    fn read(lcov: &str, packages: &[Package]) -> Result<Self, Failure> {
        let mut counts: BTreeMap<_, _> =
            packages.iter().map(|package| (package.name.clone(), Count::default())).collect();
        let mut current: Option<(&str, usize)> = None;
        for line in lcov.lines() {
            if let Some(file) = line.strip_prefix("SF:") {
                current = match owner(Path::new(file), packages) {
                    Some(package) => Some((&package.name, first_test_line(Path::new(file))?)),
                    None => None,
                };
            } else if let (Some(data), Some((name, tests_at))) = (line.strip_prefix("DA:"), current) {
                let mut numbers = data.split(',').map(str::parse::<u64>);
                let (Some(Ok(number)), Some(Ok(hits))) = (numbers.next(), numbers.next()) else {
                    return Err(Failure::wrong(format!(
                        "llvm-cov wrote {line:?}, expected DA:<line>,<hits>"
                    )));
                };
                if number < tests_at as u64
                    && let Some(count) = counts.get_mut(name)
                {
                    count.all += 1;
                    count.covered += usize::from(hits > 0);
                }
            }
        }
        Ok(Self(counts))
    }
}

/// The crate in whose `src` a file is.
fn owner<'a>(file: &Path, packages: &'a [Package]) -> Option<&'a Package> {
    let package = packages.iter().find(|package| file.starts_with(package.dir.join("src")))?;
    let is_test = file.file_name().is_some_and(|name| name == "tests.rs")
        || file.components().any(|part| part.as_os_str() == "tests");
    (!is_test).then_some(package)
}

/// The number of the line from which on a file holds tests; past its end when it holds none.
fn first_test_line(file: &Path) -> Result<usize, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::wrong(format!("cannot read {}: {error}", file.display())))?;
    let index = text.lines().position(|line| line.starts_with("#[cfg(test)]"));
    Ok(index.map_or(usize::MAX, |index| index + 1))
}

/// Percent of lines below which a crate must not fall.
#[derive(Debug)]
struct Floors(BTreeMap<String, f64>);

impl Floors {
    fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::wrong(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|reason| Failure::wrong(format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
        let floors =
            table.get("floors").and_then(toml::Value::as_table).ok_or("expected a table [floors]")?;
        let mut read = BTreeMap::new();
        for (name, value) in floors {
            let floor = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
            let floor = floor.filter(|floor| (0.0..=100.0).contains(floor));
            read.insert(name.clone(), floor.ok_or_else(|| format!("floors.{name}: expected a percentage"))?);
        }
        match read.get("kadmos-core") {
            Some(floor) if *floor >= CORE_FLOOR_MIN => Ok(Self(read)),
            _ => Err(format!("floors.kadmos-core: expected at least {CORE_FLOOR_MIN}")),
        }
    }

    /// The file's text.
    fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Lines run by `cargo xtask coverage`, tests left out, in percent. A crate below its floor fails the run;\n\
             # `cargo xtask coverage --raise` raises the floors to what is measured. They are not lowered.\n\n[floors]\n",
        );
        for (name, floor) in &self.0 {
            text += &format!("{name} = {floor:.1}\n");
        }
        text
    }
}

/// Prints the table and compares; with a file to raise the floors in, does that.
fn judge(lines: &Lines, floors: &Floors, raise: Option<&Path>) -> Result<String, Failure> {
    println!("{:<20} {:>7} {:>8} {:>8} {:>7}", "crate", "lines", "covered", "percent", "floor");
    let mut low = Vec::new();
    let mut raised = Floors(floors.0.clone());
    for (name, count) in &lines.0 {
        let percent = count.percent();
        let floor = floors.0.get(name).copied();
        let shown = floor.map_or_else(|| "none".into(), |floor| format!("{floor:.1}"));
        println!("{name:<20} {:>7} {:>8} {percent:>8.1} {shown:>7}", count.all, count.covered);
        match floor {
            None => low.push(format!("{name} has no floor in {FLOORS}")),
            Some(floor) if percent < floor => low.push(format!("{name} has {percent:.2} %, floor {floor} %")),
            Some(floor) if percent > floor + SLACK => {
                println!("{name} is well above its floor: `cargo xtask coverage --raise` keeps it there");
            }
            Some(_) => {}
        }
        let measured = ((percent - MARGIN) * 10.0).floor() / 10.0;
        let kept = floor.unwrap_or(0.0).max(measured);
        raised.0.insert(name.clone(), kept);
    }
    if let Some(path) = raise {
        return std::fs::write(path, raised.to_toml())
            .map(|()| format!("floors raised in {FLOORS}"))
            .map_err(|error| Failure::wrong(format!("cannot write {}: {error}", path.display())));
    }
    if !low.is_empty() {
        return Err(Failure::wrong(format!("coverage fell: {}; test what was added", low.join("; "))));
    }
    let core = lines.0.get("kadmos-core").map_or(0.0, |count| count.percent());
    Ok(format!("core {core:.1} %"))
}

#[cfg(test)]
mod coverage_tests {
    use super::*;

    fn packages() -> Vec<Package> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        vec![Package { name: "xtask".into(), dir: dir.into(), library: false }]
    }

    #[test]
    fn lines_before_the_tests_of_a_file_count() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/budget.rs");
        let tests_at = first_test_line(&file).unwrap();
        assert!(tests_at > 10);
        let lcov = format!(
            "SF:{}\nDA:1,0\nDA:2,7\nDA:3,1\nDA:{tests_at},0\nDA:{},0\nend_of_record\nSF:/elsewhere/src/x.rs\nDA:1,0\n",
            file.display(),
            tests_at + 1
        );
        let lines = Lines::read(&lcov, &packages()).unwrap();
        assert_eq!(lines.0["xtask"], Count { all: 3, covered: 2 });
        assert!(Lines::read(&format!("SF:{}\nDA:x", file.display()), &packages()).is_err());
    }

    #[test]
    fn test_files_do_not_count() {
        let packages = packages();
        let dir = &packages[0].dir;
        for (file, counts) in [
            ("src/a.rs", true),
            ("src/a/b.rs", true),
            ("src/tests.rs", false),
            ("src/tests/a.rs", false),
            ("tests/a.rs", false),
        ] {
            assert_eq!(owner(&dir.join(file), &packages).is_some(), counts, "{file}");
        }
    }

    #[test]
    fn floors_hold_and_only_rise() {
        let floors = Floors::parse("[floors]\nkadmos-core = 90\nkadmos-store = 80.5\n").unwrap();
        let lines = |core, store| {
            let count = |covered| Count { all: 1_000, covered };
            Lines([("kadmos-core".into(), count(core)), ("kadmos-store".into(), count(store))].into())
        };
        assert_eq!(judge(&lines(905, 805), &floors, None).unwrap(), "core 90.5 %");
        let error = judge(&lines(899, 805), &floors, None).unwrap_err().to_string();
        assert!(error.contains("kadmos-core has 89.90 %"), "{error}");
        let unknown = Lines([("new".into(), Count::default())].into());
        assert!(judge(&unknown, &floors, None).unwrap_err().to_string().contains("new has no floor"));

        let file = std::env::temp_dir().join(format!("kadmos-floors-{}.toml", std::process::id()));
        judge(&lines(956, 700), &floors, Some(&file)).unwrap();
        let raised = Floors::load(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(raised.0, [("kadmos-core".into(), 94.6), ("kadmos-store".into(), 80.5)].into());
    }

    #[test]
    fn mistakes_in_the_floors_are_named() {
        for (text, expected) in [
            ("[floors]\nkadmos-core = 89.9", "at least 90"),
            ("[floors]\nkadmos-store = 50", "floors.kadmos-core"),
            ("[floors]\nkadmos-core = 101", "expected a percentage"),
            ("", "[floors]"),
        ] {
            let error = Floors::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?} gives {error:?}");
        }
    }

    #[test]
    fn binaries_are_read_from_nextests_list() {
        let list = r#"{"rust-build-meta": {"target-directory": "/t", "non-test-binaries":
            {"kadmos-cli": [{"name": "kadmos", "kind": "bin-exe", "path": "debug/kadmos"}]}},
            "rust-binaries": {"a": {"binary-path": "/t/debug/deps/a-1"}}}"#;
        assert_eq!(binaries(list).unwrap(), [Path::new("/t/debug/deps/a-1"), Path::new("/t/debug/kadmos")]);
        assert!(binaries("{}").is_err());
    }
}
