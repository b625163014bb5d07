//! The configuration file's format, and the environment variables that mirror it key by key.
//!
//! `docs/config.md` describes every key; a test holds the two together.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::units::{Levels, Size, Span};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $(pub(crate) $field: Option<$ty>),* }

        impl $name {
            /// The section's keys.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($field)),*];

            /// `self` where it says something, else `lower`.
            pub(crate) fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field)),* }
            }
        }
    };
}

section! {
    /// `[protocol]`; see [`kadmos_core::config::ProtocolConfig`].
    Protocol { message_bytes_max: Size, addresses: Addresses }
}

section! {
    /// `[lookup]`; see [`kadmos_core::config::LookupConfig`].
    Lookup {
        k: usize,
        alpha: usize,
        beta: usize,
        request_timeout: Span,
        follow_up_timeout: Span,
        deadline: Span,
        quorum: usize,
    }
}

section! {
    /// `[table]`; see [`kadmos_core::config::TableConfig`].
    Table {
        bucket_size: usize,
        failures_max: u32,
        refresh_interval: Span,
        probe_after: Span,
        probe_unproven_after: Span,
        probes_per_minute: u32,
        strangers_per_minute: u32,
        peers_min: usize,
        neighbours: usize,
        top_buckets: Vec<usize>,
        group_per_bucket: usize,
        group_per_table: usize,
        group_per_reply: usize,
        trusted: Vec<String>,
        asn_file: PathBuf,
    }
}

section! {
    /// `[records]`; see [`kadmos_core::config::RecordConfig`].
    Records { value_age_max: Span, provider_age_max: Span, provider_addrs_age_max: Span }
}

section! {
    /// `[retry]`; see [`kadmos_core::RetryPolicy`].
    Retry { attempts: u32, first: Span, factor_percent: u32, cap: Span, jitter_percent: u32 }
}

section! {
    /// `[health]`; see [`kadmos_core::HealthConfig`].
    Health {
        interval: Span,
        rounds_worse: u32,
        rounds_better: u32,
        recovery: Switch,
        recovery_interval: Span,
        samples_min: u32,
        table: Levels,
        stale: Levels,
        one_network: Levels,
        lookups: Levels,
        requests: Levels,
        neighbourhood: Levels,
        records: Levels,
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    /// It happens.
    On,
    /// It does not.
    Off,
}

/// `protocol.addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Addresses {
    /// All addresses.
    Any,
    /// Public addresses only.
    Public,
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServeMode {
    /// Asks others only.
    Client,
    /// Answers others too.
    Server,
    /// Answers others while they reach this node.
    Auto,
}

impl ServeMode {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Auto => "auto",
        }
    }
}

/// `realm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Realms {
    /// The network itself.
    Wan,
    /// Its network on the local network only.
    Lan,
    /// Both at once.
    Both,
}

/// A whole file. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// `amino`, `lan` or `private:/name`.
    pub(crate) network: Option<String>,
    /// Whether to be in the network, in its local one, or in both.
    pub(crate) realm: Option<Realms>,
    /// What `serve` does.
    pub(crate) mode: Option<ServeMode>,
    /// Where to join: addresses, or `auto` for the network's own list.
    pub(crate) bootstrap: Option<Vec<String>>,
    /// Where more of them are listed.
    pub(crate) bootstrap_file: Option<PathBuf>,
    /// The same by HTTP.
    pub(crate) bootstrap_url: Option<String>,
    /// Whether peers on the local network are looked for.
    pub(crate) mdns: Option<Switch>,
    /// Where `serve` listens.
    pub(crate) listen: Option<Vec<String>>,
    /// Sizes of the protocol.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// How lookups walk.
    #[serde(default)]
    pub(crate) lookup: Lookup,
    /// Who is kept.
    #[serde(default)]
    pub(crate) table: Table,
    /// How long records live.
    #[serde(default)]
    pub(crate) records: Records,
    /// How requests are repeated.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// When the node counts as ill.
    #[serde(default)]
    pub(crate) health: Health,
}

/// Keys outside sections.
pub(crate) const TOP_KEYS: &[&str] =
    &["network", "realm", "mode", "bootstrap", "bootstrap_file", "bootstrap_url", "mdns", "listen"];
/// Sections with their keys.
pub(crate) const SECTIONS: &[(&str, &[&str])] = &[
    ("protocol", Protocol::KEYS),
    ("lookup", Lookup::KEYS),
    ("table", Table::KEYS),
    ("records", Records::KEYS),
    ("retry", Retry::KEYS),
    ("health", Health::KEYS),
];
/// Keys that hold lists; their variables separate entries with commas.
const LISTS: &[&str] = &["bootstrap", "listen", "top_buckets", "trusted"];

/// A file or variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    /// `line:column`, for a file.
    at: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl FileConfig {
    /// Reads a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        toml::from_str(text).map_err(|error| FileError {
            at: error.span().map(|span| line_and_column(text, span.start)),
            message: explained(error.message()),
        })
    }

    /// Reads one environment variable whose name follows `KADMOS_`.
    ///
    /// Returns `None` for a name that is no key.
    pub(crate) fn from_variable(name: &str, value: &str) -> Option<Result<Self, FileError>> {
        let name = name.to_ascii_lowercase();
        let (section, key) = key_of(&name)?;
        let read =
            |text: &str| text.parse().map_or_else(|_| toml::Value::String(text.into()), toml::Value::Integer);
        let value = if LISTS.contains(&key) {
            let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            toml::Value::Array(entries.map(read).collect())
        } else {
            read(value)
        };
        let mut table = toml::Table::from_iter([(key.to_string(), value)]);
        if let Some(section) = section {
            table = toml::Table::from_iter([(section.to_string(), toml::Value::Table(table))]);
        }
        let parsed = toml::Value::Table(table).try_into();
        Some(
            parsed.map_err(|error: toml::de::Error| FileError {
                at: None,
                message: explained(error.message()),
            }),
        )
    }

    /// `self` where it says something, else `lower`.
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            network: self.network.or(lower.network),
            realm: self.realm.or(lower.realm),
            mode: self.mode.or(lower.mode),
            bootstrap: self.bootstrap.or(lower.bootstrap),
            bootstrap_file: self.bootstrap_file.or(lower.bootstrap_file),
            bootstrap_url: self.bootstrap_url.or(lower.bootstrap_url),
            mdns: self.mdns.or(lower.mdns),
            listen: self.listen.or(lower.listen),
            protocol: self.protocol.over(lower.protocol),
            lookup: self.lookup.over(lower.lookup),
            table: self.table.over(lower.table),
            records: self.records.over(lower.records),
            retry: self.retry.over(lower.retry),
            health: self.health.over(lower.health),
        }
    }
}

