//! The programs that tests need besides the Rust toolchain: pinned cargo tools, Debian packages.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::process::{Limit, capture, run, stdout_of};
use crate::repo::Repo;

/// A cargo subcommand that `cargo install` builds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CargoTool {
    /// Crate and program.
    pub(crate) name: &'static str,
    /// The version that is installed when there is none.
    version: &'static str,
    /// Whether a later version that is already on the machine will do. Where a version decides what is found, only
    /// the pinned one does.
    later_will_do: bool,
}

/// What the stages call.
pub(crate) const CARGO_TOOLS: [CargoTool; 3] = [
    CargoTool { name: "cargo-nextest", version: "0.9.143", later_will_do: true },
    CargoTool { name: "cargo-deny", version: "0.20.2", later_will_do: false },
    CargoTool { name: "cargo-fuzz", version: "0.13.2", later_will_do: true },
];

/// Makes every tool ready. Returns what was installed, for the summary.
pub(crate) fn provide(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let mut installed = debian_packages(repo, limit)?;
    for tool in CARGO_TOOLS {
        if !is_ready(repo, tool, limit)? {
            install(repo, tool, limit)?;
            installed.push(tool.name.into());
        }
    }
    llvm_tool(repo, "llvm-cov", limit)?;
    llvm_tool(repo, "llvm-profdata", limit)?;
    Ok(if installed.is_empty() { "all there".into() } else { format!("installed {}", installed.join(", ")) })
}

fn is_ready(repo: &Repo, tool: CargoTool, limit: &Limit) -> Result<bool, Failure> {
    let subcommand = tool.name.trim_start_matches("cargo-");
    let mut command = repo.cargo([subcommand, "--version"]);
    let captured = capture(command.stderr(std::process::Stdio::null()), limit)?;
    let found = captured.stdout.split_whitespace().find_map(version);
    let wanted = version(tool.version);
    Ok(captured.status.success() && if tool.later_will_do { found >= wanted } else { found == wanted })
}

fn install(repo: &Repo, tool: CargoTool, limit: &Limit) -> Result<(), Failure> {
    let spec = format!("{}@{}", tool.name, tool.version);
    let mut command = repo.cargo(["install", "--locked", "--root"]);
    command.arg(&repo.tools).arg(&spec);
    // These programs run for seconds: building them fast matters more than building fast ones.
    command.env("CARGO_TARGET_DIR", repo.tools.join("build"));
    for (setting, value) in [("LTO", "off"), ("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    run(&mut command, limit).map_err(|failure| match failure {
        Failure::Wrong(sentence) => Failure::wrong(format!(
            "{sentence}; {} {} is needed: install it with `cargo install --locked {spec}` and run this again",
            tool.name, tool.version
        )),
        other => other,
    })
}

/// `1.2.3` as numbers.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

/// A Debian package and a file or program that tells whether it, or something as good, is there.
#[derive(Debug)]
struct DebianPackage {
    name: String,
    has: Presence,
}

#[derive(Debug)]
enum Presence {
    Program(&'static str),
    Llvm,
}

/// Installs what is missing, when we may; else says what to install.
fn debian_packages(repo: &Repo, limit: &Limit) -> Result<Vec<String>, Failure> {
    let major = llvm_major(repo, limit)?;
    let needed = [
        DebianPackage { name: "g++".into(), has: Presence::Program("c++") }, // the fuzzers' engine is C++
        DebianPackage { name: format!("llvm-{major}"), has: Presence::Llvm }, // coverage
        DebianPackage { name: "python3".into(), has: Presence::Program("python3") }, // peers for interop
        DebianPackage { name: "python3-pip".into(), has: Presence::Program("pip3") },
    ];
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|package| match package.has {
            Presence::Program(program) => on_path(program).is_none(),
            Presence::Llvm => find_llvm("llvm-cov", major).is_none(),
        })
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let names = missing.join(" ");
    let may_install = rustix::process::geteuid().is_root() && on_path("apt-get").is_some();
    if !may_install {
        return Err(Failure::wrong(format!(
            "missing on this machine: {names}. On Debian run `sudo apt-get install {names}`; elsewhere install the \
             packages of these names and versions, and run this again"
        )));
    }
    run(repo.command("apt-get").args(["update", "-qq"]), limit)?;
    let mut install = repo.command("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
    run(install.env("DEBIAN_FRONTEND", "noninteractive"), limit)?;
    Ok(missing)
}

/// The LLVM whose profiles this rustc writes: other versions cannot read them.
pub(crate) fn llvm_major(repo: &Repo, limit: &Limit) -> Result<u32, Failure> {
    let text = stdout_of(repo.command("rustc").arg("-vV"), limit)?;
    text.lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.parse().ok())
        .ok_or_else(|| {
            Failure::wrong("`rustc -vV` names no LLVM version, so no coverage tools can be chosen")
        })
}

/// An LLVM program that fits this rustc.
pub(crate) fn llvm_tool(repo: &Repo, program: &str, limit: &Limit) -> Result<PathBuf, Failure> {
    let major = llvm_major(repo, limit)?;
    find_llvm(program, major).ok_or_else(|| {
        Failure::wrong(format!(
            "missing on this machine: {program} of LLVM {major} (Debian package llvm-{major})"
        ))
    })
}

fn find_llvm(program: &str, major: u32) -> Option<PathBuf> {
    let debian = Path::new("/usr/lib").join(format!("llvm-{major}/bin")).join(program);
    if debian.is_file() { Some(debian) } else { on_path(&format!("{program}-{major}")) }
}

/// The first file of this name on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("0.20.2"), Some([0, 20, 2]));
        assert!(version("0.9.143") > version("0.9.99"));
        for text in ["cargo-deny", "1.2", "1.2.3.4", "1.x.3", ""] {
            assert_eq!(version(text), None, "{text}");
        }
        assert!(CARGO_TOOLS.iter().all(|tool| version(tool.version).is_some()));
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("sh").is_some());
        assert_eq!(on_path("no-such-program"), None);
    }
}
