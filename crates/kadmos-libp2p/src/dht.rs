//! The handle: everything a program asks of its node.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use kadmos_core::error::OperationError;
use kadmos_core::health::Reachability;
use kadmos_core::operation::{Bootstrapped, OperationKind, SourceKind};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{Event, Mode, NetworkSize, Operation, OperationOptions, Outcome, Realm};
use kadmos_store::Store;
use libp2p_identity::PeerId;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::command::{Change, Command, Ended};
use crate::convert::{PeerAddrs, core_id};
use crate::error::{
    BootstrapError, ClosestPeersError, FindPeerError, GetValueError, ProvideError, PutValueError, mismatch,
};
use crate::events::Events;
use crate::merge::{add_addrs, better, both_or_one};
use crate::realm::is_local;
use crate::results::{ClosestPeers, Drained, FoundValue, HealthReport, Load, PublishReport};
use crate::shared::{Counters, Shared};
use crate::streams::{Call, PROVIDERS_UNREAD_MAX, Providers, VALUES_UNREAD_MAX, Values};

/// A handle to a node. Cheap to clone; all clones speak to the same node.
///
/// Futures and streams begin their operation when they are first polled, and dropping one cancels it at once. After
/// the node has shut down every call gives [`OperationError::Closed`].
///
/// # Two realms
///
/// A node in a wide and a local network has handles to both at once, and by [`Dht::realm`] to one. With both:
///
/// | Call | Does |
/// | --- | --- |
/// | `find_providers`, `search_value`, `get_value` | search both at once and merge what they find |
/// | `find_peer` | asks both; addresses are merged, but after one has answered the other has a second |
/// | `provide`, `put_value` | publish in the wide network, or in the local one while nobody of the wide one is known |
/// | `closest_peers`, `table`, `table_now`, `network_size`, `store` | are about the wide network |
/// | `bootstrap`, `set_mode`, `remove_peer` | concern both |
/// | `add_peer`, `add_bootstrap_peers` | tell the wide network all, the local one those with a local address |
///
/// They fail when both networks fail, each with a reason of its own: [`GetValueError::Realms`] and its like name both.
#[derive(Clone, Debug)]
pub struct Dht {
    local: PeerId,
    options: OperationOptions,
    commands: mpsc::Sender<Command>,
    /// Weak, so that subscribers see the end when the node is gone and handles remain.
    events: broadcast::WeakSender<(Realm, Event)>,
    /// The realm of this handle, the wide one if it is for both.
    shared: Arc<Shared>,
    /// The local realm, if this handle is for both.
    lan: Option<Arc<Shared>>,
}

/// A [`Dht`] that does not keep its node running: the node ends when the last true handle is dropped. From
/// [`Dht::downgrade`].
#[derive(Clone, Debug)]
pub struct WeakDht {
    local: PeerId,
    options: OperationOptions,
    commands: mpsc::WeakSender<Command>,
    events: broadcast::WeakSender<(Realm, Event)>,
    shared: Arc<Shared>,
    lan: Option<Arc<Shared>>,
}

impl WeakDht {
    /// The handle again; `None` when no true one is left.
    pub fn upgrade(&self) -> Option<Dht> {
        Some(Dht {
            local: self.local,
            options: self.options,
            commands: self.commands.upgrade()?,
            events: self.events.clone(),
            shared: Arc::clone(&self.shared),
            lan: self.lan.clone(),
        })
    }

    /// As [`Dht::table_now`].
    pub fn table_now(&self) -> Arc<TableSnapshot> {
        self.shared.table.load_full()
    }
}

/// How often a drain looks whether it is done.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs an operation to its end and takes the result out of the outcome.
macro_rules! run {
    ($self:ident, $realm:expr, $kind:ident, $operation:expr) => {{
        let call = Call::new(&$self.commands, $realm, $operation, $self.options, 1);
        match call.end().await? {
            Ended { outcome: Outcome::$kind(result), .. } => result,
            Ended { .. } => Err(mismatch(OperationKind::$kind).into()),
        }
    }};
}

