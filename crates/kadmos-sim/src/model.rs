//! What the network does to hosts, dials and messages, beyond round trips. Every number is a constant with its source.
//!
//! [`Model::calm`] is a network in which nothing goes wrong by itself; [`Model::amino`] is the public network as far as
//! it has been measured. Both are plain data: a study that asks how much a conclusion depends on one number changes
//! that number.

pub mod sessions;

use std::time::Duration;

use kadmos_core::Key;
use serde::{Deserialize, Serialize};

pub use self::sessions::{SessionClass, Sessions};
use crate::network::{CONNECTION_IDLE, DIAL_TIMEOUT};
use crate::random::{below, child};

/// A dial at which nothing answers, by TCP. Source: go-libp2p `tcp` transport, connect time-out of 5 s; libp2p-quic
/// 0.14, `handshake_timeout`.
pub const DIAL_SHORT: Duration = DIAL_TIMEOUT;
/// A dial of one address that hangs. Source: go-libp2p `swarm`, `defaultDialTimeout`.
pub const DIAL_MEDIUM: Duration = Duration::from_secs(15);
/// A dial of a peer all of whose addresses hang. Source: go-libp2p `network.DialPeerTimeout`.
pub const DIAL_LONG: Duration = Duration::from_secs(60);

/// How a dial to somebody who does not answer ends on the public network, per mille: refused after a round trip, or
/// after [`DIAL_SHORT`], [`DIAL_MEDIUM`], [`DIAL_LONG`]. The true mix is unpublished. Source: own choice, fitted to
/// ProbeLab's Parsec, whose classic provides took 10.6 to 10.9 s at p50, 27 to 31 s at p90 and 121 to 126 s at p99: twice
/// each of the three, because go dials a dead holder in the follow-up and again for the send. `kadmos sim study provide`
/// holds the modelled go to it.
pub const AMINO_DEAD_DIALS: DeadDials = DeadDials { refused: 480, short: 445, medium: 60, long: 15 };

/// Ids per mille that tables hand out and nobody answers at. Source: ProbeLab RFM19, April 2022: 15,371 of 20,811
/// servers seen could be reached.
pub const AMINO_UNDIALABLE_PER_MILLE: u32 = 260;

/// Servers per mille that take their time. Source: own choice, fitted as [`AMINO_DEAD_DIALS`].
pub const AMINO_SLOW_PER_MILLE: u32 = 60;
/// What a slow server adds to each answer, in milliseconds. Source: as [`AMINO_SLOW_PER_MILLE`].
pub const AMINO_SLOW_MS: (u64, u64) = (300, 3_000);

/// Servers per mille that took connections and never answered, in the worst incident on record. Source: the report of
/// January 2023, blog.ipfs.tech/2023-ipfs-unresponsive-nodes.
pub const INCIDENT_MUTE_PER_MILLE: u32 = 600;

/// Messages per mille that are lost on the way. Source: own choice; loss between the peers of a public DHT is
/// unpublished, and access networks are commonly measured at a few per mille.
pub const AMINO_LOSS_PER_MILLE: u32 = 5;
/// Both transports repeat what is lost, so a loss is a delay: three round trips and the peer's delay of
/// acknowledgement, doubled each further time. Source: RFC 9002, 6.2.1, with the variance of a young connection.
pub const RETRANSMIT_ROUND_TRIPS: u32 = 3;
/// See [`RETRANSMIT_ROUND_TRIPS`]. Source: RFC 9000, 18.2, `max_ack_delay`.
pub const ACK_DELAY: Duration = Duration::from_millis(25);
/// After this many losses in a row the message does not arrive at all: the request's own time-out has long passed.
pub const RETRANSMITS_MAX: u32 = 6;

/// A connection over which nothing arrives any more breaks after this long. Source: libp2p-quic 0.14,
/// `max_idle_timeout`.
pub const CONNECTION_SILENT: Duration = Duration::from_secs(10);

