//! `kadmos status`: what the daemon knows of itself, and how it is printed.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use kadmos::core::health::{Code, Finding, Level, attainable};
use kadmos::core::routing::TableSnapshot;
use kadmos::{ConnectError, Node};
use serde::{Deserialize, Serialize};

use crate::engine::mode_name;
use crate::exit::{Exit, Failure};

/// A daemon's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `healthy`, `degraded` or `unhealthy`.
    pub(crate) state: String,
    /// For how long.
    pub(crate) state_seconds: u64,
    /// Why, worst first; may be empty while a bad state waits for more good rounds.
    pub(crate) reasons: Vec<Reason>,
    /// In base58.
    pub(crate) id: String,
    /// Protocol id of its network.
    pub(crate) protocol: String,
    /// What it does now: `client` or `server`.
    pub(crate) mode: String,
    /// What it was told to do: `client`, `server` or `auto`.
    pub(crate) mode_setting: String,
    /// `unknown`, `reachable` or `unreachable`.
    pub(crate) reachability: String,
    /// The routing table.
    pub(crate) table: Table,
    /// Servers in the network, if that could be estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network_size: Option<Estimate>,
    /// Its connections.
    pub(crate) connections: Connections,
    /// Its records.
    pub(crate) store: Store,
    /// Since it was started.
    pub(crate) uptime_seconds: u64,
    /// The program's version.
    pub(crate) version: String,
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    /// Stable code; `docs/codes.md` has a paragraph.
    pub(crate) code: String,
    /// `degraded` or `unhealthy`.
    pub(crate) level: String,
    /// What was measured, in per cent.
    pub(crate) measured_percent: u32,
    /// The limit that was passed.
    pub(crate) limit_percent: u32,
    /// What the number counts.
    pub(crate) measures: String,
    /// What the node does about it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// What an operator can do.
    pub(crate) advice: String,
}

/// The routing table by prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// In all.
    pub(crate) peers: usize,
    /// Peers that a bucket holds at most.
    pub(crate) bucket_size: usize,
    /// Up to the deepest that has peers.
    pub(crate) buckets: Vec<Bucket>,
}

/// Peers whose keys share a prefix of one length with the node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Bits shared.
    pub(crate) prefix_len: u16,
    /// How many there are.
    pub(crate) peers: usize,
    /// How many the network could give, if its size is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attainable: Option<usize>,
}

/// An estimate and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// Servers.
    pub(crate) servers: u64,
    /// One sigma, in servers.
    pub(crate) std_error: u64,
}

/// Connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Made by others.
    pub(crate) incoming: usize,
    /// Made by this node.
    pub(crate) outgoing: usize,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Values.
    pub(crate) values: usize,
    /// Multihashes with providers.
    pub(crate) provider_keys: usize,
    /// Provider records.
    pub(crate) provider_records: usize,
    /// What all of it costs.
    pub(crate) bytes: usize,
}

impl From<&Finding> for Reason {
    fn from(finding: &Finding) -> Self {
        let code: Code = finding.code;
        Self {
            code: code.code().into(),
            level: finding.level.label().into(),
            measured_percent: finding.measured,
            limit_percent: finding.limit,
            measures: code.measures().into(),
            action: code.action().map(|action| action.label().into()),
            advice: code.advice().into(),
        }
    }
}