impl Dht {
    pub(crate) fn new(
        local: PeerId,
        commands: mpsc::Sender<Command>,
        events: broadcast::WeakSender<(Realm, Event)>,
        shared: Arc<Shared>,
        lan: Option<Arc<Shared>>,
    ) -> Self {
        Self { local, options: OperationOptions::default(), commands, events, shared, lan }
    }

    /// A handle that does not keep the node running, for tasks that accompany it.
    pub fn downgrade(&self) -> WeakDht {
        WeakDht {
            local: self.local,
            options: self.options,
            commands: self.commands.downgrade(),
            events: self.events.clone(),
            shared: Arc::clone(&self.shared),
            lan: self.lan.clone(),
        }
    }

    /// A handle to one realm only; `None` when the node is not in it, or this handle is to another.
    pub fn realm(&self, realm: Realm) -> Option<Self> {
        let shared = self.all().find(|shared| shared.realm == realm)?;
        Some(Self { shared: Arc::clone(shared), lan: None, ..self.clone() })
    }

    /// The realms that this handle is to, one or two.
    pub fn realms(&self) -> impl Iterator<Item = Realm> {
        self.all().map(|shared| shared.realm)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Shared>> {
        std::iter::once(&self.shared).chain(&self.lan)
    }

    /// A handle whose operations take these options; the others are not affected.
    #[must_use]
    pub fn with(&self, options: OperationOptions) -> Self {
        Self { options, ..self.clone() }
    }

    /// As [`Dht::with`], with only another deadline for each operation.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        self.with(OperationOptions { deadline: Some(deadline), ..self.options })
    }

    /// As [`Dht::with`], with only another number of requests in flight for each operation.
    #[must_use]
    pub fn with_alpha(&self, alpha: NonZeroUsize) -> Self {
        self.with(OperationOptions { alpha: Some(alpha), ..self.options })
    }

    /// The local node.
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// Joins the network: asks all peers to join through and those remembered, finds this node's neighbourhood, fills the
    /// table, judges what there is. The report tells of each phase what was tried, what answered and how long it took.
    ///
    /// Of two networks one is enough; what came of the wide one is told, or of the local one if that failed.
    /// [`Dht::bootstrap_each`] tells both.
    ///
    /// Errors: [`BootstrapError`].
    pub async fn bootstrap(&self) -> Result<Bootstrapped, BootstrapError> {
        let mut each = self.bootstrap_each().await.into_iter().map(|(_, result)| result);
        match (each.next(), each.next()) {
            (Some(Err(wan)), Some(Err(lan))) => Err(BootstrapError::of_realms(wan, lan)),
            (Some(Err(_)), Some(Ok(lan))) => Ok(lan),
            (Some(first), _) => first,
            (None, _) => Err(mismatch(OperationKind::Bootstrap).into()),
        }
    }

    /// As [`Dht::bootstrap`], and tells what came of it in each realm of this handle.
    pub async fn bootstrap_each(&self) -> Vec<(Realm, Result<Bootstrapped, BootstrapError>)> {
        let each = self.realms().map(async |realm| (realm, self.bootstrap_in(realm).await));
        futures::future::join_all(each).await
    }

    async fn bootstrap_in(&self, realm: Realm) -> Result<Bootstrapped, BootstrapError> {
        run!(self, realm, Bootstrap, Operation::Bootstrap)
    }

    /// The k peers closest to `key`, which is any 1 to 1,024 bytes and is hashed: a multihash for content, a binary
    /// record key for a value, a peer id's bytes for a peer.
    ///
    /// Errors: [`ClosestPeersError`].
    pub async fn closest_peers(&self, key: impl Into<Bytes>) -> Result<ClosestPeers, ClosestPeersError> {
        let result = run!(self, self.shared.realm, ClosestPeers, Operation::ClosestPeers { key: key.into() });
        result.map(ClosestPeers::from)
    }