/// Hosts per mille that are reached by TCP only. Unpublished. Source: own choice; QUIC has been on by default in go's
/// servers since 2022.
pub const AMINO_TCP_PER_MILLE: u32 = 100;
/// Round trips that TCP with its upgrades takes beyond QUIC's one: TCP's own, then the security handshake and the
/// muxer. Source: counted from go-libp2p's upgrader (5 round trips to the first answer, against 3 with QUIC).
pub const TCP_ROUND_TRIPS: u32 = 2;

/// Servers that share a /16 network. More than half of the public network's addresses lie in five autonomous systems
/// (SIGCOMM 2022, arXiv 2208.05877); how they spread over /16 networks is unpublished. Source: own choice.
pub const AMINO_HOSTS_PER_GROUP: u32 = 4;

/// Connections a node keeps before the oldest idle one is closed. Source: Kubo, `Swarm.ConnMgr.HighWater`.
pub const AMINO_CONNECTIONS_MAX: u32 = 96;

/// A QUIC connection that is open sends a packet this often to stay so. Source: libp2p-quic 0.14,
/// `keep_alive_interval`.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Round trips from the decision to ask until the answer, without and with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopCosts {
    /// Without a connection, over QUIC.
    pub cold: u32,
    /// With one. At least 1, at most `cold`.
    pub warm: u32,
}

impl HopCosts {
    /// Kadmos: one round trip for QUIC's handshake, one for a request on a stream negotiated lazily.
    pub const KADMOS: Self = Self { cold: 2, warm: 1 };
    /// go-libp2p-kad-dht: as Kadmos, and it waits for identify before its first request.
    pub const GO: Self = Self { cold: 3, warm: 1 };
    /// rust-libp2p-kad: every request opens a stream and negotiates it before it sends.
    pub const RUST_LIBP2P: Self = Self { cold: 3, warm: 2 };

    /// Round trips until the first request may be negotiated.
    pub(crate) fn handshake(self, transport: Transport) -> u32 {
        let upgrade = if transport == Transport::Tcp { TCP_ROUND_TRIPS } else { 0 };
        self.cold.saturating_sub(self.warm).max(1) + upgrade
    }

    /// Round trips that a request waits on a connection before it leaves.
    pub(crate) fn negotiation(self) -> u32 {
        self.warm.saturating_sub(1)
    }
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// By QUIC.
    Quic,
    /// By TCP only.
    Tcp,
}

/// How dials to somebody who does not answer end, per mille; sums to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadDials {
    /// Refused after one round trip.
    pub refused: u32,
    /// Failed after [`DIAL_SHORT`].
    pub short: u32,
    /// Failed after [`DIAL_MEDIUM`].
    pub medium: u32,
    /// Failed after [`DIAL_LONG`].
    pub long: u32,
}

/// How one dial to somebody who does not answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadDial {
    /// Refused after one round trip.
    Refused,
    /// Failed after this long.
    After(Duration),
}

impl DeadDials {
    /// Every dial is refused.
    pub const REFUSED: Self = Self { refused: 1_000, short: 0, medium: 0, long: 0 };
    /// Every dial hangs for [`DIAL_SHORT`].
    pub const SHORT: Self = Self { refused: 0, short: 1_000, medium: 0, long: 0 };

    /// How dials to the owner of `key` end: always alike, because a host's firewall does not change its mind.
    pub fn of(&self, key: &Key) -> DeadDial {
        let bytes = key.as_bytes();
        // Bytes that no bucket looks at.
        let ticket = u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) % 1_000;
        if ticket < self.refused {
            DeadDial::Refused
        } else if ticket < self.refused + self.short {
            DeadDial::After(DIAL_SHORT)
        } else if ticket < self.refused + self.short + self.medium {
            DeadDial::After(DIAL_MEDIUM)
        } else {
            DeadDial::After(DIAL_LONG)
        }
    }
}

