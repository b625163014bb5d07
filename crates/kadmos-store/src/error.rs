//! Why a store could not do what was asked.

use kadmos_core::error::Fault;

/// Why a store could not read, remove or collect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// What was read cannot be what was written.
    #[error("the store holds damaged data: {reason}")]
    Damaged {
        /// Where, and what was read.
        reason: String,
    },
    /// Another process holds the store, or another store of this one.
    #[error("the store is in use by another process")]
    InUse,
    /// A later version of Kadmos wrote it. Nothing was changed.
    #[error(
        "the store was written by a newer version: its format is {format}, this version reads up to {}",
        crate::disk::FORMAT
    )]
    Newer {
        /// The format found.
        format: u16,
    },
    /// The store did not answer in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The disk or the database behind the store refused.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
}

impl StoreError {
    /// Whose fault it is: always this node's, or of what it runs on.
    pub const fn fault(&self) -> Fault {
        Fault::Us
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Closed => "open the store again, or start a new node",
            Self::Damaged { .. } => "check the disk; restore the store or start with an empty one",
            Self::InUse => "stop the other process, or give this one a directory of its own",
            Self::Newer { .. } => "run the version that wrote it, or start with an empty directory",
            Self::TimedOut => "check the load of the store's disk or database",
            Self::Unavailable { .. } => "check the store's disk or database and its log",
        }
    }
}

/// Why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The store holds another version than the writer expected.
    #[error("another writer was faster")]
    Conflict,
    /// The record's time was over before it arrived.
    #[error("the record had expired when it arrived")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
    /// A bound is reached, and nothing expired made room.
    #[error("the store is full: {capacity} is limited to {limit}")]
    Full {
        /// Which bound.
        capacity: Capacity,
        /// Its value, in records or bytes.
        limit: usize,
    },
}

impl WriteError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Conflict | Self::Expired => Fault::Caller,
            Self::Failed(error) => error.fault(),
            Self::Full { capacity: Capacity::RecordsPerProvider, .. } => Fault::Peer,
            Self::Full { .. } => Fault::Us,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Conflict => "read the record again and decide anew",
            Self::Expired => "publish a record that is still valid, and check both clocks",
            Self::Failed(error) => error.advice(),
            Self::Full { capacity: Capacity::RecordsPerProvider, .. } => {
                "raise the bound if one provider may fill this much of the store"
            }
            Self::Full { .. } => "raise the bound, or wait until records expire",
        }
    }
}

/// A bound of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capacity {
    /// Bytes of provider records, addresses and index included.
    ProviderBytes,
    /// Multihashes with providers.
    ProviderKeys,
    /// Provider records of one provider.
    RecordsPerProvider,
    /// Bytes of values, keys and index included.
    ValueBytes,
    /// Values.
    Values,
}

impl Capacity {
    /// Stable label for metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProviderBytes => "provider_bytes",
            Self::ProviderKeys => "provider_keys",
            Self::RecordsPerProvider => "records_per_provider",
            Self::ValueBytes => "value_bytes",
            Self::Values => "values",
        }
    }
}

impl std::fmt::Display for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_names_its_fault_and_gives_advice() {
        let failed = |error| WriteError::Failed(error);
        for (error, fault) in [
            (WriteError::Conflict, Fault::Caller),
            (WriteError::Expired, Fault::Caller),
            (WriteError::Full { capacity: Capacity::Values, limit: 1 }, Fault::Us),
            (WriteError::Full { capacity: Capacity::RecordsPerProvider, limit: 1 }, Fault::Peer),
            (failed(StoreError::Closed), Fault::Us),
            (failed(StoreError::Damaged { reason: "crc".into() }), Fault::Us),
            (failed(StoreError::InUse), Fault::Us),
            (failed(StoreError::Newer { format: 2 }), Fault::Us),
            (failed(StoreError::TimedOut), Fault::Us),
            (failed(StoreError::Unavailable { reason: "disk full".into() }), Fault::Us),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
            assert!(!error.advice().is_empty(), "{error}");
        }
        let full = WriteError::Full { capacity: Capacity::ProviderKeys, limit: 7 };
        assert_eq!(full.to_string(), "the store is full: provider_keys is limited to 7");
    }
}