/// Section and key of a variable's lower-case name.
fn key_of(name: &str) -> Option<(Option<&'static str>, &'static str)> {
    if let Some(key) = TOP_KEYS.iter().find(|key| **key == name) {
        return Some((None, key));
    }
    SECTIONS.iter().find_map(|(section, keys)| {
        let rest = name.strip_prefix(section)?.strip_prefix('_')?;
        keys.iter().find(|key| **key == rest).map(|key| (Some(*section), *key))
    })
}

/// Both counted from 1; the column in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a suggestion.
fn explained(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(unknown), true) = (quoted.next(), message.starts_with("unknown ")) else {
        return message.to_string();
    };
    let expected: Vec<&str> = quoted.collect();
    let what = if message.starts_with("unknown field") { "unknown key" } else { "unknown value" };
    match nearest(unknown, &expected) {
        Some(near) => format!("{what} `{unknown}`; did you mean `{near}`?"),
        None => format!("{what} `{unknown}`; expected one of {}", expected.join(", ")),
    }
}

/// The known word that `word` is most likely a slip of: two letters differ (as when they are swapped) or a third.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) =
        known.iter().map(|candidate| (edit_distance(word, candidate), *candidate)).min()?;
    let length = word.chars().count();
    (distance < length && distance <= (length / 3).max(2)).then_some(near)
}

/// Levenshtein distance, row by row. Words are keys of a file: short.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unknown_keys_are_errors_with_a_place_and_a_suggestion() {
        let error =
            FileConfig::parse("network = \"amino\"\n[lookup]\n  alhpa = 3\n").unwrap_err().to_string();
        assert_eq!(error, "line 3, column 3: unknown key `alhpa`; did you mean `alpha`?");
        let error = FileConfig::parse("[nothing_alike]\n").unwrap_err().to_string();
        assert!(error.contains("expected one of network, realm"), "{error}");
    }

    #[test]
    fn wrong_values_are_errors_with_a_place() {
        for (text, expected) in [
            ("[lookup]\ndeadline = \"22\"", "line 2, column 12: read \"22\", expected a duration"),
            ("[lookup]\ndeadline = 22", "line 2, column 12: invalid type"),
            ("mode = \"sever\"", "did you mean `server`?"),
            ("[protocol]\nmessage_bytes_max = \"4mib\"", "expected a size"),
            ("network = ", "line 1"),
        ] {
            let error = FileConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn variables_mirror_every_key() {
        for key in TOP_KEYS {
            assert!(FileConfig::from_variable(&key.to_uppercase(), "client").is_some(), "{key}");
        }
        for (section, keys) in SECTIONS {
            for key in *keys {
                let name = format!("{section}_{key}").to_uppercase();
                let parsed = ["7", "7s", "any", "on", "7/7"].iter().any(|value| {
                    FileConfig::from_variable(&name, value)
                        .expect(&name)
                        .is_ok_and(|it| it != FileConfig::default())
                });
                assert!(parsed, "{name}");
            }
        }
        let config = FileConfig::from_variable("BOOTSTRAP", "auto, /ip4/1.2.3.4/tcp/1,").unwrap().unwrap();
        assert_eq!(config.bootstrap.unwrap(), ["auto", "/ip4/1.2.3.4/tcp/1"]);
        assert!(FileConfig::from_variable("LOOKUP_ALPHA", "many").unwrap().is_err());
        assert_eq!(FileConfig::from_variable("SERVICE_HOST", "10.0.0.1"), None);
    }

    #[test]
    fn the_upper_layer_wins_key_by_key() {
        let lower = FileConfig::parse("mode = \"client\"\n[lookup]\nalpha = 3\nbeta = 2").unwrap();
        let upper = FileConfig::parse("[lookup]\nalpha = 5\ndeadline = \"1m\"").unwrap();
        let both = upper.over(lower);
        assert_eq!(both.mode, Some(ServeMode::Client));
        assert_eq!((both.lookup.alpha, both.lookup.beta), (Some(5), Some(2)));
        assert_eq!(both.lookup.deadline, Some(Span(Duration::from_secs(60))));
    }

    #[test]
    fn every_key_is_documented_and_no_other() {
        let page = include_str!("../../../../docs/config.md");
        let documented: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(key, _)| key))
            .collect();
        let sections = SECTIONS
            .iter()
            .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")));
        let keys: Vec<String> = TOP_KEYS.iter().map(ToString::to_string).chain(sections).collect();
        assert_eq!(documented, keys);
        let (_, example) = page.split_once("```toml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        FileConfig::parse(example).unwrap();
    }

    #[test]
    fn nearest_ignores_strangers() {
        assert_eq!(nearest("bootstap", TOP_KEYS), Some("bootstrap"));
        assert_eq!(nearest("zzz", TOP_KEYS), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
