//! What a provider search has found.

use alloc::collections::BTreeMap;

use crate::addr::AddrList;
use crate::limits::{PROVIDER_REPORTS_MAX, PROVIDERS_MAX, PROVIDERS_PER_ANSWER_MAX};
use crate::machine::{Context, Effect};
use crate::operation::Update;
use crate::peer::{PeerId, PeerInfo};

/// Distinct providers. Each is reported when it is first heard of, and again, with all addresses heard so far, when
/// an answer has further ones: the first who answers may have left them out or invented them.
#[derive(Clone, Debug)]
pub(super) struct ProviderSearch {
    count: usize,
    /// At most [`PROVIDERS_MAX`].
    found: BTreeMap<PeerId, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    addrs: AddrList,
    reports: usize,
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
        let room = PROVIDERS_MAX.min(self.found.len() + PROVIDERS_PER_ANSWER_MAX);
        for info in providers {
            if self.is_done() {
                break;
            }
            let has_room = self.found.len() < room;
            let news = match self.found.get_mut(&info.peer.id) {
                Some(known) if known.reports < PROVIDER_REPORTS_MAX => {
                    let addrs = known.addrs.merged(&info.addrs);
                    let news = addrs != known.addrs;
                    if news {
                        *known = Known { addrs, reports: known.reports + 1 };
                    }
                    news
                }
                Some(_) => false,
                None if has_room => {
                    self.found.insert(info.peer.id, Known { addrs: info.addrs.clone(), reports: 1 });
                    true
                }
                None => false,
            };
            if news && let Some(known) = self.found.get(&info.peer.id) {
                let info = PeerInfo::new(info.peer.clone(), known.addrs.clone());
                cx.emit(Effect::Update(Update::Provider(info)));
            }
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.count > 0 && self.found.len() >= self.count
    }
}
