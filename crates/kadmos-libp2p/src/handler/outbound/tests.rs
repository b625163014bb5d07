//! The session against a scripted peer, with the time passed in.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::message::Request;
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo, RequestId};

use super::super::pipe::{Pipe, Remote, pipe};
use super::*;
use crate::realm::Realm;

const DEADLINE: Timestamp = Timestamp::from_millis(10_000);
const NOW: Timestamp = Timestamp::from_millis(1);

fn key(id: u64) -> RequestKey {
    RequestKey { realm: Realm::Wan, id: RequestId(id) }
}

/// A session, the streams it asked for, and what it reported.
struct Rig {
    session: Session<Pipe>,
    counters: Counters,
    remotes: Vec<Remote>,
    reports: Vec<FromHandler>,
}

impl Rig {
    fn new() -> Self {
        let session = Session::new(SessionLimits::default(), 1 << 20);
        Self { session, counters: Counters::default(), remotes: Vec::new(), reports: Vec::new() }
    }

    /// Polls until nothing moves, opening each stream that is asked for.
    fn run(&mut self, now: Timestamp) {
        while self.step(now) {
            let (stream, remote) = pipe(1 << 20);
            self.remotes.push(remote);
            self.session.opened(stream, now);
        }
    }

    /// Polls until nothing moves or a stream is asked for; tells which.
    fn step(&mut self, now: Timestamp) -> bool {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut scratch = [0; 256];
        loop {
            match self.session.poll(&mut cx, now, &mut scratch, &self.counters) {
                Poll::Ready(Action::Report(report)) => self.reports.push(report),
                Poll::Ready(Action::Open) => return true,
                Poll::Pending => return false,
            }
        }
    }

    fn send(&mut self, id: u64, request: Request) {
        self.session.send(Outgoing { key: key(id), request, deadline: DEADLINE });
    }

    /// Sends FIND_NODE and returns the streams' count afterwards.
    fn find(&mut self, id: u64) -> usize {
        self.send(id, find_node());
        self.run(NOW);
        self.remotes.len()
    }

    fn answer(&mut self, stream: usize, response: &Response) {
        self.remotes[stream].write(&framed(response));
        self.run(NOW);
    }

    fn reports(&mut self) -> Vec<FromHandler> {
        std::mem::take(&mut self.reports)
    }
}

fn find_node() -> Request {
    Request::FindNode { key: Bytes::from_static(b"key") }
}

fn add_provider() -> Request {
    let info = PeerInfo::new(Peer::new(PeerId::from_digest([1; 32])), AddrList::EMPTY);
    Request::AddProvider { key: Bytes::from_static(b"key"), providers: vec![info] }
}

fn found(count: u8) -> Response {
    let closer = (0..count)
        .map(|byte| PeerInfo::new(Peer::new(PeerId::from_digest([byte; 32])), AddrList::EMPTY))
        .collect();
    Response::FindNode { closer }
}

fn framed(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_response(response, b"key", &mut bytes);
    bytes
}

fn framed_request(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_request(request, &mut bytes);
    bytes
}

fn answered(id: u64, count: u8) -> String {
    format!("{:?}", [FromHandler::Answered { request: key(id), response: found(count) }])
}

fn failed(id: u64, failure: RequestFailure) -> String {
    format!("{:?}", [FromHandler::Failed { request: key(id), failure }])
}

fn text(reports: Vec<FromHandler>) -> String {
    format!("{reports:?}")
}

#[test]
fn requests_share_one_stream() {
    let mut rig = Rig::new();
    for id in 0..10 {
        assert_eq!(rig.find(id), 1);
        assert_eq!(rig.remotes[0].read(), framed_request(&find_node()));
        rig.answer(0, &found(id as u8));
        assert_eq!(text(rig.reports()), answered(id, id as u8));
        assert!(!rig.session.is_busy());
    }
    assert_eq!(rig.counters.outbound_streams_reused(), 9);
}

#[test]
fn an_answer_in_pieces_is_one_answer() {
    let mut rig = Rig::new();
    rig.find(1);
    for byte in framed(&found(20)) {
        assert!(rig.reports.is_empty());
        rig.remotes[0].write(&[byte]);
        rig.run(NOW);
    }
    assert_eq!(text(rig.reports()), answered(1, 20));
}

#[test]
fn a_busy_stream_makes_another_and_answers_stay_with_their_stream() {
    let mut rig = Rig::new();
    for id in 1..=4 {
        assert_eq!(rig.find(id), id as usize);
    }
    assert_eq!(rig.find(5), 4, "no more than four streams");
    for stream in [2, 0, 3] {
        rig.answer(stream, &found(7));
        assert_eq!(text(rig.reports()), answered(stream as u64 + 1, 7));
    }
    // The fifth took the first stream that was free.
    rig.answer(2, &found(9));
    assert_eq!(text(rig.reports()), answered(5, 9));
}

