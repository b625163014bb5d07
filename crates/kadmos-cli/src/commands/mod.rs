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
