//! How long each stage may take: `xtask/budget.toml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Table;

use crate::failure::Failure;

/// A stage that takes more than this many times its budget fails.
pub(crate) const OVERRUN: u32 = 2;

/// Seconds per stage.
#[derive(Debug)]
pub(crate) struct Budget {
    stages: BTreeMap<String, Duration>,
}

impl Budget {
    /// Reads the file and checks it against the stages there are and the sum it promises.
    pub(crate) fn load(path: &Path, stages: &[&str]) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::wrong(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text, stages).map_err(|reason| Failure::wrong(format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
        let total_max = table.get("total_seconds_max").and_then(seconds);
        let total_max = total_max.ok_or("total_seconds_max: expected a positive whole number")?;
        let entries =
            table.get("stages").and_then(toml::Value::as_table).ok_or("expected a table [stages]")?;
        let mut stages = BTreeMap::new();
        for (name, value) in entries {
            if !names.contains(&name.as_str()) {
                return Err(format!("stages.{name}: there is no such stage; there are {}", names.join(", ")));
            }
            let budget =
                seconds(value).ok_or_else(|| format!("stages.{name}: expected a positive whole number"))?;
            stages.insert(name.clone(), budget);
        }
        if let Some(name) = names.iter().find(|name| !stages.contains_key(**name)) {
            return Err(format!("stages.{name}: missing, every stage needs a budget"));
        }
        let total: Duration = stages.values().sum();
        if total > total_max {
            return Err(format!(
                "the budgets add up to {} s, which is more than total_seconds_max = {}",
                total.as_secs(),
                total_max.as_secs()
            ));
        }
        Ok(Self { stages })
    }

    /// The budget of a stage that was in the list at [`Budget::load`].
    pub(crate) fn of(&self, stage: &str) -> Duration {
        self.stages.get(stage).copied().unwrap_or_default()
    }
}

fn seconds(value: &toml::Value) -> Option<Duration> {
    let seconds = value.as_integer().and_then(|number| u64::try_from(number).ok())?;
    (seconds > 0).then_some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Repo;
    use crate::stages;

    #[test]
    fn the_checked_in_budget_covers_every_stage() {
        let path = Repo::locate().unwrap().root.join("xtask/budget.toml");
        let budget = Budget::load(&path, &stages::names()).unwrap();
        let sum: Duration = stages::names().iter().map(|name| budget.of(name)).sum();
        assert!(sum <= Duration::from_secs(40 * 60), "{sum:?}");
    }

    #[test]
    fn mistakes_are_named() {
        let names = ["fmt", "docs"];
        for (text, expected) in [
            ("", "total_seconds_max"),
            ("total_seconds_max = 9", "[stages]"),
            ("total_seconds_max = 9\n[stages]\nfmt = 1\ndosc = 1", "stages.dosc: there is no such stage"),
            ("total_seconds_max = 9\n[stages]\nfmt = 1", "stages.docs: missing"),
            ("total_seconds_max = 9\n[stages]\nfmt = 0\ndocs = 1", "stages.fmt: expected a positive"),
            ("total_seconds_max = 9\n[stages]\nfmt = 5\ndocs = 5", "add up to 10 s"),
            ("total_seconds_max = ", "not TOML"),
        ] {
            let error = Budget::parse(text, &names).unwrap_err();
            assert!(error.contains(expected), "{text:?} gives {error:?}");
        }
        let budget = Budget::parse("total_seconds_max = 9\n[stages]\nfmt = 4\ndocs = 5", &names).unwrap();
        assert_eq!(budget.of("docs"), Duration::from_secs(5));
    }
}