    /// The addresses of a peer.
    ///
    /// Errors: [`FindPeerError`].
    pub async fn find_peer(&self, peer: PeerId) -> Result<PeerAddrs, FindPeerError> {
        // No peer has an id that is not made of a whole public key or a whole digest of one.
        let Ok(id) = core_id(&peer) else { return Err(FindPeerError::NotFound { answered: 0 }) };
        let wan = self.find_peer_in(self.shared.realm, id);
        let Some(lan) = &self.lan else { return wan.await };
        match both_or_one(wan, self.find_peer_in(lan.realm, id)).await {
            (Some(Ok(mut found)), Some(Ok(lan))) => {
                add_addrs(&mut found.addrs, lan.addrs);
                Ok(found)
            }
            (Some(Ok(found)), _) | (_, Some(Ok(found))) => Ok(found),
            (Some(Err(wan)), Some(Err(lan))) => Err(FindPeerError::of_realms(wan, lan)),
            // The other one is left only once one has succeeded.
            (Some(Err(error)), None) | (None, Some(Err(error))) => Err(error),
            (None, None) => Err(mismatch(OperationKind::FindPeer).into()),
        }
    }

    async fn find_peer_in(&self, realm: Realm, id: kadmos_core::PeerId) -> Result<PeerAddrs, FindPeerError> {
        let result = run!(self, realm, FindPeer, Operation::FindPeer { id });
        result.map(PeerAddrs::from)
    }

    /// Providers of the content with this multihash (at most 80 bytes; not the CID), as they are found. The search
    /// ends after `count` distinct ones; 0 searches to the end.
    pub fn find_providers(&self, key: impl Into<Bytes>, count: usize) -> Providers {
        let operation = Operation::FindProviders { key: key.into(), count };
        let call =
            |realm| Call::new(&self.commands, realm, operation.clone(), self.options, PROVIDERS_UNREAD_MAX);
        match &self.lan {
            None => Providers::new(call(self.shared.realm)),
            Some(lan) => Providers::of_both(call(self.shared.realm), call(lan.realm), count),
        }
    }

