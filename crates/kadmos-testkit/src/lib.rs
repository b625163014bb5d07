//! What tests of programs on Kadmos need: a real network on loopback, a simulated one, and a clock to turn.
//!
//! ```
//! use futures::StreamExt;
//! use kadmos_testkit::Testnet;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let net = Testnet::new(8).await;
//! let multihash = [&[0x12, 0x20][..], &[7; 32]].concat();
//! net[0].provide(multihash.clone()).await?;
//! let provider = net[5].find_providers(multihash, 1).next().await.expect("there is one")?;
//! assert_eq!(provider.id, net[0].peer_id());
//! net.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod clock;
mod testnet;

/// A simulated network: the same nodes in virtual time, thousands of them, repeatable from a seed.
pub use kadmos_sim::{Oracle, World, WorldBuilder};

pub use self::clock::FakeClock;
pub use self::testnet::{Testnet, TestnetBuilder};
