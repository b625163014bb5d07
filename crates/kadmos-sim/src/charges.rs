//! What a node costs its network and itself, by what for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::KEEP_ALIVE_EVERY;

/// What one node has done since the world's beginning. The counts of two moments subtract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Charges {
    /// Connections it dialled.
    pub dials: u64,
    /// Of these, those that did not come up.
    pub dials_failed: u64,
    /// Requests it sent for its users.
    pub operation_messages: u64,
    /// Requests it sent to see whether a peer answers.
    pub probe_messages: u64,
    /// Requests it sent to keep its table up: refreshes, and joining again.
    pub refresh_messages: u64,
    /// Requests it sent to correct holders of outdated values.
    pub correction_messages: u64,
    /// Requests of others that it answered or took.
    pub served_messages: u64,
    /// Bytes of the requests and answers it sent; 0 unless the world has `wire`.
    pub bytes: u64,
    /// How long connections were open, summed over its connections, in milliseconds.
    pub connected_ms: u64,
}

impl Charges {
    /// Requests it sent, whatever for.
    pub fn messages(&self) -> u64 {
        self.operation_messages + self.probe_messages + self.refresh_messages + self.correction_messages
    }

    /// Packets sent for no other reason than to keep connections open, at most: one each
    /// [`KEEP_ALIVE_EVERY`] of an open connection.
    pub fn keep_alives(&self) -> u64 {
        self.connected_ms / KEEP_ALIVE_EVERY.as_millis() as u64 // 5,000
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            dials: self.dials - earlier.dials,
            dials_failed: self.dials_failed - earlier.dials_failed,
            operation_messages: self.operation_messages - earlier.operation_messages,
            probe_messages: self.probe_messages - earlier.probe_messages,
            refresh_messages: self.refresh_messages - earlier.refresh_messages,
            correction_messages: self.correction_messages - earlier.correction_messages,
            served_messages: self.served_messages - earlier.served_messages,
            bytes: self.bytes - earlier.bytes,
            connected_ms: self.connected_ms - earlier.connected_ms,
        }
    }

    /// Adds those of another node.
    pub fn add(&mut self, other: &Self) {
        self.dials += other.dials;
        self.dials_failed += other.dials_failed;
        self.operation_messages += other.operation_messages;
        self.probe_messages += other.probe_messages;
        self.refresh_messages += other.refresh_messages;
        self.correction_messages += other.correction_messages;
        self.served_messages += other.served_messages;
        self.bytes += other.bytes;
        self.connected_ms += other.connected_ms;
    }

    /// A count as one per node and hour, rounded down.
    pub fn per_node_hour(count: u64, nodes: u64, time: Duration) -> u64 {
        let node_ms = u128::from(nodes) * time.as_millis();
        (u128::from(count) * 3_600_000).checked_div(node_ms).unwrap_or(0) as u64 // below the count for any hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_add_and_subtract() {
        let one = Charges { dials: 3, refresh_messages: 10, connected_ms: 12_000, ..Charges::default() };
        let mut two = one;
        two.add(&one);
        assert_eq!(two.since(&one), one);
        assert_eq!((two.messages(), two.keep_alives()), (20, 4));
        assert_eq!(Charges::per_node_hour(600, 10, Duration::from_secs(600)), 360);
        assert_eq!(Charges::per_node_hour(600, 0, Duration::ZERO), 0);
    }
}
