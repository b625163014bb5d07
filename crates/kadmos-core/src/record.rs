//! Records at rest: what the responder reads and what the rules for values are.
//!
//! The traits are here because the core decides with them; the stores behind them are in `kadmos-store`, the
//! validators in `kadmos-records`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use bytes::Bytes;

use crate::error::Fault;
use crate::message::Record;
use crate::peer::{Peer, PeerInfo};
use crate::time::UnixTime;

/// A value as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// Key and bytes.
    pub record: Record,
    /// When this node took it, by its own clock.
    pub received: UnixTime,
    /// When it stops being served.
    pub expires: UnixTime,
    /// Changes with every write of this key; [`ValueWrite::expected`] compares it.
    pub version: u64,
}

/// A conditional write of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueWrite {
    /// Key and bytes.
    pub record: Record,
    /// By the writer's clock.
    pub received: UnixTime,
    /// When it stops being served.
    pub expires: UnixTime,
    /// The version that the decision to write was based on; `None` when the key was absent or expired. The store
    /// refuses with `Conflict` when it holds another, so two writers cannot undo each other.
    pub expected: Option<u64>,
}

/// One peer's claim to provide one multihash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRecord {
    /// Multihash of the content.
    pub key: Bytes,
    /// Who provides it, and where.
    pub provider: PeerInfo,
    /// When it was received, by this node's clock.
    pub received: UnixTime,
    /// When the claim stops being served.
    pub expires: UnixTime,
    /// When the addresses stop being served; the claim outlives them.
    pub addrs_expire: UnixTime,
}

/// What a [`Reader`] knows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Resident and current.
    Hit(T),
    /// Known not to exist.
    Absent,
    /// Only the slow side can tell; ask the `Store`, within [`crate::limits::STORE_READ_TIMEOUT`].
    NotResident,
}

/// The synchronous side of a record store, called while a request is served. Never blocks.
pub trait Reader: Send + Sync {
    /// The unexpired value under `key`.
    fn value(&self, key: &[u8], now: UnixTime) -> Read<StoredValue>;

    /// Visits the unexpired providers of `key` until `visit` breaks; in an order that lets no provider stay first
    /// for ever. Addresses past `addrs_expire` are left out. `Hit` means that at least one was visited.
    fn providers(
        &self,
        key: &[u8],
        now: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> Read<()>;
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// The key has no `/namespace/` prefix.
    #[error("the key has no namespace: expected /<namespace>/<bytes>")]
    NoNamespace,
    /// No validator is registered for the namespace.
    #[error("no validator for namespace {namespace:?}")]
    UnknownNamespace {
        /// The namespace read from the key.
        namespace: String,
    },
    /// The namespace's validator refused the value.
    #[error("{reason}")]
    Refused {
        /// Stable code, for metrics: `ipns_expired`, `pk_mismatch`, …
        code: &'static str,
        /// What was read and what was expected.
        reason: String,
    },
}

impl InvalidRecord {
    /// Whoever made the record: the caller when it is about to be stored, the peer when it came from one. The core
    /// reports the first as an error and counts the second, so here it is the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoNamespace => "begin the key with the namespace of its kind of value, such as /ipns/",
            Self::UnknownNamespace { .. } => "register a validator for the namespace",
            Self::Refused { .. } => "sign and encode the value as its namespace demands",
        }
    }
}

/// The rules for the values of one namespace.
pub trait Validator: Send + Sync {
    /// Checks that `value` may be stored and returned under `key` at wall-clock time `now`.
    ///
    /// Errors: [`InvalidRecord::Refused`]. Cost: may verify a signature.
    fn validate(&self, key: &[u8], value: &[u8], now: UnixTime) -> Result<(), InvalidRecord>;

    /// Which of two valid values under `key` is better. `Equal` keeps the one already held.
    fn compare(&self, key: &[u8], a: &[u8], b: &[u8]) -> core::cmp::Ordering;
}

/// Validators by namespace. A key whose namespace has none is refused, unless they are [`Validators::none`].
#[derive(Default)]
pub struct Validators {
    by_namespace: BTreeMap<String, Box<dyn Validator>>,
    /// Without rules for a key, everything may be stored under it, and the latest counts.
    lawless: bool,
}

