//! One realm's node, and what belongs to it alone: its table's snapshot, its store, its times.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kadmos_core::record::{StoreReply, StoreRequest};
use kadmos_core::{Input, Mode, Node, Output, Realm, StoreId, Timestamp};
use kadmos_store::execute;

use crate::own_addrs::OwnAddrs;
use crate::shared::Shared;

/// Changes to the table are published to the connections no more often than this, but for removals.
const PUBLISH_DELAY: Duration = Duration::from_millis(10);

/// How often the store is asked to free expired records.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);

/// Keys the store looks at in one go, so that freeing much does not hold up others.
const EXPIRE_BUDGET: usize = 1_024;

/// The node's own store operations at once; further ones wait in the order they came. The core has at most one for
/// each operation.
const OWN_STORE_OPERATIONS_MAX: usize = 64;

/// The node is given timeouts no closer together than this, whatever it asks for: a bug there must not keep the swarm
/// from its other work.
const TIMEOUT_SPACING: Duration = Duration::from_millis(1);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A node of the core with everything around it that needs no connection.
///
/// Inputs are queued by [`RealmNode::push`] and fed one at a time by [`RealmNode::feed_next`]; the outputs that concern
/// store and table are carried out here, [`RealmNode::next_output`] gives the others.
pub(super) struct RealmNode {
    pub(super) node: Node,
    pub(super) shared: Arc<Shared>,
    pub(super) own_addrs: OwnAddrs,
    pub(super) mode: Mode,
    inputs: VecDeque<Input>,
    storing: FuturesUnordered<BoxFuture<(StoreId, StoreReply)>>,
    to_store: VecDeque<(StoreId, StoreRequest)>,
    expiring: Option<BoxFuture<bool>>,
    expire_at: Timestamp,
    publish_at: Option<Timestamp>,
    /// When the table was last published.
    published: Timestamp,
    /// When the node was last given a timeout.
    timeout_fed: Timestamp,
}

impl RealmNode {
    pub(super) fn new(node: Node, shared: Arc<Shared>, own_addrs: OwnAddrs) -> Self {
        Self {
            own_addrs,
            mode: node.config().protocol.mode,
            inputs: VecDeque::new(),
            storing: FuturesUnordered::new(),
            to_store: VecDeque::new(),
            expiring: None,
            expire_at: shared.now().monotonic + EXPIRE_INTERVAL,
            publish_at: None,
            published: Timestamp::ZERO,
            timeout_fed: Timestamp::ZERO,
            node,
            shared,
        }
    }

    /// Whose it is.
    pub(super) fn realm(&self) -> Realm {
        self.shared.realm
    }

    /// Queues an input.
    pub(super) fn push(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// Feeds the next input; tells when it was fed, if there was one. Its outputs are to be taken before the next.
    pub(super) fn feed_next(&mut self) -> Option<Timestamp> {
        let input = self.inputs.pop_front()?;
        let now = self.shared.now();
        if let Err(error) = self.node.handle_input(now, input) {
            tracing::trace!(%error, "input refused");
        }
        Some(now.monotonic)
    }

    /// The next output that somebody else must carry out.
    pub(super) fn next_output(&mut self, now: Timestamp) -> Option<Output> {
        loop {
            match self.node.poll_output()? {
                Output::Store { id, request } => {
                    self.to_store.push_back((id, request));
                    self.begin_storing();
                }
                Output::TableChanged { urgent: true } => self.publish(),
                Output::TableChanged { urgent: false } => {
                    // The first of a burst at once: a newcomer that asks next shall hear of the one before it.
                    let earliest = self.published + PUBLISH_DELAY;
                    self.publish_at.get_or_insert_with(|| now.max(earliest));
                }
                output => return Some(output),
            }
        }
    }

    /// Lets requests be answered from the table as it is now.
    pub(super) fn publish(&mut self) {
        self.publish_at = None;
        self.published = self.shared.now().monotonic;
        self.shared.table.store(Arc::new(self.node.table().view().clone()));
    }

    /// Queues an input if our addresses have changed.
    pub(super) fn push_own_addrs(&mut self) {
        if self.own_addrs.take_moved() {
            self.push(Input::NetworkChanged);
        }
        if let Some(addrs) = self.own_addrs.take_changed() {
            self.push(Input::SetAddrs(addrs));
        }
    }

    /// Queues the result of a store operation that has ended; tells whether there was one.
    pub(super) fn poll_stored(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some((id, reply))) = self.storing.poll_next_unpin(cx) else { return false };
        self.begin_storing();
        self.push(Input::Stored { id, reply });
        true
    }

    /// Goes on with freeing expired records.
    pub(super) fn poll_expiring(&mut self, cx: &mut Context<'_>) {
        if let Some(expiring) = &mut self.expiring
            && let Poll::Ready(more) = expiring.as_mut().poll(cx)
        {
            self.expiring = None;
            if more {
                self.expire_at = self.shared.now().monotonic;
            }
        }
    }

    /// When [`RealmNode::run_timers`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        [self.node_at(), self.publish_at, Some(self.expire_at)].into_iter().flatten().min()
    }

    /// Does what is due, and queues the node's timeout if that is.
    pub(super) fn run_timers(&mut self) {
        let now = self.shared.now();
        if self.publish_at.is_some_and(|at| at <= now.monotonic) {
            self.publish();
        }
        if self.expire_at <= now.monotonic {
            self.expire_at = now.monotonic + EXPIRE_INTERVAL;
            let store = Arc::clone(&self.shared.store);
            self.expiring.get_or_insert_with(|| {
                Box::pin(async move {
                    let expired = store.expire(now, EXPIRE_BUDGET).await;
                    expired
                        .inspect_err(|error| tracing::warn!(%error, "expired records not freed"))
                        .is_ok_and(|expired| expired.more)
                })
            });
        }
        if self.node_at().is_some_and(|at| at <= now.monotonic) {
            self.timeout_fed = now.monotonic;
            self.push(Input::Timeout);
        }
    }

    fn node_at(&self) -> Option<Timestamp> {
        self.node.next_timeout().map(|at| at.max(self.timeout_fed + TIMEOUT_SPACING))
    }

    fn begin_storing(&mut self) {
        while self.storing.len() < OWN_STORE_OPERATIONS_MAX {
            let Some((id, request)) = self.to_store.pop_front() else { return };
            let store = Arc::clone(&self.shared.store);
            let now = self.shared.now().unix;
            self.storing.push(Box::pin(async move { (id, execute(&*store, request, now).await) }));
        }
    }
}