/// What the network does. Two presets, [`Model::calm`] and [`Model::amino`]; the default is calm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Round trips as hundredths of those in [`crate::network`].
    pub round_trip_percent: u32,
    /// What a hop costs those who were not given costs of their own.
    pub hops: HopCosts,
    /// Hosts per mille that are reached by TCP only.
    pub tcp_per_mille: u32,
    /// How dials end to a host whose node has stopped.
    pub stopped_dials: DeadDials,
    /// How dials end to an id that nobody has, or at an address where it is not.
    pub unknown_dials: DeadDials,
    /// Of the ids that servers name, how many per mille nobody answers at; below 1,000.
    pub undialable_per_mille: u32,
    /// Servers per mille that are slow.
    pub slow_per_mille: u32,
    /// What a slow server adds to each answer, from and below, in milliseconds.
    pub slow_ms: (u64, u64),
    /// Servers per mille that take connections and requests and answer none.
    pub mute_per_mille: u32,
    /// Messages per mille that are lost, and repeated by the transport.
    pub loss_per_mille: u32,
    /// How long nodes stay, if they come and go.
    pub sessions: Option<Sessions>,
    /// Hosts that share a /16 network; at least 1.
    pub hosts_per_group: u32,
    /// Connections of a node before the oldest idle one is closed.
    pub connections_max: Option<u32>,
    /// An unused connection closes after this many milliseconds.
    pub connection_idle_ms: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self::calm()
    }
}

/// What one host is like, beyond its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// How it is reached.
    pub transport: Transport,
    /// What it adds to each answer.
    pub slow: Duration,
    /// Whether it answers nothing.
    pub mute: bool,
}

impl Traits {
    /// A host without peculiarities.
    pub const PLAIN: Self = Self { transport: Transport::Quic, slow: Duration::ZERO, mute: false };
}

impl Model {
    /// A network in which nothing is lost and everybody answers; who stops refuses dials.
    pub fn calm() -> Self {
        Self {
            round_trip_percent: 100,
            hops: HopCosts::KADMOS,
            tcp_per_mille: 0,
            stopped_dials: DeadDials::REFUSED,
            unknown_dials: DeadDials::SHORT,
            undialable_per_mille: 0,
            slow_per_mille: 0,
            slow_ms: (0, 0),
            mute_per_mille: 0,
            loss_per_mille: 0,
            sessions: None,
            hosts_per_group: 1,
            connections_max: None,
            connection_idle_ms: CONNECTION_IDLE.as_millis() as u64, // 10,000
        }
    }

    /// The public network of IPFS. Nobody comes or goes until [`crate::World::churn`] is called.
    pub fn amino() -> Self {
        Self {
            tcp_per_mille: AMINO_TCP_PER_MILLE,
            stopped_dials: AMINO_DEAD_DIALS,
            unknown_dials: AMINO_DEAD_DIALS,
            undialable_per_mille: AMINO_UNDIALABLE_PER_MILLE,
            slow_per_mille: AMINO_SLOW_PER_MILLE,
            slow_ms: AMINO_SLOW_MS,
            loss_per_mille: AMINO_LOSS_PER_MILLE,
            sessions: Some(Sessions::AMINO),
            hosts_per_group: AMINO_HOSTS_PER_GROUP,
            connections_max: Some(AMINO_CONNECTIONS_MAX),
            ..Self::calm()
        }
    }

    /// Sensitivity: the network is half as large.
    #[must_use]
    pub fn half_round_trips(self) -> Self {
        Self { round_trip_percent: self.round_trip_percent / 2, ..self }
    }

    /// Sensitivity: a tenth of the ids in circulation is dead.
    #[must_use]
    pub fn tenth_dead(self) -> Self {
        Self { undialable_per_mille: 100, ..self }
    }

    /// Sensitivity: dials that fail do so at once.
    #[must_use]
    pub fn refused_fast(self) -> Self {
        Self { stopped_dials: DeadDials::REFUSED, unknown_dials: DeadDials::REFUSED, ..self }
    }

    /// January 2023: most servers take connections and answer nothing.
    #[must_use]
    pub fn mute_incident(self) -> Self {
        Self { mute_per_mille: INCIDENT_MUTE_PER_MILLE, ..self }
    }

