//! Settings: flags over environment over file over the network's defaults.

pub(crate) mod file;
pub(crate) mod units;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use kadmos::PageUrl;
use kadmos_core::config::{AddressPolicy, Config, Mode};
use kadmos_core::routing::AsnMap;
use libp2p_core::Multiaddr;

use self::file::{Addresses, FileConfig, Realms, ServeMode, Switch};
use crate::exit::{Exit, Failure};
use crate::parse;

/// Where `serve` listens unless told otherwise: every interface, TCP and QUIC, beside Kubo's 4001.
pub(crate) const LISTEN_DEFAULT: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/4010",
    "/ip4/0.0.0.0/udp/4010/quic-v1",
    "/ip6/::/tcp/4010",
    "/ip6/::/udp/4010/quic-v1",
];

/// Kubo's bootstrap peers. Source: go-libp2p-kad-dht `dht_bootstrap.go`.
pub(crate) const AMINO_BOOTSTRAP: [&str; 6] = [
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
    "/ip4/104.131.131.82/udp/4001/quic-v1/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
];

/// A configuration file longer than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file of autonomous systems longer than this is not one: 1.5 million lines of 40 bytes.
const ASN_FILE_BYTES_MAX: u64 = 64 << 20;

/// Variables with a meaning of their own, which are no keys of the file.
const OTHER_VARIABLES: [&str; 3] = ["HOME", "CONFIG", "LOG"];

/// Which network to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The public IPFS DHT.
    Amino,
    /// Kubo's local-network DHT.
    Lan,
    /// One's own, by protocol id.
    Private(String),
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "amino" => Ok(Self::Amino),
            "lan" => Ok(Self::Lan),
            _ => match text.strip_prefix("private:") {
                Some(name) if name.starts_with('/') && name.len() > 1 => Ok(Self::Private(name.into())),
                _ => Err(format!(
                    "read {text:?}, expected amino, lan or private:/name (for example private:/acme/kad/1.0.0)"
                )),
            },
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amino => f.write_str("amino"),
            Self::Lan => f.write_str("lan"),
            Self::Private(name) => write!(f, "private:{name}"),
        }
    }
}

/// Everything a node is started with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// The network.
    pub(crate) network: Network,
    /// The protocol's settings; the mode is the one that `serve` begins with.
    pub(crate) core: Config,
    /// The same of a second network, on the local network only.
    pub(crate) lan: Option<Config>,
    /// What `serve` does.
    pub(crate) mode: ServeMode,
    /// Where `serve` listens.
    pub(crate) listen: Vec<Multiaddr>,
    /// Whether `listen` is the default: then an address family that the machine lacks is left out.
    pub(crate) listen_is_default: bool,
    /// Where to join. Each ends in `/p2p/<id>`, or is `/dnsaddr/<name>`.
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Lists more of them.
    pub(crate) bootstrap_file: Option<PathBuf>,
    /// So does this page.
    pub(crate) bootstrap_url: Option<PageUrl>,
    /// Whether peers on the local network are looked for.
    pub(crate) mdns: bool,
    /// Tells autonomous systems by network; [`Settings::asns`] reads it.
    pub(crate) asn_file: Option<PathBuf>,
}

/// What the command line says; the top layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--network`.
    pub(crate) network: Option<String>,
    /// `--mode`.
    pub(crate) mode: Option<ServeMode>,
    /// `--bootstrap`, repeated.
    pub(crate) bootstrap: Vec<String>,
    /// `--bootstrap-file`.
    pub(crate) bootstrap_file: Option<PathBuf>,
    /// `--bootstrap-url`.
    pub(crate) bootstrap_url: Option<String>,
    /// `--listen`, repeated.
    pub(crate) listen: Vec<String>,
}

