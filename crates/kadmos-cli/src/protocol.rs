//! What commands ask and what comes back: one set of types for the daemon's socket and for `--json`.
//!
//! On the socket each request and each event is one line of JSON. A client sends a request, reads events until
//! [`Event::End`] or [`Event::Failure`], and may then send the next. Closing the connection cancels what is running.
//! `docs/cli.md` describes every form; its names and versions are stable.

use libp2p_core::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::status::Status;

/// Longest line on the socket, either way. A value of 64 KiB is 86 KiB in base64; a provider has at most 8 KiB of
/// addresses, and a report on k peers some 10 KiB.
pub(crate) const LINE_BYTES_MAX: usize = 256 << 10;

/// A request, as a line on the socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestLine {
    /// Name and version of this form.
    pub(crate) schema: RequestSchema,
    /// Ends the command after this long; the node's own deadline without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<f64>,
    /// What to do.
    pub(crate) command: Request,
}

/// The versions of [`RequestLine`] that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RequestSchema {
    /// The first.
    #[serde(rename = "kadmos.request/1")]
    V1,
}

/// Something to do on the network. Text is in the forms that the command line takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who the node is; answered with [`Event::Node`].
    Id {},
    /// How well the node is; answered with [`Event::Status`].
    Status {},
    /// End serving, then the daemon; answered with [`Event::Drained`].
    Drain {
        /// Requests of others that take longer are cut off.
        deadline_seconds: f64,
    },
    /// Answered with one [`Event::Peer`].
    FindPeer {
        /// Whom.
        peer: String,
    },
    /// Answered with [`Event::Provider`]s.
    FindProviders {
        /// CID or multihash.
        content: String,
        /// End after this many; 0 walks to the end.
        count: usize,
    },
    /// Answered with [`Event::Published`].
    Provide {
        /// CID or multihash.
        content: String,
    },
    /// Answered with [`Event::Value`].
    Get {
        /// Record key.
        key: String,
        /// Valid answers to end after.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quorum: Option<usize>,
    },
    /// Answered with [`Event::Published`].
    Put {
        /// Record key.
        key: String,
        /// The record's bytes in base64.
        value_base64: String,
    },
    /// Answered with [`Event::ClosestPeer`]s.
    Closest {
        /// CID, multihash, peer id or record key.
        key: String,
    },
    /// Answered with [`Event::Pong`]s.
    Ping {
        /// Peer id or address.
        peer: String,
        /// How often.
        count: u32,
    },
}

/// Something that a command found or did. The tag names the form and its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schema")]
pub(crate) enum Event {
    /// Of [`Request::Id`].
    #[serde(rename = "kadmos.node/1")]
    Node(NodeInfo),
    /// Of [`Request::Status`].
    #[serde(rename = "kadmos.status/1")]
    Status(Box<Status>),
    /// Of [`Request::Drain`].
    #[serde(rename = "kadmos.drained/1")]
    Drained {
        /// Streams of others that were cut off.
        cut_off: usize,
    },
    /// Of [`Request::FindPeer`].
    #[serde(rename = "kadmos.peer/1")]
    Peer(PeerEntry),
    /// Of [`Request::FindProviders`].
    #[serde(rename = "kadmos.provider/1")]
    Provider(PeerEntry),
    /// Of [`Request::Closest`].
    #[serde(rename = "kadmos.closest-peer/1")]
    ClosestPeer(ClosestPeer),
    /// Of [`Request::Get`].
    #[serde(rename = "kadmos.value/1")]
    Value(Value),
    /// Of [`Request::Provide`] and [`Request::Put`].
    #[serde(rename = "kadmos.published/1")]
    Published(Published),
    /// Of [`Request::Ping`].
    #[serde(rename = "kadmos.pong/1")]
    Pong(Pong),
    /// The last line of a command that failed.
    #[serde(rename = "kadmos.failure/1")]
    Failure(Failure),
    /// The last line of a command that did not fail.
    #[serde(rename = "kadmos.end/1")]
    End {
        /// How long it took.
        elapsed_seconds: f64,
    },
}

/// A node and its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeInfo {
    /// In base58.
    pub(crate) id: String,
    /// As CIDv1, the form of IPNS names.
    pub(crate) ipns_name: String,
    /// `ed25519`, `rsa`, …
    pub(crate) key_type: String,
    /// Whether a daemon runs; without one the rest is unknown.
    pub(crate) running: bool,
    /// Where it listens, each with `/p2p/<id>`.
    #[serde(default)]
    pub(crate) addrs: Vec<Multiaddr>,
    /// Protocol id of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
    /// `client` or `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    /// Peers in its routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peers: Option<usize>,
    /// The program's version.
    pub(crate) version: String,
}

