//! The addresses of a peer in the table.

use std::fmt;

use libp2p_core::Multiaddr;

/// At least one address of a peer, in the order in which they became known.
#[derive(Clone)]
pub struct Addresses {
    addrs: Vec<Multiaddr>,
}

#[allow(clippy::len_without_is_empty)] // it is never empty
impl Addresses {
    /// A list of one.
    pub fn new(addr: Multiaddr) -> Self {
        Self { addrs: vec![addr] }
    }

    /// `None` for no address at all.
    pub(super) fn collect(addrs: impl IntoIterator<Item = Multiaddr>) -> Option<Self> {
        let addrs: Vec<_> = addrs.into_iter().collect();
        (!addrs.is_empty()).then_some(Self { addrs })
    }

    /// The one known for longest.
    pub fn first(&self) -> &Multiaddr {
        &self.addrs[0] // never empty
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addrs.iter()
    }

    /// How many, at least 1.
    pub fn len(&self) -> usize {
        self.addrs.len()
    }

    /// All.
    pub fn into_vec(self) -> Vec<Multiaddr> {
        self.addrs
    }

    /// Takes an address out, if it is there.
    ///
    /// Errors: it is the only one, and stays.
    #[allow(clippy::result_unit_err)] // the interface of libp2p-kad
    pub fn remove(&mut self, addr: &Multiaddr) -> Result<(), ()> {
        if matches!(self.addrs.as_slice(), [only] if only == addr) {
            return Err(());
        }
        self.addrs.retain(|known| known != addr);
        Ok(())
    }

    /// Adds an address at the end; tells whether it is new.
    pub fn insert(&mut self, addr: Multiaddr) -> bool {
        let new = !self.addrs.contains(&addr);
        if new {
            self.addrs.push(addr);
        }
        new
    }

    /// Puts `new` in the place of `old`; tells whether `old` was there.
    pub fn replace(&mut self, old: &Multiaddr, new: &Multiaddr) -> bool {
        let place = self.addrs.iter_mut().find(|known| *known == old);
        place.map(|place| *place = new.clone()).is_some()
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.addrs).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_stays() {
        let [a, b]: [Multiaddr; 2] = ["/memory/1", "/memory/2"].map(|text| text.parse().unwrap());
        let mut addrs = Addresses::new(a.clone());
        assert!(!addrs.insert(a.clone()) && addrs.insert(b.clone()));
        assert_eq!(addrs.remove(&a), Ok(()));
        assert_eq!((addrs.remove(&b), addrs.remove(&a)), (Err(()), Ok(())));
        assert!(addrs.replace(&b, &a) && !addrs.replace(&b, &a));
        assert_eq!((addrs.first(), addrs.len(), addrs.iter().count()), (&a, 1, 1));
        assert_eq!(format!("{addrs:?}"), "[/memory/1]");
        assert_eq!(Addresses::collect([]).map(Addresses::into_vec), None);
        assert_eq!(addrs.into_vec(), [a]);
    }
}
