//! The stream of facts about a node.

use futures::Stream;
use kadmos_core::Event;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::realm::Realm;

/// Events kept for a subscriber that is slow; at about 100 bytes each, 200 KiB in all.
pub(crate) const EVENTS_MAX: usize = 2_048;

/// What happens at a node, from the moment of subscription on.
///
/// A reader that falls behind by more than 2,048 events loses the oldest; [`Events::lost`] counts them. The node
/// never waits for a reader.
#[derive(Debug)]
pub struct Events {
    /// `None` when the node had shut down before.
    receiver: Option<broadcast::Receiver<(Realm, Event)>>,
    /// `None` gives those of all realms.
    only: Option<Realm>,
    lost: u64,
}

impl Events {
    pub(crate) fn new(receiver: Option<broadcast::Receiver<(Realm, Event)>>, only: Option<Realm>) -> Self {
        Self { receiver, only, lost: 0 }
    }

    /// The next event; `None` once the node has shut down. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.next_in().await.map(|(_, event)| event)
    }

    /// As [`Events::next`], with the realm in which it happened.
    pub async fn next_in(&mut self) -> Option<(Realm, Event)> {
        loop {
            match self.receiver.as_mut()?.recv().await {
                Ok((realm, _)) if self.only.is_some_and(|only| only != realm) => {}
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => self.lost = self.lost.saturating_add(count),
                Err(RecvError::Closed) => self.receiver = None,
            }
        }
    }

    /// Whether they are of all realms of the node, if it is in several, and not of one.
    pub(crate) fn is_of_both(&self) -> bool {
        self.only.is_none()
    }

    /// Events that this reader was too slow for.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The events as a [`Stream`], without the count of lost ones.
    pub fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures::stream::unfold(self, |mut events| async { Some((events.next().await?, events)) })
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use kadmos_core::Mode;

    use super::*;

    #[test]
    fn slow_readers_lose_the_oldest_and_know_it() {
        let (sender, receiver) = broadcast::channel(4);
        let mut events = Events::new(Some(receiver), None);
        let event = Event::ModeChanged { mode: Mode::Server };
        for _ in 0..10 {
            sender.send((Realm::Wan, event.clone())).unwrap();
        }
        drop(sender);
        let mut read = 0;
        while block_on(events.next()).is_some() {
            read += 1;
        }
        assert_eq!((read, events.lost()), (4, 6));
        assert_eq!(block_on(events.next()), None);
        assert_eq!(block_on(Events::new(None, None).next()), None);
    }

    #[test]
    fn a_reader_of_one_realm_is_told_of_no_other() {
        let (sender, receiver) = broadcast::channel(4);
        let mut lan = Events::new(Some(receiver), Some(Realm::Lan));
        let mut all = Events::new(Some(sender.subscribe()), None);
        let event = |mode| Event::ModeChanged { mode };
        sender.send((Realm::Wan, event(Mode::Server))).unwrap();
        sender.send((Realm::Lan, event(Mode::Client))).unwrap();
        drop(sender);
        assert_eq!(block_on(all.next_in()), Some((Realm::Wan, event(Mode::Server))));
        assert_eq!(block_on(lan.next_in()), Some((Realm::Lan, event(Mode::Client))));
        assert_eq!((block_on(lan.next()), lan.lost()), (None, 0));
    }
}
