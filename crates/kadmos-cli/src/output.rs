//! Printing results: for people, or one JSON object a line. Data goes to standard output, notes to standard error.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

use multibase::Base;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::protocol::{ClosestPeer, Event, Meaning, NodeInfo, PeerEntry, Published, Value};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// With details.
    pub(crate) verbose: bool,
    /// A record's bytes as they are.
    pub(crate) raw: bool,
}

/// Prints results.
pub(crate) struct Output<W = io::Stdout> {
    style: Style,
    to: W,
    /// Providers printed so far: one comes again when its addresses become known, which only `-v` and JSON show.
    providers: BTreeSet<String>,
}

impl Output {
    /// Prints to standard output.
    pub(crate) fn stdout(style: Style) -> Self {
        Self { style, to: io::stdout(), providers: BTreeSet::new() }
    }
}

impl<W: Write> Output<W> {
    /// How it prints.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Prints `data` as a line of JSON, or as `human` says, and flushes: readers see each result when it is found.
    pub(crate) fn print(
        &mut self,
        data: &impl Serialize,
        human: impl FnOnce(&mut dyn Write, Style) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let printed = if self.style.json {
            serde_json::to_writer(&mut self.to, data)
                .map_err(io::Error::from)
                .and_then(|()| self.to.write_all(b"\n"))
        } else {
            human(&mut self.to, self.style)
        };
        printed.and_then(|()| self.to.flush()).map_err(|error| match error.kind() {
            // `kadmos … | head -1` has all it wants; nobody is left to read a sentence about it.
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Interrupted, ""),
            _ => Failure::new(
                Exit::Failed,
                format_args!("cannot write to standard output: {error}; check where it goes"),
            ),
        })
    }

    /// Prints what a command found. Ends and failures are the caller's.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if let Event::Provider(peer) = event
            && !self.style.json
            && !self.style.verbose
            && !self.providers.insert(peer.id.clone())
        {
            return Ok(());
        }
        self.print(event, |to, style| match event {
            Event::Node(node) => write_node(to, node),
            Event::Status(status) => crate::status::write(to, status),
            Event::Drained { cut_off: 0 } => writeln!(to, "drained: every request was answered"),
            Event::Drained { cut_off } => writeln!(to, "drained: {cut_off} streams were cut off"),
            Event::Peer(peer) => write_dialable(to, peer),
            Event::Provider(peer) => write_peer(to, style, &peer.id, &peer.addrs),
            Event::ClosestPeer(peer) => write_closest(to, style, peer),
            Event::Value(value) => write_value(to, style, value),
            Event::Published(published) => write_published(to, style, published),
            Event::Pong(pong) => {
                writeln!(to, "pong {} from {}: {:.3} ms", pong.sequence, pong.id, pong.rtt_seconds * 1e3)
            }
            Event::Failure(_) | Event::End { .. } => Ok(()),
        })
    }
}

/// Tells the person something that is no data.
pub(crate) fn note(text: impl fmt::Display) {
    // A closed standard error has no reader, and losing a note is no failure.
    let _ = writeln!(io::stderr(), "{text}");
}

fn write_node(to: &mut dyn Write, node: &NodeInfo) -> io::Result<()> {
    writeln!(to, "peer id    {}", node.id)?;
    writeln!(to, "ipns name  {}", node.ipns_name)?;
    writeln!(to, "key type   {}", node.key_type)?;
    for addr in &node.addrs {
        writeln!(to, "address    {addr}")?;
    }
    for (name, value) in [("protocol   ", &node.protocol), ("mode       ", &node.mode)] {
        if let Some(value) = value {
            writeln!(to, "{name}{value}")?;
        }
    }
    if let Some(peers) = node.peers {
        writeln!(to, "peers      {peers} in the routing table")?;
    }
    writeln!(to, "daemon     {}", if node.running { "running" } else { "not running" })
}

/// One address a line, ready to be dialled.
fn write_dialable(to: &mut dyn Write, peer: &PeerEntry) -> io::Result<()> {
    peer.addrs.iter().try_for_each(|addr| writeln!(to, "{addr}/p2p/{}", peer.id))
}

fn write_peer(
    to: &mut dyn Write,
    style: Style,
    id: &str,
    addrs: &[libp2p_core::Multiaddr],
) -> io::Result<()> {
    writeln!(to, "{id}")?;
    if style.verbose {
        addrs.iter().try_for_each(|addr| writeln!(to, "\t{addr}"))?;
    }
    Ok(())
}

fn write_closest(to: &mut dyn Write, style: Style, peer: &ClosestPeer) -> io::Result<()> {
    if !style.verbose {
        return writeln!(to, "{}", peer.id);
    }
    writeln!(to, "{}\tprefix {}", peer.id, peer.common_prefix_len)?;
    peer.addrs.iter().try_for_each(|addr| writeln!(to, "\t{addr}"))
}

