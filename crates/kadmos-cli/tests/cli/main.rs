//! The `kadmos` program as a person and a script meet it: the real binary, its output and its exit codes.

mod daemon;
mod local;
mod mistakes;
mod networks;
mod status;
mod support;
