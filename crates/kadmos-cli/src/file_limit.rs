//! How many files this process may have open: raised as far as it goes, and said when that is too little.

use rustix::process::{Resource, getrlimit, setrlimit};

use kadmos::ConnectionLimits;

use crate::output::note;

/// Descriptors beside connections and listeners: standard streams, the runtime's, the data directory's, the socket and
/// its 64 clients.
const OTHER_FILES: u64 = 256;

/// Files that a node with these limits may have open at once: its connections, the handshakes of others, and its own,
/// each of which tries one address at a time once the first ones are spread out.
pub(crate) fn needed_by_node(limits: ConnectionLimits) -> u64 {
    let connections = limits.established.saturating_add(limits.pending_incoming);
    u64::from(connections.saturating_add(limits.pending_outgoing)) + OTHER_FILES
}

/// Files of a network in one process in which every node is connected to every other: two descriptors a connection,
/// since both ends are here, and one listener a node.
pub(crate) fn needed_by_network(nodes: usize) -> u64 {
    let nodes = nodes as u64; // a usize has at most 64 bits
    nodes.saturating_mul(nodes.saturating_sub(1)).saturating_add(nodes).saturating_add(OTHER_FILES)
}

/// Raises the soft limit to the hard one, and tells the person if that is below what `who` may need.
pub(crate) fn raise(who: &str, needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return }; // there is none
    limit.current = limit.maximum;
    let raised =
        limit.maximum.is_none_or(|maximum| maximum > current) && setrlimit(Resource::Nofile, limit).is_ok();
    let allowed = if raised { limit.maximum } else { Some(current) };
    if let Some(sentence) = allowed.and_then(|allowed| too_low(who, needed, allowed)) {
        note(sentence);
    }
}

fn too_low(who: &str, needed: u64, allowed: u64) -> Option<String> {
    (allowed < needed).then(|| {
        format!(
            "{who} may need {needed} open files and {allowed} are allowed, so connections may fail. Raise the limit: `ulimit -Hn {needed}` in the shell that starts it (as root), or LimitNOFILE={needed} in its systemd unit."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_follow_from_connections() {
        assert_eq!(needed_by_node(ConnectionLimits::default()), 1_024 + 256 + 512 + OTHER_FILES);
        assert_eq!(needed_by_network(2), 2 + 2 + OTHER_FILES);
        assert_eq!(needed_by_network(1_000), 1_000 * 1_000 + OTHER_FILES);
    }

    #[test]
    fn what_is_enough_needs_no_word() {
        assert_eq!(too_low("this node", 100, 100), None);
        let sentence = too_low("this node", 101, 100).unwrap();
        assert!(sentence.contains("101 open files and 100 are allowed"), "{sentence}");
    }
}