fn write_value(to: &mut dyn Write, style: Style, value: &Value) -> io::Result<()> {
    let bytes = Base::Base64Pad.decode(&value.value_base64).map_err(io::Error::other)?;
    if style.raw {
        return to.write_all(&bytes);
    }
    write_meaning(to, style, &value.meaning, &bytes)?;
    if style.verbose {
        let from = value.from.as_deref().unwrap_or("this node's store");
        writeln!(to, "from         {from}")?;
        writeln!(to, "answers      {}", value.answers)?;
        writeln!(to, "corrected    {}", value.corrected)?;
    }
    Ok(())
}

fn write_meaning(to: &mut dyn Write, style: Style, meaning: &Meaning, bytes: &[u8]) -> io::Result<()> {
    match meaning {
        Meaning::Ipns(ipns) => {
            writeln!(to, "{}", ipns.path)?;
            if style.verbose {
                writeln!(to, "sequence     {}", ipns.sequence)?;
                writeln!(to, "valid until  {}", ipns.valid_until)?;
                if let Some(ttl) = ipns.ttl_seconds {
                    writeln!(to, "ttl          {ttl} s")?;
                }
            }
            Ok(())
        }
        Meaning::PublicKey { key_type, id } => {
            writeln!(to, "{}", Base::Base64Pad.encode(bytes))?;
            if style.verbose {
                writeln!(to, "key type     {key_type}")?;
                writeln!(to, "peer id      {id}")?;
            }
            Ok(())
        }
        Meaning::Bytes { .. } => match std::str::from_utf8(bytes) {
            // Control characters could drive the reader's terminal.
            Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') => {
                writeln!(to, "{text}")
            }
            _ => writeln!(to, "{}", multibase::encode(Base::Base64, bytes)),
        },
    }
}

fn write_published(to: &mut dyn Write, style: Style, published: &Published) -> io::Result<()> {
    let Published { key, attempted, sent, stored, holders, failed } = published;
    if *stored > 0 {
        writeln!(to, "{key}: stored on {stored} of the {attempted} closest peers")?;
    } else {
        writeln!(to, "{key}: sent to {sent} of the {attempted} closest peers")?;
    }
    if style.verbose {
        holders.iter().try_for_each(|id| writeln!(to, "\t{id}"))?;
        failed.iter().try_for_each(|peer| writeln!(to, "\t{}\t{}", peer.id, peer.reason))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FailedPeer;

    fn printed(style: Style, event: &Event) -> String {
        let mut output = Output { style, to: Vec::new(), providers: BTreeSet::new() };
        output.event(event).unwrap();
        String::from_utf8(output.to).unwrap()
    }

    fn provider() -> Event {
        Event::Provider(PeerEntry { id: "Qm1".into(), addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()] })
    }

    #[test]
    fn results_are_one_line_for_people_and_machines() {
        let verbose = Style { verbose: true, ..Style::default() };
        let json = Style { json: true, ..Style::default() };
        assert_eq!(printed(Style::default(), &provider()), "Qm1\n");
        assert_eq!(printed(verbose, &provider()), "Qm1\n\t/ip4/127.0.0.1/tcp/1\n");
        assert!(printed(json, &provider()).starts_with(r#"{"schema":"kadmos.provider/1","#));
        let Event::Provider(peer) = provider() else { unreachable!() };
        assert_eq!(printed(Style::default(), &Event::Peer(peer)), "/ip4/127.0.0.1/tcp/1/p2p/Qm1\n");
        let published = Published {
            key: "bafy".into(),
            attempted: 20,
            sent: 19,
            stored: 0,
            holders: vec!["Qm1".into()],
            failed: vec![FailedPeer { id: "Qm2".into(), reason: "timed_out".into() }],
        };
        let text = printed(verbose, &Event::Published(published));
        assert_eq!(text, "bafy: sent to 19 of the 20 closest peers\n\tQm1\n\tQm2\ttimed_out\n");
    }

    #[test]
    fn a_provider_that_comes_again_is_one_line() {
        let mut output = Output { style: Style::default(), to: Vec::new(), providers: BTreeSet::new() };
        output.event(&provider()).unwrap();
        output.event(&provider()).unwrap();
        assert_eq!(output.to, b"Qm1\n");
    }

    #[test]
    fn values_print_what_they_mean() {
        let value = |bytes: &[u8]| {
            Event::Value(Value {
                key: "/x/y".into(),
                value_base64: Base::Base64Pad.encode(bytes),
                meaning: Meaning::Bytes { length: bytes.len() },
                from: None,
                answers: 1,
                corrected: 0,
            })
        };
        assert_eq!(printed(Style::default(), &value(b"hello")), "hello\n");
        assert_eq!(printed(Style::default(), &value(b"\x1b[2J")), "mG1sySg\n");
        assert_eq!(printed(Style { raw: true, ..Style::default() }, &value(b"\x1b[2J")), "\x1b[2J");
    }

    #[test]
    fn a_closed_pipe_ends_in_silence() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let failure = Output { style: Style::default(), to: Closed, providers: BTreeSet::new() }
            .event(&provider())
            .unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Interrupted, ""));
    }
}
