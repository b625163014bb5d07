//! Who is compared: a client in the seat of a node, and what each hop costs it.

use kadmos_core::{Config, ConfigError};

use crate::baseline::Baseline;
use crate::model::HopCosts;
use crate::world::{NodeIndex, World};

/// One of those a study compares.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    seat: Seat,
}

#[derive(Clone, Debug)]
enum Seat {
    Baseline(Baseline),
    /// Our own client, with settings changed and hops at this cost.
    Kadmos {
        change: fn(&mut Config),
        hops: HopCosts,
    },
}

impl Contender {
    pub(crate) fn baseline(baseline: Baseline) -> Self {
        Self { name: baseline.label().into(), seat: Seat::Baseline(baseline) }
    }

    /// Kadmos as it is shipped.
    pub(crate) fn kadmos() -> Self {
        Self::variant("kadmos", |_| {}, HopCosts::KADMOS)
    }

    /// Kadmos with one thing changed.
    pub(crate) fn variant(name: &str, change: fn(&mut Config), hops: HopCosts) -> Self {
        Self { name: name.into(), seat: Seat::Kadmos { change, hops } }
    }

    /// go first, which the others are compared with.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::baseline(Baseline::Go),
            Self::baseline(Baseline::RustLibp2p),
            Self::baseline(Baseline::Original),
            Self::kadmos(),
        ]
    }

    /// Takes a node's seat. Its table stays.
    pub(crate) fn sit(&self, world: &mut World, node: NodeIndex) -> Result<(), ConfigError> {
        match self.seat {
            Seat::Baseline(baseline) => world.set_baseline(node, baseline),
            Seat::Kadmos { change, hops } => {
                let mut table: Vec<_> = world.table(node).iter().cloned().collect();
                let mut config = Config::default();
                change(&mut config);
                if !config.table.top_buckets.is_empty() {
                    // Its larger buckets take more; those are alive, and as many as there is room for.
                    let servers = world.nodes().filter(|peer| *peer != node && world.is_running(*peer));
                    table.extend(
                        servers.filter(|peer| world.serves(*peer)).map(|peer| world.info(peer).clone()),
                    );
                }
                world.reseat(node, change, table)?;
                world.set_hops(node, hops);
            }
        }
        Ok(())
    }
}