impl Validators {
    /// No namespaces: refuses every value.
    pub fn new() -> Self {
        Self::default()
    }

    /// No rules: any value is stored under any key, with or without a namespace, in place of the one before. For private
    /// networks whose users check what they get. Namespaces registered besides keep their rules.
    pub fn none() -> Self {
        Self { lawless: true, ..Self::default() }
    }

    /// Whether these were made by [`Validators::none`].
    pub fn are_none(&self) -> bool {
        self.lawless
    }

    /// Registers `validator` for `/namespace/…`, replacing an earlier one.
    #[must_use]
    pub fn with(mut self, namespace: &str, validator: impl Validator + 'static) -> Self {
        self.by_namespace.insert(namespace.into(), Box::new(validator));
        self
    }

    /// The registered namespaces, sorted.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(String::as_str)
    }

    /// See [`Validator::validate`].
    ///
    /// Errors: [`InvalidRecord`], also when the key has no namespace or an unknown one.
    pub fn validate(&self, key: &[u8], value: &[u8], now: UnixTime) -> Result<(), InvalidRecord> {
        self.for_key(key)?.map_or(Ok(()), |validator| validator.validate(key, value, now))
    }

    /// Whether values under `key` have rules here.
    ///
    /// Errors: [`InvalidRecord::NoNamespace`], [`InvalidRecord::UnknownNamespace`].
    pub fn accepts(&self, key: &[u8]) -> Result<(), InvalidRecord> {
        self.for_key(key).map(|_| ())
    }

    /// See [`Validator::compare`]; `Equal` for an unknown namespace, whose values are never valid.
    pub fn compare(&self, key: &[u8], a: &[u8], b: &[u8]) -> core::cmp::Ordering {
        match self.for_key(key) {
            Ok(Some(validator)) => validator.compare(key, a, b),
            Ok(None) | Err(_) => core::cmp::Ordering::Equal,
        }
    }

    /// Whether the valid value `new` takes the place of `held`: if it is better or, where there are no rules, always.
    pub fn replaces(&self, key: &[u8], new: &[u8], held: &[u8]) -> bool {
        match self.for_key(key) {
            Ok(Some(validator)) => validator.compare(key, new, held).is_gt(),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// `None` where there are no rules.
    fn for_key(&self, key: &[u8]) -> Result<Option<&dyn Validator>, InvalidRecord> {
        let namespace = namespace(key);
        match namespace.and_then(|namespace| self.by_namespace.get(namespace)) {
            Some(validator) => Ok(Some(validator.as_ref())),
            None if self.lawless => Ok(None),
            None => Err(match namespace {
                None => InvalidRecord::NoNamespace,
                Some(namespace) => InvalidRecord::UnknownNamespace { namespace: namespace.into() },
            }),
        }
    }
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.namespaces()).finish()
    }
}

/// The `namespace` of `/namespace/rest`, when it is there and is text.
pub fn namespace(key: &[u8]) -> Option<&str> {
    let rest = key.strip_prefix(b"/")?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    core::str::from_utf8(&rest[..end]).ok().filter(|namespace| !namespace.is_empty())
}

/// A store operation of the node's own, as an effect: the driver runs it and feeds the [`StoreReply`] back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest {
    /// Read a value.
    Value {
        /// Record key.
        key: Bytes,
    },
    /// Write a value, unless another writer was faster.
    PutValue(ValueWrite),
    /// Read the providers of a multihash.
    Providers {
        /// Multihash.
        key: Bytes,
        /// At most this many.
        count: usize,
    },
    /// Write one provider record.
    AddProvider(ProviderRecord),
}

/// What became of a [`StoreRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// The value, if there is one.
    Value(Option<StoredValue>),
    /// The providers.
    Providers(Vec<PeerInfo>),
    /// Written as durably as the store promises.
    Written,
    /// Another writer was faster; read again.
    Conflict,
    /// The store could not.
    Failed {
        /// For the log.
        reason: String,
    },
}

/// A peer and the answer it gave to a question about values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFrom {
    /// The bytes.
    pub value: Bytes,
    /// Who had it; `None` for the node's own store.
    pub peer: Option<Peer>,
}