impl Settings {
    /// Reads file and environment, and lays the flags over them.
    ///
    /// `explicit` says that the person named the file, so that it must exist. Errors: usage, naming the file's line
    /// or the variable.
    pub(crate) fn load(
        path: &Path,
        explicit: bool,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Self, Failure> {
        let file = read_file(path, explicit)?;
        let mut layers = file;
        for (name, value) in environment {
            let Some(name) = name.strip_prefix("KADMOS_") else { continue };
            match FileConfig::from_variable(name, &value) {
                Some(Ok(variable)) => layers = variable.over(layers),
                Some(Err(error)) => {
                    return Err(Failure::usage(format_args!("environment variable KADMOS_{name}: {error}")));
                }
                // Orchestrators inject variables such as KADMOS_SERVICE_HOST, so a stranger is no error.
                None if !OTHER_VARIABLES.contains(&name) => {
                    tracing::warn!("environment variable KADMOS_{name} is no setting and is ignored");
                }
                None => {}
            }
        }
        let flags = FileConfig {
            network: flags.network,
            mode: flags.mode,
            bootstrap: (!flags.bootstrap.is_empty()).then_some(flags.bootstrap),
            bootstrap_file: flags.bootstrap_file,
            bootstrap_url: flags.bootstrap_url,
            listen: (!flags.listen.is_empty()).then_some(flags.listen),
            ..FileConfig::default()
        };
        Self::resolve(flags.over(layers)).map_err(Failure::usage)
    }

    /// Turns text into values, and lays them over the network's defaults.
    fn resolve(file: FileConfig) -> Result<Self, String> {
        let FileConfig {
            network,
            realm,
            mode,
            bootstrap,
            bootstrap_file,
            bootstrap_url,
            mdns,
            listen,
            protocol,
            lookup,
            table,
            records,
            retry,
            health,
        } = file;
        let network: Network =
            network.as_deref().unwrap_or("amino").parse().map_err(|e| format!("network: {e}"))?;
        let network = match (network, realm) {
            (Network::Lan, Some(Realms::Wan | Realms::Both)) => {
                return Err("realm: the network lan has no wide one; use network = \"amino\"".into());
            }
            (Network::Amino, Some(Realms::Lan)) => Network::Lan,
            (network, _) => network,
        };
        let mut core = match &network {
            Network::Amino => Config::amino(),
            Network::Lan => Config::lan(),
            Network::Private(name) => Config::private(name.as_str()),
        };
        let mode = mode.unwrap_or(ServeMode::Server);
        core.protocol.mode = match mode {
            ServeMode::Client | ServeMode::Auto => Mode::Client,
            ServeMode::Server => Mode::Server,
        };
        set(&mut core.protocol.message_bytes_max, protocol.message_bytes_max.map(|size| size.0));
        set(
            &mut core.protocol.addresses,
            protocol.addresses.map(|addresses| match addresses {
                Addresses::Any => AddressPolicy::Any,
                Addresses::Public => AddressPolicy::Public,
            }),
        );
        set(&mut core.lookup.k, positive("lookup.k", lookup.k)?);
        set(&mut core.lookup.alpha, positive("lookup.alpha", lookup.alpha)?);
        set(&mut core.lookup.beta, positive("lookup.beta", lookup.beta)?);
        set(&mut core.lookup.request_timeout, lookup.request_timeout.map(|span| span.0));
        set(&mut core.lookup.follow_up_timeout, lookup.follow_up_timeout.map(|span| span.0));
        set(&mut core.lookup.deadline, lookup.deadline.map(|span| span.0));
        set(&mut core.lookup.quorum, lookup.quorum);
        set(&mut core.table.bucket_size, positive("table.bucket_size", table.bucket_size)?);
        set(&mut core.table.failures_max, table.failures_max);
        set(&mut core.table.refresh_interval, table.refresh_interval.map(|span| span.0));
        set(&mut core.table.probe_after, table.probe_after.map(|span| span.0));
        set(&mut core.table.probe_unproven_after, table.probe_unproven_after.map(|span| span.0));
        set(&mut core.table.probes_per_minute, table.probes_per_minute);
        set(&mut core.table.strangers_per_minute, table.strangers_per_minute);
        set(&mut core.table.peers_min, table.peers_min);
        set(&mut core.table.neighbours, table.neighbours);
        set(&mut core.table.top_buckets, table.top_buckets);
        set(&mut core.table.group_per_bucket, table.group_per_bucket);
        set(&mut core.table.group_per_table, table.group_per_table);
        set(&mut core.table.group_per_reply, table.group_per_reply);
        for id in table.trusted.unwrap_or_default() {
            core.table.trusted.push(trusted_peer(&id)?);
        }
        let asn_file = table.asn_file;
        set(&mut core.records.value_age_max, records.value_age_max.map(|span| span.0));
        set(&mut core.records.provider_age_max, records.provider_age_max.map(|span| span.0));
        set(&mut core.records.provider_addrs_age_max, records.provider_addrs_age_max.map(|span| span.0));
        set(&mut core.retry.attempts, retry.attempts);
        set(&mut core.retry.first, retry.first.map(|span| span.0));
        set(&mut core.retry.factor_percent, retry.factor_percent);
        set(&mut core.retry.cap, retry.cap.map(|span| span.0));
        set(&mut core.retry.jitter_percent, retry.jitter_percent);
        set(&mut core.health.interval, health.interval.map(|span| span.0));
        set(&mut core.health.rounds_worse, health.rounds_worse);
        set(&mut core.health.rounds_better, health.rounds_better);
        set(&mut core.health.recovery, health.recovery.map(|switch| switch == Switch::On));
        set(&mut core.health.recovery_interval, health.recovery_interval.map(|span| span.0));
        set(&mut core.health.samples_min, health.samples_min);
        set(&mut core.health.table, health.table.map(|levels| levels.0));
        set(&mut core.health.stale, health.stale.map(|levels| levels.0));
        set(&mut core.health.one_network, health.one_network.map(|levels| levels.0));
        set(&mut core.health.lookups, health.lookups.map(|levels| levels.0));
        set(&mut core.health.requests, health.requests.map(|levels| levels.0));
        set(&mut core.health.neighbourhood, health.neighbourhood.map(|levels| levels.0));
        set(&mut core.health.records, health.records.map(|levels| levels.0));

        let lan = match (&network, realm) {
            (_, Some(Realms::Both)) => Some(core.on_lan()),
            (Network::Private(_), Some(Realms::Lan)) => {
                core = core.on_lan();
                None
            }
            _ => None,
        };

        let listen_is_default = listen.is_none();
        let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.map(String::from).to_vec());
        let listen = listen.iter().map(|text| parse::listen_addr(text));
        let listen = listen.collect::<Result<_, _>>().map_err(|error| format!("listen: {error}"))?;
        let bootstrap = bootstrap_addrs(&network, bootstrap.unwrap_or_else(|| vec!["auto".into()]))?;
        let bootstrap_url = bootstrap_url.map(|text| {
            text.parse::<PageUrl>().map_err(|error| format!("bootstrap_url: read {text:?}: {error}"))
        });
        let bootstrap_url = bootstrap_url.transpose()?;
        let keeps_local = lan.is_some() || core.protocol.addresses == AddressPolicy::Any;
        if mdns == Some(Switch::On) && !keeps_local {
            return Err("mdns: it finds peers of the local network, and this node is in the wide one only; use realm = \"both\"".into());
        }
        let is_local = network == Network::Lan || realm.is_some_and(|realm| realm != Realms::Wan);
        let mdns = mdns.map_or(is_local && keeps_local, |switch| switch == Switch::On);
        Ok(Self {
            network,
            core,
            lan,
            mode,
            listen,
            listen_is_default,
            bootstrap,
            bootstrap_file,
            bootstrap_url,
            mdns,
            asn_file,
        })
    }

