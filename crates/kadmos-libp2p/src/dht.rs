//! The handle: everything a program asks of its node.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::OperationError;
use kadmos_core::operation::{Bootstrapped, OperationKind};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{Event, Mode, NetworkSize, Operation, OperationOptions, Outcome};
use kadmos_store::Store;
use libp2p_identity::PeerId;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::command::{Change, Command, Ended};
use crate::convert::{PeerAddrs, core_id};
use crate::error::{
    BootstrapError, ClosestPeersError, FindPeerError, GetValueError, ProvideError, PutValueError, mismatch,
};
use crate::events::Events;
use crate::results::{ClosestPeers, FoundValue, Load, PublishReport};
use crate::shared::{Counters, Shared};
use crate::streams::{Call, PROVIDERS_UNREAD_MAX, Providers, VALUES_UNREAD_MAX, Values};

/// A handle to a node. Cheap to clone; all clones speak to the same node.
///
/// Futures and streams begin their operation when they are first polled, and dropping one cancels it at once. After
/// the node has shut down every call gives [`OperationError::Closed`].
#[derive(Clone, Debug)]
pub struct Dht {
    local: PeerId,
    options: OperationOptions,
    commands: mpsc::Sender<Command>,
    /// Weak, so that subscribers see the end when the node is gone and handles remain.
    events: broadcast::WeakSender<Event>,
    shared: Arc<Shared>,
}

/// Runs an operation to its end and takes the result out of the outcome.
macro_rules! run {
    ($self:ident, $kind:ident, $operation:expr) => {{
        let call = Call::new(&$self.commands, $operation, $self.options, 1);
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
        events: broadcast::WeakSender<Event>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { local, options: OperationOptions::default(), commands, events, shared }
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

    /// Joins the network: asks the bootstrap peers, finds this node's neighbourhood, fills the table.
    ///
    /// Errors: [`BootstrapError`].
    pub async fn bootstrap(&self) -> Result<Bootstrapped, BootstrapError> {
        run!(self, Bootstrap, Operation::Bootstrap)
    }

    /// The k peers closest to `key`, which is any 1 to 1,024 bytes and is hashed: a multihash for content, a binary
    /// record key for a value, a peer id's bytes for a peer.
    ///
    /// Errors: [`ClosestPeersError`].
    pub async fn closest_peers(&self, key: impl Into<Bytes>) -> Result<ClosestPeers, ClosestPeersError> {
        let result = run!(self, ClosestPeers, Operation::ClosestPeers { key: key.into() });
        result.map(ClosestPeers::from)
    }

    /// The addresses of a peer.
    ///
    /// Errors: [`FindPeerError`].
    pub async fn find_peer(&self, peer: PeerId) -> Result<PeerAddrs, FindPeerError> {
        // No peer has an id that is not made of a whole public key or a whole digest of one.
        let Ok(id) = core_id(&peer) else { return Err(FindPeerError::NotFound { answered: 0 }) };
        let result = run!(self, FindPeer, Operation::FindPeer { id });
        result.map(PeerAddrs::from)
    }

    /// Providers of the content with this multihash (at most 80 bytes; not the CID), as they are found. The search
    /// ends after `count` distinct ones; 0 searches to the end.
    pub fn find_providers(&self, key: impl Into<Bytes>, count: usize) -> Providers {
        let operation = Operation::FindProviders { key: key.into(), count };
        Providers::new(Call::new(&self.commands, operation, self.options, PROVIDERS_UNREAD_MAX))
    }

    /// The best value under a binary record key, such as `/ipns/` and a peer id's bytes.
    ///
    /// Errors: [`GetValueError`].
    pub async fn get_value(&self, key: impl Into<Bytes>) -> Result<FoundValue, GetValueError> {
        let result = run!(self, GetValue, Operation::GetValue { key: key.into(), quorum: None });
        result.map(FoundValue::from)
    }

    /// The values under a key, each better than the one before. The search ends after exactly `quorum` valid answers;
    /// `None` takes the configured number, 0 searches to the end.
    pub fn search_value(&self, key: impl Into<Bytes>, quorum: Option<usize>) -> Values {
        let operation = Operation::GetValue { key: key.into(), quorum };
        Values::new(Call::new(&self.commands, operation, self.options, VALUES_UNREAD_MAX))
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
        let result = run!(self, PutValue, operation);
        result.map(PublishReport::from)
    }

    /// Announces this node to the k closest peers as a provider of the content with this multihash.
    ///
    /// Errors: [`ProvideError`].
    pub async fn provide(&self, key: impl Into<Bytes>) -> Result<PublishReport, ProvideError> {
        let result = run!(self, Provide, Operation::Provide { key: key.into() });
        result.map(PublishReport::from)
    }

    /// The routing table as it is now; [`Dht::table_now`] is cheaper and at most 10 ms older.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn table(&self) -> Result<TableSnapshot, OperationError> {
        let (sender, table) = oneshot::channel();
        self.command(Command::Table(sender)).await?;
        table.await.map_err(|_| OperationError::Closed)
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
        self.command(Command::NetworkSize(sender)).await?;
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
        self.change(Change::SetMode(mode)).await
    }

    /// Remembers peers to join the network through, in addition to earlier ones. Ids that no peer can have are left
    /// out.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn add_bootstrap_peers(
        &self,
        peers: impl IntoIterator<Item = PeerAddrs>,
    ) -> Result<(), OperationError> {
        let peers = peers.into_iter().filter_map(|peer| peer.to_core().ok()).collect();
        self.change(Change::AddBootstrapPeers(peers)).await
    }

    /// Offers a peer that was found outside the DHT to the table: it is probed, and taken if it answers.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn add_peer(&self, peer: PeerAddrs) -> Result<(), OperationError> {
        match peer.to_core() {
            Ok(peer) => self.change(Change::AddPeer(peer)).await,
            Err(_) => Ok(()),
        }
    }

    /// Drops a peer from the table.
    ///
    /// Errors: [`OperationError::Closed`].
    pub async fn remove_peer(&self, peer: PeerId) -> Result<(), OperationError> {
        match core_id(&peer) {
            Ok(peer) => self.change(Change::RemovePeer(peer)).await,
            Err(_) => Ok(()),
        }
    }

    /// Where the records of others, and of this node, are.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.events.upgrade().map(|events| events.subscribe()))
    }

    /// What the streams of all connections have done.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Whether the node has shut down.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    async fn change(&self, change: Change) -> Result<(), OperationError> {
        let (sender, done) = oneshot::channel();
        self.command(Command::Change { change, done: sender }).await?;
        done.await.map_err(|_| OperationError::Closed)
    }

    async fn command(&self, command: Command) -> Result<(), OperationError> {
        self.commands.send(command).await.map_err(|_| OperationError::Closed)
    }
}