#[test]
fn a_time_out_resets_its_stream_and_no_other() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.session.send(Outgoing { key: key(2), request: find_node(), deadline: Timestamp::from_millis(50) });
    rig.run(NOW);
    assert_eq!(rig.session.next_deadline(), Some(Timestamp::from_millis(50)));
    rig.run(Timestamp::from_millis(49));
    assert!(rig.reports.is_empty());
    rig.run(Timestamp::from_millis(50));
    assert_eq!(text(rig.reports()), failed(2, RequestFailure::TimedOut));
    assert!(rig.remotes[1].sees_reset() && !rig.remotes[0].sees_reset());
    rig.remotes[1].write(&framed(&found(1)));
    assert_eq!(rig.find(3), 3, "a fresh stream");
    rig.answer(0, &found(2));
    assert_eq!(text(rig.reports()), answered(1, 2));
}

#[test]
fn a_request_times_out_while_it_waits_for_a_stream() {
    let mut rig = Rig::new();
    rig.send(1, find_node());
    assert!(rig.step(NOW), "a stream is asked for and does not come");
    assert!(rig.session.is_busy());
    assert!(!rig.step(DEADLINE));
    assert_eq!(text(rig.reports()), failed(1, RequestFailure::TimedOut));
    assert!(!rig.session.is_busy());
}

#[test]
fn a_reused_stream_that_breaks_is_retried_once_on_a_fresh_one() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    assert_eq!(rig.find(2), 1);
    rig.remotes[0].reset();
    rig.run(NOW);
    assert_eq!(rig.remotes.len(), 2);
    assert_eq!(rig.remotes[1].read(), framed_request(&find_node()));
    assert_eq!(rig.counters.outbound_reuse_broken(), 1);
    rig.reports();
    rig.remotes[1].close();
    rig.run(NOW);
    assert_eq!(text(rig.reports()), failed(2, RequestFailure::Closed));
}

#[test]
fn a_break_after_the_answer_began_is_not_retried() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    rig.find(2);
    rig.remotes[0].write(&framed(&found(3))[..5]);
    rig.run(NOW);
    rig.remotes[0].reset();
    rig.run(NOW);
    assert_eq!(rig.remotes.len(), 1);
    rig.reports.remove(0);
    assert_eq!(text(rig.reports()), failed(2, RequestFailure::Closed));
}

#[test]
fn a_peer_that_answers_once_gets_a_stream_for_each_request() {
    let mut rig = Rig::new();
    rig.find(0);
    rig.answer(0, &found(0));
    for id in 1..=3 {
        let stream = rig.find(id);
        rig.remotes[stream - 1].close();
        rig.run(NOW);
        rig.answer(stream, &found(0));
    }
    assert_eq!(rig.counters.outbound_reuse_broken(), 3);
    assert_eq!(rig.reports().len(), 4, "nothing failed");
    let before = rig.remotes.len();
    assert!(rig.remotes[before - 1].sees_end(), "the third break's stream was not kept");
    for id in 4..7 {
        let count = rig.find(id);
        assert_eq!(count, before + id as usize - 3);
        rig.answer(count - 1, &found(0));
        assert!(rig.remotes[count - 1].sees_end());
    }
}

#[test]
fn a_parked_stream_that_ends_costs_nothing() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    rig.remotes[0].close();
    rig.run(NOW);
    assert_eq!(rig.find(2), 2);
    rig.answer(1, &found(2));
    assert_eq!(rig.reports().len(), 2);
    assert_eq!(rig.counters.outbound_reuse_broken(), 0);
}

#[test]
fn parked_streams_are_closed_in_time() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    let until = NOW + SessionLimits::default().stream_park_timeout;
    assert_eq!(rig.session.next_deadline(), Some(until));
    rig.run(until);
    assert!(rig.remotes[0].sees_end());
    assert_eq!(rig.session.next_deadline(), None);
}

#[test]
fn the_queue_is_bounded() {
    let mut rig = Rig::new();
    let max = SessionLimits::default().outbound_queue_max as u64;
    for id in 0..=max {
        rig.send(id, find_node());
    }
    assert!(rig.step(NOW));
    assert_eq!(text(rig.reports()), failed(max, RequestFailure::Overloaded));
}

#[test]
fn answers_of_another_kind_and_garbage_are_the_peers_fault() {
    let garbage: [(&[u8], Refusal); 5] = [
        (&framed(&Response::Ping), Refusal::WrongResponse),
        (&framed(&Response::AddProvider), Refusal::WrongResponse),
        (&[1, 0xff], Refusal::Malformed),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Refusal::FrameTooLarge),
        (&[0x80; 11], Refusal::Malformed),
    ];
    for (bytes, code) in garbage {
        let mut rig = Rig::new();
        rig.find(1);
        rig.remotes[0].write(bytes);
        rig.run(NOW);
        assert_eq!(text(rig.reports()), failed(1, RequestFailure::Malformed), "{bytes:?}");
        assert!(rig.remotes[0].sees_reset());
        assert_eq!(rig.counters.refusals(code), 1, "{bytes:?}");
    }
}

