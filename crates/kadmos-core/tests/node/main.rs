//! One node against scripted peers: what it sends, what it concludes, when.

mod chaos;
mod config;
mod foreign;
mod joining;
mod lookups;
mod membership;
mod records;
mod remembering;
mod rig;