impl Status {
    /// Asks a node for everything.
    pub(crate) async fn of(
        node: &Node,
        protocol: &str,
        bucket_size: usize,
        mode_setting: &str,
        began: Instant,
    ) -> Result<Self, Failure> {
        let report = node.health().await.map_err(Failure::shutdown)?;
        let size = node.network_size().await.map_err(Failure::shutdown)?;
        let table = node.table().await.map_err(Failure::shutdown)?;
        let connections = node.connections().await.map_err(|error: ConnectError| {
            Failure::new(Exit::Failed, format_args!("{error}; start the daemon again"))
        })?;
        let incoming = connections.iter().filter(|connection| !connection.dialled).count();
        let store = node.store().stats().await.map_err(|error| {
            Failure::new(Exit::Failed, format_args!("the store does not tell what it holds: {error}"))
        })?;
        Ok(Self {
            state: report.health.level().label().into(),
            state_seconds: report.lasts.as_secs(),
            reasons: report.health.reasons().iter().map(Reason::from).collect(),
            id: node.peer_id().to_base58(),
            protocol: protocol.into(),
            mode: mode_name(table.mode()).into(),
            mode_setting: mode_setting.into(),
            reachability: report.reachability.label().into(),
            table: Table::of(&table, bucket_size, size.map(|size| size.peers)),
            network_size: size.map(|size| Estimate { servers: size.peers, std_error: size.std_error }),
            connections: Connections { incoming, outgoing: connections.len() - incoming },
            store: Store {
                values: store.values,
                provider_keys: store.provider_keys,
                provider_records: store.provider_records,
                bytes: store.value_bytes + store.provider_bytes,
            },
            uptime_seconds: began.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// Whether all is well: exit code 0.
    pub(crate) fn is_healthy(&self) -> bool {
        self.state == Level::Healthy.label()
    }
}

impl Table {
    fn of(table: &TableSnapshot, bucket_size: usize, servers: Option<u64>) -> Self {
        let buckets = table.buckets().map(|(prefix_len, bucket)| Bucket {
            prefix_len,
            peers: bucket.len(),
            attainable: servers.map(|servers| attainable(servers, prefix_len, bucket_size)),
        });
        Self { peers: table.len(), bucket_size, buckets: buckets.collect() }
    }
}

/// Longest bar, in characters; larger buckets are drawn to scale.
const BAR_CHARS: usize = 20;

/// For people.
pub(crate) fn write(to: &mut dyn Write, status: &Status) -> io::Result<()> {
    writeln!(to, "state        {} for {}", status.state, span(status.state_seconds))?;
    for reason in &status.reasons {
        writeln!(
            to,
            "  {}  {}: {} % {} (limit {} %)",
            reason.level, reason.code, reason.measured_percent, reason.measures, reason.limit_percent
        )?;
        if let Some(action) = &reason.action {
            writeln!(to, "    the node: {}", action.replace('_', " "))?;
        }
        writeln!(to, "    you: {}", reason.advice)?;
    }
    writeln!(to, "peer id      {}", status.id)?;
    writeln!(to, "protocol     {}", status.protocol)?;
    let setting = if status.mode == status.mode_setting { "" } else { " (mode is auto)" };
    writeln!(to, "mode         {}{setting}; from outside: {}", status.mode, status.reachability)?;
    writeln!(to, "table        {} peers, by bits shared with this node:", status.table.peers)?;
    for bucket in &status.table.buckets {
        let chars = (bucket.peers * BAR_CHARS).div_ceil(status.table.bucket_size.max(1)).min(BAR_CHARS);
        let of = bucket.attainable.map_or_else(String::new, |attainable| format!(" of {attainable}"));
        writeln!(to, "  {:>3} |{:<BAR_CHARS$}| {}{of}", bucket.prefix_len, "#".repeat(chars), bucket.peers)?;
    }
    match status.network_size {
        Some(Estimate { servers, std_error }) => {
            writeln!(to, "network      about {servers} servers, give or take {std_error}")?;
        }
        None => writeln!(to, "network      of unknown size")?,
    }
    let Connections { incoming, outgoing } = status.connections;
    writeln!(to, "connections  {}: {incoming} incoming, {outgoing} outgoing", incoming + outgoing)?;
    writeln!(
        to,
        "store        {} values, {} provider records of {} keys, {} KiB",
        status.store.values,
        status.store.provider_records,
        status.store.provider_keys,
        status.store.bytes.div_ceil(1_024)
    )?;
    writeln!(to, "uptime       {}", span(status.uptime_seconds))
}

/// The two largest units.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match Duration::from_secs(seconds) {
        _ if days > 0 => format!("{days}d{hours}h"),
        _ if hours > 0 => format!("{hours}h{minutes}m"),
        _ if minutes > 0 => format!("{minutes}m{}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let finding = Finding { code: Code::TableSmall, level: Level::Degraded, measured: 42, limit: 75 };
        Status {
            state: "degraded".into(),
            state_seconds: 185,
            reasons: vec![Reason::from(&finding)],
            id: "12D3".into(),
            protocol: "/x/1".into(),
            mode: "client".into(),
            mode_setting: "auto".into(),
            reachability: "unknown".into(),
            table: Table {
                peers: 21,
                bucket_size: 20,
                buckets: vec![
                    Bucket { prefix_len: 0, peers: 20, attainable: Some(20) },
                    Bucket { prefix_len: 1, peers: 1, attainable: None },
                ],
            },
            network_size: Some(Estimate { servers: 100, std_error: 7 }),
            connections: Connections { incoming: 2, outgoing: 3 },
            store: Store { values: 1, provider_keys: 2, provider_records: 3, bytes: 1_025 },
            uptime_seconds: 90_000,
            version: "0".into(),
        }
    }

    #[test]
    fn people_read_the_state_the_reasons_and_bars() {
        let mut text = Vec::new();
        write(&mut text, &status()).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "state        degraded for 3m5s",
            "  degraded  table_small: 42 % of the peers that the table could hold are in it (limit 75 %)",
            "    the node: rejoin",
            "mode         client (mode is auto); from outside: unknown",
            "    0 |####################| 20 of 20",
            "    1 |#                   | 1",
            "network      about 100 servers, give or take 7",
            "connections  5: 2 incoming, 3 outgoing",
            "store        1 values, 3 provider records of 2 keys, 2 KiB",
            "uptime       1d1h",
        ] {
            assert!(text.lines().any(|it| it == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn programs_read_back_what_is_written() {
        let status = status();
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        assert!(!status.is_healthy());
    }
}
