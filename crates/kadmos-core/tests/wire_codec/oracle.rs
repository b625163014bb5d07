//! The schema as prost reads and writes it, and our rules on top of it, written a second time.
//!
//! The fuzz crate includes this file as well.

use bytes::Bytes;
use kadmos_core::limits::{
    CLOSER_PEERS_MAX, KEY_BYTES_MAX, PROVIDER_KEY_BYTES_MAX, PROVIDERS_MAX, VALUE_BYTES_MAX,
};
use kadmos_core::message::{self, MessageKind, Request, Response};
use kadmos_core::wire::{DecodeError, Decoded, Dropped};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo, UnixTime};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub record: Option<Record>,
    #[prost(message, repeated, tag = "8")]
    pub closer_peers: Vec<WirePeer>,
    #[prost(message, repeated, tag = "9")]
    pub provider_peers: Vec<WirePeer>,
    #[prost(int32, tag = "10")]
    pub cluster_level_raw: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(string, tag = "5")]
    pub time_received: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WirePeer {
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addrs: Vec<Vec<u8>>,
    #[prost(int32, tag = "3")]
    pub connection: i32,
}

/// What [`kadmos_core::wire::decode_request`] must make of a message.
pub fn expected_request(message: &Message) -> Result<Decoded<Request>, DecodeError> {
    let kind = kind(message)?;
    let key = Bytes::copy_from_slice(&message.key);
    let max = match kind {
        MessageKind::AddProvider | MessageKind::GetProviders => PROVIDER_KEY_BYTES_MAX,
        _ => KEY_BYTES_MAX,
    };
    if kind != MessageKind::Ping && (key.is_empty() || key.len() > max) {
        return Err(DecodeError::KeyLength { got: key.len(), max });
    }
    let mut dropped = Dropped::default();
    let message = match kind {
        MessageKind::PutValue => match &message.record {
            None => return Err(DecodeError::NoRecord),
            Some(record) if record.key != message.key => return Err(DecodeError::KeyMismatch),
            Some(record) => Request::PutValue { record: expected_record(record)? },
        },
        MessageKind::GetValue => Request::GetValue { key },
        MessageKind::AddProvider => Request::AddProvider { key, providers: providers(message, &mut dropped) },
        MessageKind::GetProviders => Request::GetProviders { key },
        MessageKind::FindNode => Request::FindNode { key },
        MessageKind::Ping => Request::Ping,
    };
    Ok(Decoded { message, dropped })
}

/// What [`kadmos_core::wire::decode_response`] must make of a message.
pub fn expected_response(message: &Message, expected: MessageKind) -> Result<Decoded<Response>, DecodeError> {
    let kind = kind(message)?;
    let mut dropped = Dropped::default();
    let message = match kind {
        MessageKind::AddProvider => Response::AddProvider,
        got if got != expected => return Err(DecodeError::WrongResponse { got, expected }),
        MessageKind::PutValue => {
            Response::PutValue { record: message.record.as_ref().map(expected_record).transpose()? }
        }
        MessageKind::GetValue => Response::GetValue {
            record: message.record.as_ref().map(expected_record).transpose()?,
            received: None,
            closer: closer(message, &mut dropped),
        },
        MessageKind::GetProviders => Response::GetProviders {
            providers: providers(message, &mut dropped),
            closer: closer(message, &mut dropped),
        },
        MessageKind::FindNode => Response::FindNode { closer: closer(message, &mut dropped) },
        MessageKind::Ping => Response::Ping,
    };
    Ok(Decoded { message, dropped })
}

/// The message that [`kadmos_core::wire::encode_request`] must write.
pub fn message_of_request(request: &Request) -> Message {
    let mut message =
        Message { kind: request.kind() as i32, key: request.key().to_vec(), ..Message::default() };
    match request {
        Request::PutValue { record } => message.record = Some(wire_record(record, None)),
        Request::AddProvider { providers, .. } => {
            message.provider_peers = providers.iter().map(wire_peer).collect();
        }
        _ => {}
    }
    message
}

/// The message that [`kadmos_core::wire::encode_response`] must write.
pub fn message_of_response(response: &Response, key: &[u8]) -> Message {
    let mut message = Message { kind: response.kind() as i32, key: key.to_vec(), ..Message::default() };
    message.closer_peers = response.closer().iter().map(wire_peer).collect();
    match response {
        Response::PutValue { record } => {
            message.record = record.as_ref().map(|record| wire_record(record, None));
        }
        Response::GetValue { record, received, .. } => {
            message.record = record.as_ref().map(|record| wire_record(record, *received));
        }
        Response::GetProviders { providers, .. } => {
            message.provider_peers = providers.iter().map(wire_peer).collect();
        }
        Response::FindNode { .. } | Response::Ping => message.key.clear(),
        Response::AddProvider => {}
    }
    message
}

fn kind(message: &Message) -> Result<MessageKind, DecodeError> {
    let known = MessageKind::ALL.into_iter().find(|kind| *kind as i32 == message.kind);
    known.ok_or(DecodeError::UnknownType { got: message.kind })
}

fn expected_record(record: &Record) -> Result<message::Record, DecodeError> {
    if record.key.len() > KEY_BYTES_MAX {
        return Err(DecodeError::KeyLength { got: record.key.len(), max: KEY_BYTES_MAX });
    }
    if record.value.len() > VALUE_BYTES_MAX {
        return Err(DecodeError::ValueLength { got: record.value.len(), max: VALUE_BYTES_MAX });
    }
    Ok(message::Record { key: record.key.clone().into(), value: record.value.clone().into() })
}

fn closer(message: &Message, dropped: &mut Dropped) -> Vec<PeerInfo> {
    let (kept, unreadable, rest) = peers(&message.closer_peers, CLOSER_PEERS_MAX);
    dropped.unreadable += unreadable;
    dropped.closer += rest;
    kept
}

fn providers(message: &Message, dropped: &mut Dropped) -> Vec<PeerInfo> {
    let (kept, unreadable, rest) = peers(&message.provider_peers, PROVIDERS_MAX);
    dropped.unreadable += unreadable;
    dropped.providers += rest;
    kept
}

/// The peers that are kept, how many were unreadable before the last of them, and how many came after.
fn peers(all: &[WirePeer], max: usize) -> (Vec<PeerInfo>, usize, usize) {
    let (mut kept, mut unreadable) = (Vec::new(), 0);
    for (index, peer) in all.iter().enumerate() {
        if kept.len() == max {
            return (kept, unreadable, all.len() - index);
        }
        match PeerId::from_bytes(&peer.id) {
            Ok(id) => {
                let addrs = AddrList::collect(&id, peer.addrs.iter().map(Vec::as_slice));
                kept.push(PeerInfo::new(Peer::new(id), addrs));
            }
            Err(_) => unreadable += 1,
        }
    }
    (kept, unreadable, 0)
}

fn wire_record(record: &message::Record, received: Option<UnixTime>) -> Record {
    Record {
        key: record.key.to_vec(),
        value: record.value.to_vec(),
        time_received: received.map(|time| time.to_string()).unwrap_or_default(),
    }
}

fn wire_peer(info: &PeerInfo) -> WirePeer {
    WirePeer {
        id: info.peer.id.as_bytes().to_vec(),
        addrs: info.addrs.iter().map(<[u8]>::to_vec).collect(),
        connection: 0,
    }
}