    /// The best value under a binary record key, such as `/ipns/` and a peer id's bytes.
    ///
    /// Errors: [`GetValueError`].
    pub async fn get_value(&self, key: impl Into<Bytes>) -> Result<FoundValue, GetValueError> {
        let key = key.into();
        let wan = self.get_value_in(self.shared.realm, key.clone());
        let Some(lan) = &self.lan else { return wan.await };
        match futures::future::join(wan, self.get_value_in(lan.realm, key.clone())).await {
            (Ok(wan), Ok(lan)) => Ok(better(&key, &self.shared.validators, wan, lan)),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(wan), Err(lan)) => Err(GetValueError::of_realms(wan, lan)),
        }
    }

    async fn get_value_in(&self, realm: Realm, key: Bytes) -> Result<FoundValue, GetValueError> {
        let result = run!(self, realm, GetValue, Operation::GetValue { key, quorum: None });
        result.map(FoundValue::from)
    }

    /// The values under a key, each better than the one before. The search ends after exactly `quorum` valid answers,
    /// in each realm; `None` takes the configured number, 0 searches to the end.
    pub fn search_value(&self, key: impl Into<Bytes>, quorum: Option<usize>) -> Values {
        let key = key.into();
        let operation = Operation::GetValue { key: key.clone(), quorum };
        let call =
            |realm| Call::new(&self.commands, realm, operation.clone(), self.options, VALUES_UNREAD_MAX);
        let wan = call(self.shared.realm);
        match &self.lan {
            None => Values::new(wan),
            Some(lan) => Values::of_both(wan, call(lan.realm), key, Arc::clone(&self.shared.validators)),
        }
    }

    /// Where records of ours go: one network, as in go-libp2p-kad-dht, because a record that is public needs no second
    /// home, and one that the caller wants to keep local is put there by [`Dht::realm`].
    fn publishing_realm(&self) -> Realm {
        match &self.lan {
            Some(lan) if self.shared.table.load().is_empty() => lan.realm,
            _ => self.shared.realm,
        }
    }

    /// Stores a value on the k closest peers. Its namespace's validator must accept it.
    ///
    /// Errors: [`PutValueError`].
    pub async fn put_value(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<PublishReport, PutValueError> {
        let operation = Operation::PutValue { key: key.into(), value: value.into() };
        let result = run!(self, self.publishing_realm(), PutValue, operation);
        result.map(PublishReport::from)
    }

    /// Announces this node to the k closest peers as a provider of the content with this multihash.
    ///
    /// Errors: [`ProvideError`].
    pub async fn provide(&self, key: impl Into<Bytes>) -> Result<PublishReport, ProvideError> {
        let result = run!(self, self.publishing_realm(), Provide, Operation::Provide { key: key.into() });
        result.map(PublishReport::from)
    }

    /// The routing table as it is now; [`Dht::table_now`] is cheaper and at most 10 ms older.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn table(&self) -> Result<TableSnapshot, OperationError> {
        let (sender, table) = oneshot::channel();
        self.command(Command::Table { realm: self.shared.realm, reply: sender }).await?;
        table.await.map_err(|_| OperationError::Closed)
    }

    /// How well the node is, and why. `docs/codes.md` has a paragraph for each reason. Of a handle for both realms, the
    /// wide one's.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn health(&self) -> Result<HealthReport, OperationError> {
        let (sender, health) = oneshot::channel();
        self.command(Command::Health { realm: self.shared.realm, reply: sender }).await?;
        health.await.map_err(|_| OperationError::Closed)
    }

    /// What the node is busy with.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn load(&self) -> Result<Load, OperationError> {
        let (sender, load) = oneshot::channel();
        self.command(Command::Load(sender)).await?;
        load.await.map_err(|_| OperationError::Closed)
    }

    /// How many servers the network has, with an error bar; `None` until the first refresh has told, which joining does.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn network_size(&self) -> Result<Option<NetworkSize>, OperationError> {
        let (sender, size) = oneshot::channel();
        self.command(Command::NetworkSize { realm: self.shared.realm, reply: sender }).await?;
        size.await.map_err(|_| OperationError::Closed)
    }

    /// The routing table that requests are answered from. Works after the node has shut down, too.
    pub fn table_now(&self) -> Arc<TableSnapshot> {
        self.shared.table.load_full()
    }

    /// Begins or stops serving; in force on every connection once the future has ended. In client mode the protocol
    /// is not offered, and streams of peers are reset.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn set_mode(&self, mode: Mode) -> Result<(), OperationError> {
        for realm in self.realms() {
            self.change(realm, Change::SetMode(mode)).await?;
        }
        Ok(())
    }

    /// Tells the node what is known of whether others can open connections to it, for its health.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn set_reachability(&self, reachability: Reachability) -> Result<(), OperationError> {
        self.change(self.shared.realm, Change::SetReachability(reachability)).await
    }

    /// Ends serving without cutting anybody off: at once no new request is taken, connected peers are told that the
    /// node is a client now, and requests that were read are still answered. Returns when all are, or after `deadline`,
    /// when the rest is reset. The node stays a client, until it is told to serve or mode `auto` finds it reachable anew; its own operations are
    /// not affected.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn drain(&self, deadline: Duration) -> Result<Drained, OperationError> {
        for realm in self.realms() {
            self.change(realm, Change::Drain).await?;
        }
        let began = self.shared.now().monotonic;
        // Streams end in the tasks of their connections, which tell nobody; the count is one word.
        while self.counters().inbound_streams() > 0 && self.shared.now().monotonic.since(began) < deadline {
            Delay::new(DRAIN_LOOK_INTERVAL.min(deadline)).await;
        }
        let cut_off = self.counters().inbound_streams();
        self.set_mode(Mode::Client).await?;
        Ok(Drained { cut_off })
    }

    /// Remembers peers to join the network through, in addition to earlier ones. Ids that no peer can have are left
    /// out.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn add_bootstrap_peers(
        &self,
        peers: impl IntoIterator<Item = PeerAddrs>,
    ) -> Result<(), OperationError> {
        self.add_bootstrap_peers_from(SourceKind::Configured, peers).await
    }

    /// As [`Dht::add_bootstrap_peers`], telling from where they are known; [`Bootstrapped::sources`] has a line for each
    /// kind. A join that is under way asks them at once.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn add_bootstrap_peers_from(
        &self,
        kind: SourceKind,
        peers: impl IntoIterator<Item = PeerAddrs>,
    ) -> Result<(), OperationError> {
        let peers: Vec<_> = peers.into_iter().collect();
        for realm in self.realms() {
            let concerned = peers.iter().filter(|peer| self.concerns(realm, peer));
            let peers = concerned.filter_map(|peer| peer.to_core().ok()).collect();
            self.change(realm, Change::AddBootstrapPeers { kind, peers }).await?;
        }
        Ok(())
    }

    /// Tells that a source of peers to join through is being looked up: a join waits for it, within its budget, before it
    /// says that there are none. Each must be followed by one [`Dht::source_lookup_ended`].
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn source_lookup_began(&self, kind: SourceKind) -> Result<(), OperationError> {
        for realm in self.realms() {
            self.change(realm, Change::SourceLookup { kind, began: true }).await?;
        }
        Ok(())
    }

    /// Tells that a source has been looked up, whatever came of it; its peers are told before.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn source_lookup_ended(&self, kind: SourceKind) -> Result<(), OperationError> {
        for realm in self.realms() {
            self.change(realm, Change::SourceLookup { kind, began: false }).await?;
        }
        Ok(())
    }

    /// Offers a peer that was found outside the DHT to the table: it is probed, and taken if it answers.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn add_peer(&self, peer: PeerAddrs) -> Result<(), OperationError> {
        let Ok(info) = peer.to_core() else { return Ok(()) };
        for realm in self.realms().filter(|realm| self.concerns(*realm, &peer)) {
            self.change(realm, Change::AddPeer(info.clone())).await?;
        }
        Ok(())
    }

    /// Drops a peer from the table.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn remove_peer(&self, peer: PeerId) -> Result<(), OperationError> {
        let Ok(peer) = core_id(&peer) else { return Ok(()) };
        for realm in self.realms() {
            self.change(realm, Change::RemovePeer(peer)).await?;
        }
        Ok(())
    }

    /// Whether a peer that somebody names is of use in a realm: in the local one of two only with an address there.
    fn concerns(&self, realm: Realm, peer: &PeerAddrs) -> bool {
        let local_of_two = self.lan.as_ref().is_some_and(|lan| lan.realm == realm);
        !local_of_two || peer.addrs.iter().any(|addr| is_local(addr, []))
    }

    /// Where the records of others, and of this node, are: those of this handle's realm.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// What happens from now on, in every realm of this handle.
    pub fn events(&self) -> Events {
        let only = self.lan.is_none().then_some(self.shared.realm);
        Events::new(self.events.upgrade().map(|events| events.subscribe()), only)
    }

    /// What the streams of all connections have done.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Whether the node has shut down.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    async fn change(&self, realm: Realm, change: Change) -> Result<(), OperationError> {
        let (sender, done) = oneshot::channel();
        self.command(Command::Change { realm, change, done: sender }).await?;
        done.await.map_err(|_| OperationError::Closed)
    }

    async fn command(&self, command: Command) -> Result<(), OperationError> {
        self.commands.send(command).await.map_err(|_| OperationError::Closed)
    }
}
