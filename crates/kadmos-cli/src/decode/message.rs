//! DHT messages, taken apart by the node's own decoder: what is shown is what a node would understand.

use bytes::Bytes;
use kadmos_core::PeerInfo;
use kadmos_core::limits::MESSAGE_BYTES_MAX;
use kadmos_core::message::{MessageKind, Record, Request, Response};
use kadmos_core::wire::frame::FrameReader;
use kadmos_core::wire::{DecodeError, Decoded, Dropped, decode_request, decode_response};
use kadmos_records::{ipns, pk};
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

use super::names::hex;
use super::tree::Tree;
use crate::parse::exact_multihash;

/// Reads one message, or the length-prefixed messages of a stream.
///
/// Nothing on the wire tells a request from a response, so both readings are shown; the wrong one has less in it.
/// Errors: why it is neither.
pub(super) fn message(bytes: &[u8]) -> Result<Tree, String> {
    let framed = frames(bytes).filter(|frames| frames.iter().all(|frame| read(frame).is_ok()));
    match framed {
        Some(frames) if frames.len() == 1 => read(&frames[0]),
        Some(frames) => {
            let messages = frames.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Tree::Map(vec![("kind", Tree::text("messages")), ("messages", Tree::List(messages))]))
        }
        None => read(&Bytes::copy_from_slice(bytes)),
    }
}

/// The frames of `bytes`, when it consists of whole frames.
fn frames(mut bytes: &[u8]) -> Option<Vec<Bytes>> {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut frames = Vec::new();
    while let Some(frame) = reader.read(&mut bytes).ok()? {
        // An empty frame is no message.
        if frame.is_empty() {
            return None;
        }
        frames.push(frame);
    }
    (reader.is_between_frames() && !frames.is_empty()).then_some(frames)
}

fn read(frame: &Bytes) -> Result<Tree, String> {
    let request = decode_request(frame);
    let response = MessageKind::ALL
        .into_iter()
        .map(|kind| decode_response(frame, kind))
        .find(|read| !matches!(read, Err(DecodeError::WrongResponse { .. })))
        .unwrap_or(Err(DecodeError::Truncated));
    let kind = match (&request, &response) {
        (Ok(request), _) => request.message.kind(),
        (_, Ok(response)) => response.message.kind(),
        (Err(error), Err(_)) => return Err(error.to_string()),
    };
    Ok(Tree::Map(vec![
        ("kind", Tree::text("message")),
        ("type", Tree::text(kind.label())),
        ("bytes", Tree::Number(frame.len() as u64)),
        ("as_request", reading(request, request_tree)),
        ("as_response", reading(response, response_tree)),
    ]))
}

fn reading<T>(
    read: Result<Decoded<T>, DecodeError>,
    tree: impl FnOnce(T) -> Vec<(&'static str, Tree)>,
) -> Tree {
    match read {
        Ok(Decoded { message, dropped }) => {
            let mut entries = tree(message);
            if dropped != Dropped::default() {
                let Dropped { closer, providers, unreadable } = dropped;
                entries.push((
                    "left_out",
                    Tree::Text(format!(
                        "{closer} closer peers and {providers} providers past the limit, {unreadable} peers without a peer id"
                    )),
                ));
            }
            Tree::Map(entries)
        }
        Err(error) => Tree::Text(format!("refused: {error}")),
    }
}

fn request_tree(request: Request) -> Vec<(&'static str, Tree)> {
    match request {
        Request::PutValue { record: put } => vec![("record", record(&put))],
        Request::GetValue { key: wanted }
        | Request::GetProviders { key: wanted }
        | Request::FindNode { key: wanted } => {
            vec![("key", key(&wanted))]
        }
        Request::AddProvider { key: content, providers } => {
            vec![("key", key(&content)), ("providers", peers(&providers))]
        }
        _ => Vec::new(),
    }
}

fn response_tree(response: Response) -> Vec<(&'static str, Tree)> {
    let mut entries = Vec::new();
    match &response {
        Response::PutValue { record: found } | Response::GetValue { record: found, .. } => {
            entries.push(("record", found.as_ref().map_or_else(|| Tree::text("none"), record)));
        }
        Response::GetProviders { providers, .. } => entries.push(("providers", peers(providers))),
        _ => {}
    }
    if matches!(response.kind(), MessageKind::GetValue | MessageKind::GetProviders | MessageKind::FindNode) {
        entries.push(("closer_peers", peers(response.closer())));
    }
    entries
}

/// A key as people write it, when it is a name, a peer id or a multihash, and in hexadecimal.
fn key(bytes: &[u8]) -> Tree {
    let mut entries = Vec::new();
    if let Some(text) = key_text(bytes) {
        entries.push(("text", Tree::Text(text)));
    }
    entries.push(("hex", Tree::Text(hex(bytes))));
    entries.push(super::names::dht_key(bytes));
    Tree::Map(entries)
}

fn key_text(bytes: &[u8]) -> Option<String> {
    for prefix in [ipns::PREFIX, pk::PREFIX] {
        if let Some(id) = bytes.strip_prefix(prefix).and_then(|id| PeerId::from_bytes(id).ok()) {
            let name = if prefix == ipns::PREFIX { ipns::format_name(&id) } else { id.to_base58() };
            return Some(format!("{}{name}", String::from_utf8_lossy(prefix)));
        }
    }
    if let Some(multihash) = exact_multihash(bytes) {
        // A SHA-256 multihash may be a peer's or content's; an inlined key can only be a peer's.
        return Some(match PeerId::from_multihash(multihash) {
            Ok(id) if multihash.code() == 0 => format!("peer {id}"),
            Ok(id) => format!("peer {id} or content {}", cid::Cid::new_v1(0x55, multihash)),
            Err(multihash) => format!("content {}", cid::Cid::new_v1(0x55, multihash)),
        });
    }
    std::str::from_utf8(bytes).ok().map(str::to_string)
}

fn record(record: &Record) -> Tree {
    let value = match ipns::decode(&record.value) {
        Ok(entry) if record.key.starts_with(ipns::PREFIX) => super::ipns_entries(&entry),
        _ => Tree::Text(hex(&record.value)),
    };
    Tree::Map(vec![
        ("key", key(&record.key)),
        ("value_bytes", Tree::Number(record.value.len() as u64)),
        ("value", value),
    ])
}

fn peers(peers: &[PeerInfo]) -> Tree {
    Tree::List(peers.iter().map(peer).collect())
}

fn peer(info: &PeerInfo) -> Tree {
    let id = PeerId::from_bytes(info.peer.id.as_bytes());
    let id = id.map_or_else(|_| hex(info.peer.id.as_bytes()), |id| id.to_base58());
    let addrs = info
        .addrs
        .iter()
        .map(|addr| Multiaddr::try_from(addr.to_vec()).map_or_else(|_| Tree::Text(hex(addr)), Tree::text));
    Tree::Map(vec![("peer_id", Tree::Text(id)), ("addrs", Tree::List(addrs.collect()))])
}
