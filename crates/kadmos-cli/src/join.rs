//! Joining a network: the ways into it, and how long to wait for somebody to answer.

use std::fmt;
use std::time::Duration;

use kadmos::{BootstrapError, Dht, DhtBuilder, Event, Events};
use kadmos_core::error::OperationError;

use crate::config::{Network, Settings};
use crate::exit::{Exit, Failure};

/// A command that has met nobody after this long says so.
const FIRST_PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// Once one peer has answered, the others have this long; a lookup from several sides is a better one.
const OTHER_PEERS_GRACE: Duration = Duration::from_millis(500);

/// Gives a node every way into the network that the settings name.
pub(crate) fn through(settings: &Settings, builder: DhtBuilder) -> DhtBuilder {
    let mut builder = settings.bootstrap.iter().cloned().fold(builder, DhtBuilder::bootstrap);
    if let Some(path) = &settings.bootstrap_file {
        builder = builder.bootstrap_file(path);
    }
    if let Some(url) = &settings.bootstrap_url {
        builder = builder.bootstrap_url(url.clone());
    }
    builder.mdns(settings.mdns)
}

/// The ways into a network that a node has, as a person reads them: the first three, and how many more there are.
#[derive(Clone, Debug)]
pub(crate) struct Ways(Vec<String>);

impl Ways {
    /// Those of the settings, and the peers that the node remembered at its start.
    pub(crate) fn of(settings: &Settings, remembered: usize) -> Self {
        let mut ways: Vec<String> = settings.bootstrap.iter().map(ToString::to_string).collect();
        ways.extend(settings.bootstrap_file.iter().map(|path| format!("the file {}", path.display())));
        ways.extend(settings.bootstrap_url.iter().map(ToString::to_string));
        if settings.mdns {
            ways.push("the local network by mDNS".into());
        }
        if remembered > 0 {
            ways.push(format!("{remembered} remembered peers"));
        }
        Self(ways)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// Ends when somebody has answered since `events` began; `false` when the node has shut down.
pub(crate) async fn answered(events: &mut Events) -> bool {
    while let Some(event) = events.next().await {
        if matches!(event, Event::RequestAnswered { .. }) {
            return true;
        }
    }
    false
}

/// Joins for the sake of one command: as soon as somebody has answered, the command may begin, while the rest of the
/// joining goes on.
///
/// Errors: there is nobody to ask, or nobody answered.
pub(crate) async fn for_command(dht: &Dht, ways: &Ways, network: &Network) -> Result<(), Failure> {
    if ways.is_empty() {
        return Err(no_way(network));
    }
    let mut events = dht.events();
    let joining = dht.clone();
    let mut joined = tokio::spawn(async move { joining.bootstrap().await });
    let first = tokio::time::timeout(FIRST_PEER_TIMEOUT, answered(&mut events));
    tokio::select! {
        biased;
        Ok(result) = &mut joined => match result {
            Ok(_) => Ok(()),
            Err(BootstrapError::Operation(OperationError::Closed)) => Err(Failure::shutdown(OperationError::Closed)),
            Err(_) => Err(nobody(ways)),
        },
        met = first => match met {
            Ok(true) => {
                // Whether it ends in this time or later, there is somebody to ask now.
                let _ = tokio::time::timeout(OTHER_PEERS_GRACE, &mut joined).await;
                Ok(())
            }
            _ => Err(nobody(ways)),
        },
    }
}

fn no_way(network: &Network) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format_args!(
            "no peer of network {network} is known to join through; name one with --bootstrap <address>/p2p/<peer id>, or start `kadmos serve`"
        ),
    )
}

fn nobody(ways: &Ways) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format_args!(
            "nobody answered to join through (tried {ways}); check this machine's connection and the addresses, or name others with --bootstrap"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let ways = |count: usize| Ways((0..count).map(|n| format!("way {n}")).collect());
        assert_eq!(ways(5).to_string(), "way 0, way 1, way 2 and 2 more");
        assert_eq!(ways(3).to_string(), "way 0, way 1, way 2");
        assert_eq!(ways(1).to_string(), "way 0");
        assert!(ways(0).is_empty());
    }
}
