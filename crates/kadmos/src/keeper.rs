//! Keeps what a node knows: when it starts, now and then, and when it ends.

use std::time::Duration;

use kadmos_core::{Memory, Realm};
use kadmos_libp2p::{Behaviour, Dht};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::memory::MemoryFile;

/// How often the table is kept. A crash loses at most this much of what changed.
pub(crate) const KEEP_INTERVAL: Duration = Duration::from_secs(600);

/// The files of a node, one for each network it is in.
#[derive(Debug)]
pub(crate) struct Keeper {
    files: Vec<(Realm, MemoryFile)>,
}

impl Keeper {
    /// Gives the node what was kept.
    pub(crate) async fn load(file: MemoryFile, dht: &Dht, behaviour: &mut Behaviour) -> Self {
        let mut files = Vec::new();
        for (index, realm) in dht.realms().enumerate() {
            let file = match index {
                0 => file.clone(),
                _ => MemoryFile::new(format!("{}.{}", file.path().display(), realm.label())),
            };
            let reading = file.clone();
            match spawn_blocking(move || reading.load()).await {
                Ok(Ok(Some(memory))) => {
                    tracing::info!(peers = memory.peers.len(), %realm, "remembered");
                    behaviour.remember(realm, memory);
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the memory cannot be read; starting without it"),
                Err(_) => tracing::warn!("the memory was not read: the runtime is ending"),
            }
            files.push((realm, file));
        }
        Self { files }
    }

    /// Writes what the node knows now. An empty table says nothing, so it replaces nothing.
    pub(crate) fn save(&self, behaviour: &Behaviour) -> JoinHandle<()> {
        let memories: Vec<(MemoryFile, Memory)> = self
            .files
            .iter()
            .filter_map(|(realm, file)| Some((file.clone(), behaviour.memory(*realm)?)))
            .filter(|(_, memory)| !memory.peers.is_empty())
            .collect();
        spawn_blocking(move || {
            for (file, memory) in memories {
                match file.save(&memory) {
                    Ok(()) => tracing::debug!(peers = memory.peers.len(), "the table is kept"),
                    Err(error) => {
                        let path = file.path().display();
                        tracing::warn!(%path, %error, "the table is not kept; check the directory");
                    }
                }
            }
        })
    }
}
