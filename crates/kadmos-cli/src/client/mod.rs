//! How commands reach the network: through the daemon when one runs, else with a node of their own.

mod ephemeral;
mod socket;

use std::time::Duration;

use crate::args::Global;
use crate::config::{Flags, Settings, config_path};
use crate::data_dir::DataDir;
use crate::engine::within;
use crate::exit::{Exit, Failure};
use crate::path_variable;
use crate::protocol::{Event, Request};

use self::ephemeral::Ephemeral;
use self::socket::SocketClient;

/// A daemon ends a request in the time that it was given. When it hangs, the command ends this much later.
const DAEMON_GRACE: Duration = Duration::from_secs(2);

/// What a command needs of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Peers to ask.
    Peers,
    /// Only a node: the command names whom to reach.
    Node,
    /// Peers to ask, and to be reached by others: this directory's identity, listening.
    Listener,
}

/// A way to the network.
#[derive(Debug)]
pub(crate) struct Session {
    via: Via,
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Via {
    Daemon(SocketClient),
    Own(Box<Ephemeral>),
}

impl Session {
    /// Connects to the daemon of `home`, unless the person said otherwise; else starts a node.
    ///
    /// Naming a bootstrap peer or a network on the command line says otherwise: the daemon has its own.
    pub(crate) async fn open(global: &Global, home: &DataDir, need: Need) -> Result<Self, Failure> {
        let timeout = global.timeout.map(|span| span.0);
        if let Some(client) = daemon(global, home).await? {
            return Ok(Self { via: Via::Daemon(client), timeout });
        }
        let settings = settings(global, Flags::default())?;
        let starting = Ephemeral::start(&settings, home, need);
        let own = match timeout {
            Some(limit) => within(limit, starting).await?,
            None => starting.await?,
        };
        Ok(Self { via: Via::Own(Box::new(own)), timeout })
    }

    /// Whether a daemon does the work.
    pub(crate) const fn is_daemon(&self) -> bool {
        matches!(self.via, Via::Daemon(_))
    }

    /// Runs one request, and gives each event to `on_event`, whose error ends it.
    pub(crate) async fn run(
        &mut self,
        request: Request,
        on_event: &mut dyn FnMut(Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let timeout = self.timeout;
        match &mut self.via {
            Via::Daemon(client) => {
                let work = client.run(request, timeout, on_event);
                match timeout {
                    Some(limit) => within(limit + DAEMON_GRACE, work).await,
                    None => work.await,
                }
            }
            Via::Own(own) => own.run(&request, timeout, on_event).await,
        }
    }

    /// Ends the node that the session started, if it did.
    pub(crate) async fn close(self) {
        if let Via::Own(own) = self.via {
            own.shutdown().await;
        }
    }
}

/// The connection to the daemon of `home`; `None` when none runs or none is wanted.
pub(crate) async fn daemon(global: &Global, home: &DataDir) -> Result<Option<SocketClient>, Failure> {
    let names_a_way =
        !global.bootstrap.is_empty() || global.bootstrap_file.is_some() || global.bootstrap_url.is_some();
    if global.no_daemon || names_a_way || global.network.is_some() {
        return Ok(None);
    }
    SocketClient::connect(&home.socket()).await
}

/// The settings: file, environment, and the flags that every command takes over those of `flags`.
pub(crate) fn settings(global: &Global, flags: Flags) -> Result<Settings, Failure> {
    let (path, explicit) = config_path(global.config.as_deref(), path_variable);
    // Keys are text; a variable that is not cannot be one of them.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let flags = Flags {
        network: global.network.clone(),
        bootstrap: global.bootstrap.clone(),
        bootstrap_file: global.bootstrap_file.clone(),
        bootstrap_url: global.bootstrap_url.clone(),
        ..flags
    };
    let settings = Settings::load(&path, explicit, environment, flags)?;
    // Refused here, the sentence names the key; the node would refuse it too.
    settings.core.validate(&kadmos::amino_validators())?;
    Ok(settings)
}

/// A connection that ended where it should not.
fn hung_up() -> Failure {
    Failure::new(
        Exit::Failed,
        "the daemon closed the connection before the command ended; look at its log, and try again when it runs",
    )
}
