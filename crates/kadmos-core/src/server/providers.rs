//! GET_PROVIDERS and ADD_PROVIDER.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use bytes::Bytes;

use super::{Reply, Responder};
use crate::event::Refusal;
use crate::limits::{PROVIDERS_PER_REPLY_MAX, PROVIDERS_REPLY_BYTES_MAX};
use crate::message::{Request, Response};
use crate::peer::{PeerId, PeerInfo};
use crate::record::{ProviderRecord, Read, Reader};
use crate::routing::TableSnapshot;
use crate::time::Now;
use crate::wire::{peer_len, response_len};

impl Responder {
    /// The closer peers first, then providers while they fit. Providers may lack addresses, and may be the requester:
    /// that is how a node verifies its own announcement.
    pub(super) fn get_providers(
        &self,
        now: Now,
        key: Bytes,
        table: &TableSnapshot,
        reader: &dyn Reader,
        peer: &PeerId,
    ) -> Reply {
        let mut closer = self.closer(&key, table, peer);
        let fixed = response_len(&Response::GetProviders { providers: Vec::new(), closer: Vec::new() }, &key);
        let message_bytes_max = self.config.protocol.message_bytes_max;
        let modest_bytes_max = message_bytes_max.min(PROVIDERS_REPLY_BYTES_MAX);
        // Closer peers with long lists of addresses must not leave the providers without room.
        let mut used =
            Self::truncate(&mut closer, fixed, message_bytes_max.min(PROVIDERS_REPLY_BYTES_MAX / 2));
        let mut providers = Vec::new();
        let read = reader.providers(&key, now.unix, &mut |provider| {
            let provider = self.shown_provider(provider, table);
            used += peer_len(&provider);
            // One provider is better than none, even for readers that will drop a long answer.
            let bytes_max = if providers.is_empty() { message_bytes_max } else { modest_bytes_max };
            if used > bytes_max {
                return ControlFlow::Break(());
            }
            providers.push(provider);
            if providers.len() < PROVIDERS_PER_REPLY_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if read == Read::NotResident {
            return Reply::Fetch(Request::GetProviders { key });
        }
        Reply::Respond(Response::GetProviders { providers, closer })
    }

    /// Takes the sender's first own entry with an address worth keeping; has no response either way.
    ///
    /// Only the sender is authenticated, so entries about others are claims of a stranger.
    pub(super) fn add_provider(&self, now: Now, key: Bytes, providers: &[PeerInfo], peer: &PeerId) -> Reply {
        let own =
            providers.iter().filter(|provider| provider.peer.id == *peer).find_map(|own| self.shown(own));
        let Some(provider) = own else { return Reply::Ignore(Refusal::ForeignProvider) };
        let ages = &self.config.records;
        Reply::AddProvider(ProviderRecord {
            key,
            provider,
            received: now.unix,
            expires: now.unix + ages.provider_age_max,
            addrs_expire: now.unix + ages.provider_addrs_age_max,
        })
    }

    /// A provider with the addresses that may be given away. Our own are the current ones, not those of when we
    /// announced.
    fn shown_provider(&self, provider: &PeerInfo, table: &TableSnapshot) -> PeerInfo {
        let local = table.local();
        let addrs = if provider.peer == local.peer && !local.addrs.is_empty() {
            &local.addrs
        } else {
            &provider.addrs
        };
        PeerInfo::new(provider.peer.clone(), self.shown_addrs(addrs))
    }
}