#[test]
fn an_answer_nobody_asked_for_ends_a_parked_stream() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    rig.answer(0, &found(2));
    assert!(rig.remotes[0].sees_reset());
    assert_eq!(rig.counters.refusals(Refusal::WrongResponse), 1);
    assert_eq!(rig.find(2), 2);
}

#[test]
fn add_provider_is_flushed_and_an_echo_is_tolerated() {
    let mut rig = Rig::new();
    rig.send(1, add_provider());
    rig.run(NOW);
    assert_eq!(rig.remotes[0].read(), framed_request(&add_provider()));
    assert_eq!(text(rig.reports()), format!("{:?}", [FromHandler::Flushed { request: key(1) }]));
    assert_eq!(rig.find(2), 1, "what has an answer may use the stream");
    rig.answer(0, &Response::AddProvider);
    rig.answer(0, &found(2));
    assert_eq!(text(rig.reports()), answered(2, 2));
    // A second echo was not earned.
    rig.answer(0, &Response::AddProvider);
    assert!(rig.remotes[0].sees_reset());
}

#[test]
fn add_provider_needs_a_stream_that_is_fresh_or_proven() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.answer(0, &found(1));
    rig.send(2, add_provider());
    rig.run(NOW);
    assert_eq!(rig.remotes.len(), 2, "one answer proves nothing about a second request");
    for id in 3..=4 {
        rig.find(id);
        rig.answer(1, &found(0));
    }
    for id in 5..20 {
        rig.send(id, add_provider());
        rig.run(NOW);
    }
    assert_eq!(rig.remotes.len(), 2, "now it is proven");
}

#[test]
fn a_cancelled_request_is_not_reported_and_its_stream_is_used_again() {
    let mut rig = Rig::new();
    rig.find(1);
    rig.session.cancel(key(1));
    assert!(!rig.session.is_busy());
    rig.answer(0, &found(1));
    assert!(rig.reports().is_empty());
    assert_eq!(rig.find(2), 1);
    rig.answer(0, &found(2));
    assert_eq!(text(rig.reports()), answered(2, 2));

    for id in 3..7 {
        rig.find(id);
    }
    rig.send(7, find_node());
    rig.session.cancel(key(7));
    rig.session.cancel(key(4));
    assert_eq!(rig.find(8), 5, "a stream nobody waits for makes room");
    assert_eq!(rig.remotes.iter().filter(|remote| remote.sees_reset()).count(), 1);
    rig.run(DEADLINE);
    let mut timed_out: Vec<_> = rig.reports().iter().map(|report| format!("{report:?}")).collect();
    timed_out.sort();
    let expected = [3, 5, 6, 8].map(|id| {
        format!("{:?}", FromHandler::Failed { request: key(id), failure: RequestFailure::TimedOut })
    });
    assert_eq!(timed_out, expected);
}

#[test]
fn a_peer_without_the_protocol_fails_everything_that_waits() {
    let mut rig = Rig::new();
    for id in 1..=3 {
        rig.send(id, find_node());
    }
    assert!(rig.step(NOW));
    rig.session.open_failed(RequestFailure::Unsupported);
    assert!(!rig.step(NOW));
    assert_eq!(rig.reports().len(), 3);

    for id in 4..=5 {
        rig.send(id, find_node());
    }
    assert!(rig.step(NOW));
    rig.session.open_failed(RequestFailure::Closed);
    rig.run(NOW);
    assert_eq!(text(rig.reports()), failed(4, RequestFailure::Closed), "the other one gets its stream");
}

#[test]
fn a_lazily_refused_protocol_is_told_from_a_broken_stream() {
    let refused = io::Error::other(NegotiationError::Failed);
    assert!(matches!(StreamEnd::of(&refused), StreamEnd::Unsupported));
    assert!(matches!(StreamEnd::of(&io::ErrorKind::ConnectionReset.into()), StreamEnd::Broken));
}

#[test]
fn a_peer_that_does_not_read_times_out() {
    let mut rig = Rig::new();
    rig.send(1, find_node());
    assert!(rig.step(NOW));
    let (stream, remote) = pipe(2);
    rig.session.opened(stream, NOW);
    assert!(!rig.step(NOW));
    assert!(!rig.step(DEADLINE + Duration::from_millis(1)));
    assert_eq!(text(rig.reports()), failed(1, RequestFailure::TimedOut));
    assert!(remote.sees_reset());
}
