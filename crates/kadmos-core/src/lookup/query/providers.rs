//! What a provider search has found.

use alloc::collections::BTreeMap;

use crate::limits::PROVIDERS_MAX;
use crate::machine::{Context, Effect};
use crate::operation::Update;
use crate::peer::{PeerId, PeerInfo};

/// Distinct providers, each reported once, or twice when only the second report has addresses.
#[derive(Clone, Debug)]
pub(super) struct ProviderSearch {
    count: usize,
    /// Whether the provider was reported with addresses. At most [`PROVIDERS_MAX`].
    found: BTreeMap<PeerId, bool>,
}

impl ProviderSearch {
    /// `count` 0 means all.
    pub(super) fn new(count: usize) -> Self {
        Self { count, found: BTreeMap::new() }
    }

    pub(super) fn found(&self) -> usize {
        self.found.len()
    }

    /// How many to ask the own store for.
    pub(super) fn store_count(&self) -> usize {
        if self.count == 0 { PROVIDERS_MAX } else { self.count.min(PROVIDERS_MAX) }
    }

    /// Reports what is new; returns whether enough have been found.
    pub(super) fn add(&mut self, cx: &mut Context<'_>, providers: &[PeerInfo]) -> bool {
        for info in providers {
            if self.is_done() {
                break;
            }
            let addressed = !info.addrs.is_empty();
            let news = match self.found.get(&info.peer.id) {
                Some(had_addrs) => addressed && !had_addrs,
                None => self.found.len() < PROVIDERS_MAX,
            };
            if news {
                self.found.insert(info.peer.id, addressed);
                cx.emit(Effect::Update(Update::Provider(info.clone())));
            }
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.count > 0 && self.found.len() >= self.count
    }
}