/// A peer and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerEntry {
    /// In base58.
    pub(crate) id: String,
    /// Without `/p2p`; may be empty.
    pub(crate) addrs: Vec<Multiaddr>,
}

/// A peer close to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosestPeer {
    /// 1 for the closest.
    pub(crate) rank: usize,
    /// In base58.
    pub(crate) id: String,
    /// Leading bits that its key shares with the key looked up, 0 to 256.
    pub(crate) common_prefix_len: u16,
    /// Without `/p2p`.
    pub(crate) addrs: Vec<Multiaddr>,
}

/// A value found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Value {
    /// The key as it was asked for.
    pub(crate) key: String,
    /// The record's bytes.
    pub(crate) value_base64: String,
    /// What they say, for namespaces that are known.
    #[serde(flatten)]
    pub(crate) meaning: Meaning,
    /// Who had the value, in base58; absent for the node's own store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Valid answers, the node's own store included.
    pub(crate) answers: usize,
    /// Peers that were sent the value because they held a worse one, or none.
    pub(crate) corrected: usize,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Meaning {
    /// Of `/ipns`.
    Ipns(IpnsMeaning),
    /// Of `/pk`.
    PublicKey {
        /// `ed25519`, `rsa`, …
        key_type: String,
        /// The peer whose key it is, in base58.
        id: String,
    },
    /// Of any other namespace.
    Bytes {
        /// How many.
        length: usize,
    },
}

/// What an IPNS record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IpnsMeaning {
    /// What the name points at.
    pub(crate) path: String,
    /// Counts the owner's changes.
    pub(crate) sequence: u64,
    /// RFC 3339.
    pub(crate) valid_until: String,
    /// How long to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_seconds: Option<u64>,
}

/// What became of a record that was sent out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// What was published, as it was given.
    pub(crate) key: String,
    /// Peers that were to hold it.
    pub(crate) attempted: usize,
    /// Peers to which it was sent.
    pub(crate) sent: usize,
    /// Peers that proved that they took it; 0 for provider records, which have no answer.
    pub(crate) stored: usize,
    /// Who holds it, as far as is known.
    pub(crate) holders: Vec<String>,
    /// Who does not, and why.
    pub(crate) failed: Vec<FailedPeer>,
}

/// A peer that did not take a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedPeer {
    /// In base58.
    pub(crate) id: String,
    /// Stable label: `timed_out`, `unreachable`, …
    pub(crate) reason: String,
}

/// A ping that came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pong {
    /// In base58.
    pub(crate) id: String,
    /// 1 for the first.
    pub(crate) sequence: u32,
    /// The round trip.
    pub(crate) rtt_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// The forms that scripts rely on, byte for byte.
    #[test]
    fn lines_have_their_documented_form() {
        let request = RequestLine {
            schema: RequestSchema::V1,
            timeout_seconds: Some(1.5),
            command: Request::FindProviders { content: "bafy".into(), count: 3 },
        };
        let line = r#"{"schema":"kadmos.request/1","timeout_seconds":1.5,"command":{"find-providers":{"content":"bafy","count":3}}}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<RequestLine>(line).unwrap(), request);

        let event = Event::Provider(PeerEntry {
            id: "12D3".into(),
            addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        });
        let line = r#"{"schema":"kadmos.provider/1","id":"12D3","addrs":["/ip4/127.0.0.1/tcp/1"]}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);

        let event = Event::Failure(Failure::new(Exit::NotFound, "nobody"));
        let line = r#"{"schema":"kadmos.failure/1","exit":"not_found","message":"nobody"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
    }

    #[test]
    fn values_carry_their_meaning() {
        let event = Event::Value(Value {
            key: "/ipns/k51".into(),
            value_base64: "AA==".into(),
            meaning: Meaning::Ipns(IpnsMeaning {
                path: "/ipfs/bafy".into(),
                sequence: 1,
                valid_until: "2026-11-24T10:25:12Z".into(),
                ttl_seconds: Some(300),
            }),
            from: None,
            answers: 1,
            corrected: 0,
        });
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.contains(r#""kind":"ipns","path":"/ipfs/bafy""#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn strange_requests_are_refused() {
        for line in [
            r#"{"schema":"kadmos.request/2","command":{"id":{}}}"#,
            r#"{"schema":"kadmos.request/1","command":{"id":{}},"more":1}"#,
            r#"{"schema":"kadmos.request/1","command":{"id":{"more":1}}}"#,
            r#"{"schema":"kadmos.request/1","command":{"format-disk":{}}}"#,
            r#"{"command":{"id":{}}}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<RequestLine>(line).is_err(), "{line}");
        }
        assert!(
            serde_json::from_str::<RequestLine>(r#"{"schema":"kadmos.request/1","command":{"id":{}}}"#)
                .is_ok()
        );
    }
}
