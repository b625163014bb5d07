//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;
use crate::process::{Limit, stdout_of};

/// The repository and the tools used on it.
#[derive(Debug)]
pub(crate) struct Repo {
    /// Its top directory.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// Where our pinned tools are installed: `$KADMOS_TOOLS`, else `target/tools`.
    pub(crate) tools: PathBuf,
    /// Whether this is the build server, on which nothing may be left out.
    pub(crate) ci: bool,
}

impl Repo {
    /// The repository this program was built in.
    pub(crate) fn locate() -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf);
        let root = root.filter(|root| root.join("Cargo.lock").is_file()).ok_or_else(|| {
            Failure::wrong(
                "the repository this command was built in has moved: run `cargo xtask` again from it",
            )
        })?;
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let target = root.join(variable("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let tools = root.join(variable("KADMOS_TOOLS").unwrap_or_else(|| "target/tools".into()));
        let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Ok(Self { root, target, tools, ci })
    }

    /// A program run at the top of the repository, our tools first on its PATH.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut path = self.tools.join("bin").into_os_string();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", path);
        command
    }

    /// Cargo with these arguments.
    pub(crate) fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command("cargo");
        command.args(args);
        command
    }

    /// The binary `name` as a profile's directory (`debug`, `release`) holds it.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// The workspace's packages, by name.
    pub(crate) fn packages(&self, limit: &Limit) -> Result<Vec<Package>, Failure> {
        let text = stdout_of(
            &mut self.cargo(["metadata", "--no-deps", "--format-version", "1", "--locked"]),
            limit,
        )?;
        let metadata: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::wrong(format!("cannot read the output of cargo metadata: {error}")))?;
        let mut packages: Vec<_> =
            metadata["packages"].as_array().into_iter().flatten().filter_map(Package::read).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        if packages.is_empty() {
            Err(Failure::wrong("cargo metadata names no package"))
        } else {
            Ok(packages)
        }
    }
}

/// A member of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Whether it has a library.
    pub(crate) library: bool,
}

impl Package {
    fn read(package: &Value) -> Option<Self> {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let kinds = package["targets"].as_array()?.iter().flat_map(|target| target["kind"].as_array());
        let library = kinds.flatten().any(|kind| kind == "lib" || kind == "proc-macro");
        Some(Self { name: package["name"].as_str()?.into(), dir: manifest.parent()?.into(), library })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_are_read_with_their_kind() {
        let package = json!({
            "name": "kadmos-core", "manifest_path": "/k/crates/kadmos-core/Cargo.toml",
            "targets": [{"kind": ["lib"]}, {"kind": ["test"]}],
        });
        let read = Package::read(&package).unwrap();
        assert_eq!(
            read,
            Package { name: "kadmos-core".into(), dir: "/k/crates/kadmos-core".into(), library: true }
        );
        let program =
            json!({"name": "x", "manifest_path": "/k/x/Cargo.toml", "targets": [{"kind": ["bin"]}]});
        assert!(!Package::read(&program).unwrap().library);
        assert_eq!(Package::read(&json!({"name": "x"})), None);
    }

    #[test]
    fn this_repository_is_found() {
        let repo = Repo::locate().unwrap();
        assert!(repo.root.join("xtask/budget.toml").is_file());
    }
}
