//! One file per command, or per kind of command.

pub(crate) mod decode;
pub(crate) mod key;
pub(crate) mod live;
pub(crate) mod network;
pub(crate) mod put;
pub(crate) mod sim;
pub(crate) mod sim_check;
pub(crate) mod sim_study;
pub(crate) mod sim_trial;

/// Processors of this machine.
fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX))
}