    /// Reads `table.asn_file`, if there is one.
    pub(crate) fn asns(&self) -> Result<Option<Arc<AsnMap>>, Failure> {
        let Some(path) = &self.asn_file else { return Ok(None) };
        let name = path.display();
        let refused = |why: &dyn fmt::Display| Failure::usage(format!("table.asn_file: {name}: {why}"));
        let length = std::fs::metadata(path).map_err(|error| refused(&error))?.len();
        if length > ASN_FILE_BYTES_MAX {
            return Err(refused(&format!("{length} bytes, expected at most {ASN_FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
        AsnMap::parse(&text).map(|map| Some(Arc::new(map))).map_err(|error| refused(&error))
    }
}

fn trusted_peer(id: &str) -> Result<kadmos_core::PeerId, String> {
    let id =
        libp2p_identity::PeerId::from_str(id).map_err(|error| format!("table.trusted: {id}: {error}"))?;
    kadmos_core::PeerId::from_bytes(&id.to_bytes()).map_err(|error| format!("table.trusted: {id}: {error}"))
}

/// Overwrites `field` when there is something to overwrite it with.
fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn positive(key: &str, value: Option<usize>) -> Result<Option<NonZeroUsize>, String> {
    value
        .map(|value| NonZeroUsize::new(value).ok_or_else(|| format!("{key}: read 0, expected at least 1")))
        .transpose()
}

/// Expands `auto`, and drops repetitions.
fn bootstrap_addrs(network: &Network, entries: Vec<String>) -> Result<Vec<Multiaddr>, String> {
    let mut addrs: Vec<Multiaddr> = Vec::new();
    for entry in &entries {
        let own = [entry.as_str()];
        let expanded: &[&str] = match (entry.as_str(), network) {
            ("auto", Network::Amino) => &AMINO_BOOTSTRAP,
            ("auto", _) => &[],
            _ => &own,
        };
        for text in expanded {
            let addr = parse::bootstrap_addr(text).map_err(|error| format!("bootstrap: {error}"))?;
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
    }
    Ok(addrs)
}

fn read_file(path: &Path, explicit: bool) -> Result<FileConfig, Failure> {
    let advice = "check the path given by --config or KADMOS_CONFIG";
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                && !explicit =>
        {
            return Ok(FileConfig::default());
        }
        Err(error) => {
            let failure = Failure::io("read the configuration file", path, &error, advice);
            return Err(Failure { exit: Exit::Usage, ..failure });
        }
    };
    FileConfig::parse(&text)
        .map_err(|error| Failure::usage(format_args!("configuration file {}, {error}", path.display())))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {length} bytes, expected at most {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}

/// Where the configuration file is: the flag or variable, the home, systemd's directory, XDG's.
///
/// Returns the path and whether the person named it.
pub(crate) fn config_path(
    flag: Option<&Path>,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> (PathBuf, bool) {
    if let Some(path) = flag.map(Path::to_path_buf).or_else(|| variable("KADMOS_CONFIG")) {
        return (path, true);
    }
    let directory = variable("KADMOS_HOME")
        .or_else(|| variable("CONFIGURATION_DIRECTORY"))
        .or_else(|| variable("XDG_CONFIG_HOME").map(|base| base.join("kadmos")))
        .or_else(|| variable("HOME").map(|home| home.join(".config/kadmos")))
        .unwrap_or_else(|| PathBuf::from("/etc/kadmos"));
    (directory.join("config.toml"), false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn resolve(text: &str) -> Result<Settings, String> {
        Settings::resolve(FileConfig::parse(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn defaults_are_the_public_network() {
        let settings = resolve("").unwrap();
        let mut expected = Config::amino();
        expected.protocol.mode = Mode::Server;
        assert_eq!(settings.core, expected);
        assert_eq!(settings.bootstrap.len(), AMINO_BOOTSTRAP.len());
        assert_eq!(settings.listen.len(), LISTEN_DEFAULT.len());
        assert!(settings.listen_is_default);
    }

    #[test]
    fn auto_begins_as_a_client() {
        for (text, setting, mode) in [
            ("", ServeMode::Server, Mode::Server),
            ("mode = \"auto\"", ServeMode::Auto, Mode::Client),
            ("mode = \"client\"", ServeMode::Client, Mode::Client),
        ] {
            let settings = resolve(text).unwrap();
            assert_eq!((settings.mode, settings.core.protocol.mode), (setting, mode), "{text}");
        }
    }

    #[test]
    fn networks_set_protocol_and_bootstrap() {
        let lan = resolve("network = \"lan\"").unwrap();
        assert_eq!(lan.core.protocol.name, "/ipfs/lan/kad/1.0.0");
        assert!(lan.bootstrap.is_empty());
        let private = resolve("network = \"private:/acme/kad\"").unwrap();
        assert_eq!(private.core.protocol.name, "/acme/kad");
        for text in ["private:", "private:acme", "wan"] {
            assert!(Network::from_str(text).unwrap_err().contains("expected amino"), "{text}");
        }
        for text in ["amino", "lan", "private:/x"] {
            assert_eq!(Network::from_str(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn realms_are_the_network_its_local_one_or_both() {
        let names = |text: &str| {
            let settings = resolve(text).unwrap();
            let lan = settings.lan.map(|lan| (lan.protocol.name, lan.protocol.addresses));
            (settings.core.protocol.name, lan, settings.bootstrap.len())
        };
        let lan = |name: &str| Some((name.to_string(), AddressPolicy::Any));
        let (wan_id, lan_id) = ("/ipfs/kad/1.0.0".to_string(), "/ipfs/lan/kad/1.0.0");
        assert_eq!(names("realm = \"wan\""), (wan_id.clone(), None, AMINO_BOOTSTRAP.len()));
        assert_eq!(names("realm = \"both\""), (wan_id, lan(lan_id), AMINO_BOOTSTRAP.len()));
        assert_eq!(names("realm = \"lan\""), (lan_id.into(), None, 0));
        assert_eq!(names("network = \"lan\"\nrealm = \"lan\""), (lan_id.into(), None, 0));
        let private = "network = \"private:/acme/kad/1.0.0\"\n";
        let private = |realm: &str| names(&format!("{private}realm = \"{realm}\""));
        assert_eq!(private("both"), ("/acme/kad/1.0.0".into(), lan("/acme/lan/kad/1.0.0"), 0));
        assert_eq!(private("lan"), ("/acme/lan/kad/1.0.0".into(), None, 0));
        for realm in ["wan", "both"] {
            let error = resolve(&format!("network = \"lan\"\nrealm = \"{realm}\"")).unwrap_err();
            assert!(error.contains("network = \"amino\""), "{error}");
        }
        let both = resolve("realm = \"both\"\nmode = \"client\"\n[lookup]\nalpha = 3").unwrap();
        let lan = both.lan.unwrap();
        assert_eq!(
            (lan.lookup.alpha.get(), lan.protocol.mode),
            (3, Mode::Client),
            "the other keys are for both"
        );
    }

    #[test]
    fn the_local_network_is_searched_by_who_is_in_it() {
        let private = "network = \"private:/acme/kad/1.0.0\"\n";
        for (text, expected) in [
            (String::new(), false),
            ("network = \"lan\"".into(), true),
            ("network = \"lan\"\nmdns = \"off\"".into(), false),
            ("realm = \"both\"".into(), true),
            ("realm = \"lan\"".into(), true),
            (private.into(), false),
            (format!("{private}mdns = \"on\""), true),
            (format!("{private}realm = \"both\""), true),
            ("network = \"lan\"\n[protocol]\naddresses = \"public\"".into(), false),
        ] {
            assert_eq!(resolve(&text).unwrap().mdns, expected, "{text}");
        }
    }

    /// Sets every key of the file to something else than its default and finds each of them in the result. A new
    /// field of the core's configuration stops this test from compiling until it has a key or a reason.
    #[test]
    fn every_key_reaches_the_core() {
        let text = r#"
            network = "private:/x"
            mode = "client"
            [protocol]
            message_bytes_max = "64KiB"
            addresses = "public"
            [lookup]
            k = 8
            alpha = 4
            beta = 2
            request_timeout = "1s"
            follow_up_timeout = "2s"
            deadline = "3s"
            quorum = 5
            [table]
            bucket_size = 9
            failures_max = 7
            refresh_interval = "4s"
            probe_after = "5s"
            probe_unproven_after = "6s"
            probes_per_minute = 31
            strangers_per_minute = 32
            peers_min = 3
            neighbours = 21
            top_buckets = [128, 64]
            group_per_bucket = 11
            group_per_table = 12
            group_per_reply = 13
            trusted = ["QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"]
            asn_file = "asn.txt"
            [records]
            value_age_max = "1h"
            provider_age_max = "2h"
            provider_addrs_age_max = "3h"
            [retry]
            attempts = 6
            first = "6s"
            factor_percent = 150
            cap = "7s"
            jitter_percent = 11
            [health]
            interval = "8s"
            rounds_worse = 12
            rounds_better = 13
            recovery = "off"
            recovery_interval = "9s"
            samples_min = 14
            table = "61/11"
            stale = "12/62"
            one_network = "13/63"
            lookups = "64%/14%"
            requests = "65/15"
            neighbourhood = "66/16"
            records = "67/17"
        "#;
        let settings = resolve(text).unwrap();
        assert_eq!(settings.asn_file.as_deref(), Some(Path::new("asn.txt")));
        let Config { protocol, lookup, table, records, retry, health, seed } = settings.core;
        let kadmos_core::config::ProtocolConfig { name, message_bytes_max, addresses, mode } = protocol;
        assert_eq!((name.as_str(), message_bytes_max), ("/x", 64 << 10));
        assert_eq!((addresses, mode), (AddressPolicy::Public, Mode::Client));
        let kadmos_core::config::LookupConfig {
            k,
            alpha,
            beta,
            request_timeout,
            follow_up_timeout,
            deadline,
            quorum,
        } = lookup;
        assert_eq!((k.get(), alpha.get(), beta.get(), quorum), (8, 4, 2, 5));
        assert_eq!([request_timeout, follow_up_timeout, deadline], [1, 2, 3].map(Duration::from_secs));
        let kadmos_core::config::TableConfig {
            bucket_size,
            failures_max,
            refresh_interval,
            probe_after,
            probe_unproven_after,
            probes_per_minute,
            strangers_per_minute,
            peers_min,
            neighbours,
            top_buckets,
            group_per_bucket,
            group_per_table,
            group_per_reply,
            trusted,
        } = table;
        assert_eq!((probes_per_minute, strangers_per_minute, neighbours), (31, 32, 21));
        assert_eq!((top_buckets, group_per_bucket), (vec![128, 64], 11));
        assert_eq!((group_per_table, group_per_reply, trusted.len()), (12, 13, 1));
        assert_eq!(probe_unproven_after, Duration::from_secs(6));
        assert_eq!((bucket_size.get(), failures_max, peers_min), (9, 7, 3));
        assert_eq!([refresh_interval, probe_after], [4, 5].map(Duration::from_secs));
        let kadmos_core::config::RecordConfig { value_age_max, provider_age_max, provider_addrs_age_max } =
            records;
        let hours = [value_age_max, provider_age_max, provider_addrs_age_max];
        assert_eq!(hours, [3_600, 7_200, 10_800].map(Duration::from_secs));
        let kadmos_core::RetryPolicy { attempts, first, factor_percent, cap, jitter_percent } = retry;
        assert_eq!((attempts, factor_percent, jitter_percent), (6, 150, 11));
        assert_eq!([first, cap], [6, 7].map(Duration::from_secs));
        let limits = kadmos_core::health::Limits::new;
        let expected = kadmos_core::HealthConfig {
            interval: Duration::from_secs(8),
            rounds_worse: 12,
            rounds_better: 13,
            recovery: false,
            recovery_interval: Duration::from_secs(9),
            samples_min: 14,
            table: limits(61, 11),
            stale: limits(12, 62),
            one_network: limits(13, 63),
            lookups: limits(64, 14),
            requests: limits(65, 15),
            neighbourhood: limits(66, 16),
            records: limits(67, 17),
        };
        assert_eq!(health, expected);
        assert_eq!(seed, 0, "the seed has no key: a node on a real network draws its own");
    }

    #[test]
    fn bad_values_name_their_key() {
        for (text, expected) in [
            ("network = \"x\"", "network: read \"x\""),
            ("bootstrap = [\"/ip4/1.2.3.4/tcp/1\"]", "bootstrap: read"),
            ("listen = [\"4001\"]", "listen: read"),
            ("mdns = \"on\"", "mdns: it finds peers of the local network"),
            ("bootstrap_url = \"a.example/peers\"", "bootstrap_url: read \"a.example/peers\": "),
            ("[lookup]\nk = 0", "lookup.k: read 0"),
            ("[table]\ntrusted = [\"x\"]", "table.trusted: x"),
            ("[health]\ntable = \"75\"", "line 2, column 9: read \"75\", expected two percentages"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn flags_beat_variables_beat_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "network = \"lan\"\nmode = \"client\"\n[lookup]\nalpha = 3\nbeta = 2\n")
            .unwrap();
        let environment =
            [("KADMOS_LOOKUP_ALPHA", "5"), ("KADMOS_NETWORK", "amino"), ("KADMOS_SERVICE_HOST", "10.0.0.1")]
                .map(|(name, value)| (name.to_string(), value.to_string()));
        let flags = Flags { network: Some("private:/x".into()), ..Flags::default() };
        let settings = Settings::load(&path, true, environment, flags).unwrap();
        assert_eq!(settings.network, Network::Private("/x".into()));
        assert_eq!((settings.core.lookup.alpha.get(), settings.core.lookup.beta.get()), (5, 2));
        assert_eq!(settings.core.protocol.mode, Mode::Client);
    }

    #[test]
    fn a_named_file_must_exist_and_parse() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        assert!(Settings::load(&path, false, [], Flags::default()).is_ok());
        let failure = Settings::load(&path, true, [], Flags::default()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        std::fs::write(&path, "[lookup]\nalhpa = 3\n").unwrap();
        let failure = Settings::load(&path, false, [], Flags::default()).unwrap_err();
        assert!(failure.message.contains("config.toml, line 2, column 1: unknown key `alhpa`"), "{failure}");
        let variable = ("KADMOS_LOOKUP_ALPHA".to_string(), "x".to_string());
        std::fs::write(&path, "").unwrap();
        let failure = Settings::load(&path, false, [variable], Flags::default()).unwrap_err();
        assert!(failure.message.starts_with("environment variable KADMOS_LOOKUP_ALPHA: "), "{failure}");
    }

    #[test]
    fn the_file_is_found_in_order() {
        let variables = [
            ("KADMOS_CONFIG", "/c"),
            ("KADMOS_HOME", "/h"),
            ("CONFIGURATION_DIRECTORY", "/s"),
            ("XDG_CONFIG_HOME", "/x"),
            ("HOME", "/u"),
        ];
        let expected = [
            "/c",
            "/h/config.toml",
            "/s/config.toml",
            "/x/kadmos/config.toml",
            "/u/.config/kadmos/config.toml",
        ];
        for (skipped, path) in expected.iter().enumerate() {
            let lookup = |name: &str| {
                let known = variables[skipped..].iter().find(|(known, _)| *known == name);
                known.map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(config_path(None, lookup), (PathBuf::from(path), skipped == 0));
        }
        assert_eq!(config_path(Some(Path::new("/f")), |_| None), (PathBuf::from("/f"), true));
    }
}
