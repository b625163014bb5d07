//! A node that lives as long as one command.

use std::time::Duration;

use kadmos::{DhtBuilder, Keypair, Mode};
use tokio::sync::mpsc;

use super::Need;
use crate::config::Settings;
use crate::data_dir::{DataDir, Lock};
use crate::engine::Engine;
use crate::exit::Failure;
use crate::identity::{Identity, key_type_name};
use crate::join::{self, Ways};
use crate::preflight;
use crate::protocol::{Event, Request};

/// Events on their way to being printed.
const EVENTS_WAITING_MAX: usize = 64;

/// The node and what it holds.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    engine: Engine,
    /// Held while the node uses the directory's identity, so that no daemon does.
    _lock: Option<Lock>,
}

impl Ephemeral {
    /// Starts a node, and joins the network when `need` says so.
    pub(crate) async fn start(settings: &Settings, home: &DataDir, need: Need) -> Result<Self, Failure> {
        let protocol = settings.core.protocol.name.clone();
        let (keypair, lock, listen) = match need {
            Need::Listener => {
                let lock = home.lock()?;
                let identity = Identity::load_or_create(home)?;
                let listen = preflight::usable(&settings.listen, settings.listen_is_default)?;
                (identity.keypair().clone(), Some(lock), listen)
            }
            // A second node with the daemon's identity would be taken for it, so this one has its own.
            Need::Peers | Need::Node => (Keypair::generate_ed25519(), None, Vec::new()),
        };
        let key_type = key_type_name(keypair.key_type());
        let mut builder = DhtBuilder::new(keypair).config(settings.core.clone()).mode(Mode::Client);
        if let Some(lan) = &settings.lan {
            builder = builder.lan(lan.clone());
        }
        for addr in listen {
            builder = builder.listen(addr);
        }
        if need != Need::Node {
            builder = join::through(settings, builder.remembered(home.memory(&protocol)));
        }
        let node = builder.start().await?;
        let engine = Engine { node, protocol, key_type, joined: None, daemon: None };
        if need != Need::Node {
            let remembered = engine.node.table().await.map_err(Failure::shutdown)?.len();
            let ways = Ways::of(settings, remembered);
            join::for_command(&engine.node, &ways, &settings.network).await?;
        }
        Ok(Self { engine, _lock: lock })
    }

    /// Runs `request` here.
    pub(crate) async fn run(
        &self,
        request: &Request,
        timeout: Option<Duration>,
        on_event: &mut dyn FnMut(Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
        let work = async move { self.engine.run(request, timeout, &sender).await };
        let print = async move {
            while let Some(event) = events.recv().await {
                // Leaving drops the channel, which ends the work.
                on_event(event)?;
            }
            Ok(())
        };
        let (worked, printed): (_, Result<(), Failure>) = futures::join!(work, print);
        // When printing fails, the work fails for that reason: the printer's is the one to tell.
        printed.and(worked)
    }

    /// Ends the node.
    pub(crate) async fn shutdown(self) {
        self.engine.node.shutdown().await;
    }
}