    /// What host number `index` of the world seeded with `seed` is like.
    pub fn traits(&self, seed: u64, index: u32) -> Traits {
        if self.tcp_per_mille + self.slow_per_mille + self.mute_per_mille == 0 {
            return Traits::PLAIN;
        }
        let mut rng = child(seed, "traits", u64::from(index));
        // Every number is drawn, so that changing one share changes nothing else.
        let [tcp, slow, mute] = [(); 3].map(|()| below(&mut rng, 1_000) as u32); // below 1,000
        let (from, to) = self.slow_ms;
        let slow_ms = from + below(&mut rng, to.saturating_sub(from));
        Traits {
            transport: if tcp < self.tcp_per_mille { Transport::Tcp } else { Transport::Quic },
            slow: Duration::from_millis(if slow < self.slow_per_mille { slow_ms } else { 0 }),
            mute: mute < self.mute_per_mille,
        }
    }

    /// Of `live` ids that answer, how many are joined by ids that nobody answers at.
    pub(crate) fn undialable_for(&self, live: usize) -> usize {
        let dead = self.undialable_per_mille.min(999) as usize;
        live * dead / (1_000 - dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_dials_have_their_shares() {
        let mut counts = std::collections::BTreeMap::new();
        for index in 0u32..10_000 {
            let outcome = AMINO_DEAD_DIALS.of(&Key::of(&index.to_be_bytes()));
            *counts.entry(format!("{outcome:?}")).or_insert(0u32) += 1;
        }
        for (outcome, expected) in [
            (DeadDial::Refused, 480),
            (DeadDial::After(DIAL_SHORT), 445),
            (DeadDial::After(DIAL_MEDIUM), 60),
            (DeadDial::After(DIAL_LONG), 15),
        ] {
            let got = counts[&format!("{outcome:?}")];
            assert!(got.abs_diff(expected * 10) < 200, "{outcome:?}: {got}");
        }
    }

    #[test]
    fn traits_have_their_shares_and_calm_has_none() {
        let amino = Model { mute_per_mille: 100, ..Model::amino() };
        let traits: Vec<_> = (0..5_000).map(|index| amino.traits(1, index)).collect();
        let count = |is: fn(&Traits) -> bool| traits.iter().filter(|traits| is(traits)).count();
        assert!((400..600).contains(&count(|traits| traits.transport == Transport::Tcp)));
        assert!((230..370).contains(&count(|traits| !traits.slow.is_zero())));
        assert!((400..600).contains(&count(|traits| traits.mute)));
        assert!(traits.iter().all(|traits| traits.slow < Duration::from_secs(3)));
        assert!((0..100).all(|index| Model::calm().traits(1, index) == Traits::PLAIN));
        assert_eq!(traits[..9], (0..9).map(|index| amino.traits(1, index)).collect::<Vec<_>>());
    }

    #[test]
    fn hop_costs_split_into_handshake_and_negotiation() {
        for (costs, transport, handshake, negotiation) in [
            (HopCosts::KADMOS, Transport::Quic, 1, 0),
            (HopCosts::GO, Transport::Quic, 2, 0),
            (HopCosts::GO, Transport::Tcp, 4, 0),
            (HopCosts::RUST_LIBP2P, Transport::Quic, 1, 1),
        ] {
            assert_eq!((costs.handshake(transport), costs.negotiation()), (handshake, negotiation));
        }
    }

    #[test]
    fn undialable_are_the_named_share_of_all() {
        assert_eq!(Model::amino().undialable_for(740), 260);
        assert_eq!(Model::amino().tenth_dead().undialable_for(90), 10);
        assert_eq!(Model::calm().undialable_for(1_000), 0);
    }

    #[test]
    fn models_are_read_by_name_and_strangers_refused() {
        let text = serde_json::to_string(&Model::amino()).expect("plain data");
        assert_eq!(serde_json::from_str::<Model>(&text).expect("as written"), Model::amino());
        let calm_but = serde_json::from_str::<Model>(r#"{"loss_per_mille": 7}"#).expect("a field");
        assert_eq!(calm_but, Model { loss_per_mille: 7, ..Model::calm() });
        assert!(serde_json::from_str::<Model>(r#"{"los_per_mille": 7}"#).is_err());
    }
}
