//! Power cuts: whatever the disk keeps of what was not certain yet, nothing acknowledged is lost, nothing is invented, and
//! the store opens.

use std::collections::BTreeMap;

use futures::channel::oneshot;

use super::super::faulty::Dice;
use super::*;
use crate::memory::log::ClaimDates;

const KEYS: u64 = 8;
const PEERS: u64 = 6;

/// What may be found for one key after a cut: what was certain, or anything written since.
struct Candidates<T> {
    /// The first is certain.
    list: Vec<T>,
}

impl<T> Candidates<T> {
    /// All up to this write are over: it is certain.
    fn settle(&mut self, index: usize) {
        self.list.drain(..index);
    }
}

#[derive(Default)]
struct Model {
    values: BTreeMap<u8, Candidates<Option<(u64, u64)>>>,
    claims: BTreeMap<(u8, u8), Candidates<Option<ClaimDates>>>,
    bodies: u64,
}

/// One run of the store: random work until the power fails or the run is over. Returns what is on the disk then.
fn live(
    files: &FaultyFiles,
    model: &mut Model,
    secs: &mut u64,
    dice: &mut Dice,
) -> Result<FaultyFiles, String> {
    let (store, mut engine) = open(files, *secs).map_err(|error| format!("does not open: {error}"))?;
    check(&store, model, *secs)?;
    block_on(store.expire(both(*secs), 1_000)).map_err(|error| error.to_string())?;
    // Half of the cuts come anywhere, the others soon.
    files.cut_power_after(if dice.percent(50) { dice.below(40) } else { dice.below(600) });
    let mut waiting: Vec<(u8, Told)> = Vec::new();
    for _ in 0..dice.below(400) {
        match dice.below(100) {
            0..25 => {
                let key = dice.below(KEYS) as u8;
                let version =
                    block_on(store.value(&[b'/', key], date(*secs))).unwrap().map(|held| held.version);
                model.bodies += 1;
                let mut body = model.bodies.to_be_bytes().to_vec();
                body.resize(8 + dice.below(3_000) as usize, 7);
                let (results, waiter) = store.put(&[write(&[b'/', key], &body, *secs, version)], date(*secs));
                if results[0].is_ok() {
                    let expires = *secs + 2 * DAY;
                    model.values.entry(key).or_insert_with(nothing).list.push(Some((model.bodies, expires)));
                    waiting.push((key, waiter.unwrap()));
                }
            }
            25..55 => {
                let (key, number) = (dice.below(KEYS) as u8, dice.below(PEERS) as u8);
                let network = dice.below(4) as u8;
                let life = [DAY, 2 * DAY, HOUR][dice.below(3) as usize];
                let record = ProviderRecord {
                    expires: date(*secs + life),
                    ..record(&[key], provider(number, network), *secs)
                };
                if store.add(std::slice::from_ref(&record), date(*secs))[0].is_ok() {
                    let dates = ClaimDates {
                        received: record.received,
                        expires: record.expires,
                        addrs_expire: record.addrs_expire,
                    };
                    model.claims.entry((key, number)).or_insert_with(nothing).list.push(Some(dates));
                }
            }
            55..60 => {
                let (key, number) = (dice.below(KEYS) as u8, dice.below(PEERS) as u8);
                if block_on(store.remove_provider(&[key], &peer(number).id)).unwrap() {
                    model.claims.entry((key, number)).or_insert_with(nothing).list.push(None);
                }
            }
            60..64 => {
                let key = dice.below(KEYS) as u8;
                let removed = remove(&store, key);
                if let Some(waiter) = removed {
                    model.values.entry(key).or_insert_with(nothing).list.push(None);
                    waiting.push((key, waiter));
                }
            }
            64..78 => {
                let _ = engine.flush_journal();
                acknowledge(&mut waiting, model);
            }
            78..88 => {
                if engine.flush_claims().is_ok() {
                    for candidates in model.claims.values_mut() {
                        candidates.settle(candidates.list.len() - 1);
                    }
                }
            }
            88..94 => {
                *secs += [1, 60, HOUR, 9 * HOUR][dice.below(4) as usize];
                block_on(store.expire(both(*secs), 1_000)).unwrap();
                engine.note_clock();
                let _ = engine.unlink_dead_hours();
            }
            _ => {
                engine.force_compaction();
                for _ in 0..dice.below(6) {
                    if !matches!(engine.compact(), Ok(true)) {
                        break;
                    }
                }
            }
        }
    }
    if dice.percent(20) {
        engine.note_clock();
        engine.sync();
        acknowledge(&mut waiting, model);
        let _ = recovery::write_clean(&*engine.files, &engine.closed());
    }
    Ok(files.after_power_cut(dice))
}

fn nothing<T>() -> Candidates<Option<T>> {
    Candidates { list: vec![None] }
}

/// Takes a value away without waiting.
fn remove(store: &DiskStore, key: u8) -> Option<Told> {
    let shared = store.shared();
    let mut state = shared.write();
    let mut queue = shared.queue();
    let before = state.remove_value(&[b'/', key], None)?;
    let (sender, receiver) = oneshot::channel();
    let key = Bytes::copy_from_slice(&[b'/', key]);
    queue.journal.push(&JournalEntry::Removed { key: key.clone(), version: state.next_version() });
    queue.journal.undo.push((key, Some(before)));
    queue.journal.waiters.push(sender);
    Some(receiver)
}

/// Takes note of the values that the store says are certain. Those it says failed may be found or not.
fn acknowledge(waiting: &mut Vec<(u8, Told)>, model: &mut Model) {
    // The candidates of a key end with those that wait, in order.
    let mut behind: BTreeMap<u8, usize> = BTreeMap::new();
    for (key, mut receiver) in std::mem::take(waiting).into_iter().rev() {
        let behind = behind.entry(key).or_default();
        let told = receiver.try_recv().expect("the writer answers").expect("the writer has been there");
        if let Some(candidates) = model.values.get_mut(&key)
            && told.is_ok()
            && candidates.list.len() > *behind
        {
            candidates.settle(candidates.list.len() - 1 - *behind);
        }
        *behind += 1;
    }
}

/// Compares what is there with what may be there, and goes on from what is.
fn check(store: &DiskStore, model: &mut Model, secs: u64) -> Result<(), String> {
    let report = store.report();
    if report.lost_bytes > 0 || report.over_limits > 0 || report.broken_files > 0 {
        return Err(format!("a power cut looks like damage: {report:?}"));
    }
    for key in 0..KEYS as u8 {
        let found = value(store, &[b'/', key], secs);
        let found = found.map(|body| u64::from_be_bytes(*body.first_chunk().expect("eight bytes and more")));
        let candidates = model.values.entry(key).or_insert_with(nothing);
        let fits = candidates.list.iter().rposition(|candidate| match candidate {
            Some((body, expires)) if *expires > secs => found == Some(*body),
            _ => found.is_none(),
        });
        let Some(fits) = fits else {
            return Err(format!("value {key}: found {found:?}, expected one of {:?}", candidates.list));
        };
        let fits = candidates.list.remove(fits);
        candidates.list = vec![fits];
    }
    let state = store.shared().read();
    for key in 0..KEYS as u8 {
        let listed = state.providers(&[key], usize::MAX, date(secs));
        for number in 0..PEERS as u8 {
            let peer = peer(number);
            let is_listed = listed.iter().any(|found| found.peer == peer);
            let candidates = model.claims.entry((key, number)).or_insert_with(nothing);
            let fits = candidates.list.iter().rposition(|candidate| match candidate {
                Some(dates) if dates.expires > date(secs) => {
                    is_listed && state.has_claim(&[key], &peer, dates)
                }
                _ => !is_listed,
            });
            let Some(fits) = fits else {
                return Err(format!("provider {number} of {key}: listed {is_listed}, {:?}", candidates.list));
            };
            let fits = candidates.list.remove(fits);
            candidates.list = vec![fits];
        }
    }
    Ok(())
}

fn cut_power(seed: u64, lies: bool) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut files = FaultyFiles::default();
    let mut model = Model::default();
    let mut secs = 0;
    for life in 0..4 {
        if lies {
            files.lie_about_sync();
        }
        files = live(&files, &mut model, &mut secs, &mut dice)
            .map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
    }
    let (store, _engine) =
        open(&files, secs).map_err(|error| format!("seed {seed}: does not open: {error}"))?;
    check(&store, &mut model, secs).map_err(|error| format!("seed {seed}, at the end: {error}"))
}

/// How many seeds; each is four cuts. `KADMOS_POWER_CUT_SEEDS=500` for 2,000 cuts.
fn seeds() -> u64 {
    std::env::var("KADMOS_POWER_CUT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    for seed in 0..seeds() {
        cut_power(seed, false).unwrap();
    }
}

/// The test above is worth something: without `fsync` it fails.
#[test]
fn power_cuts_without_fsync_are_noticed() {
    let noticed = (0..50).filter(|seed| cut_power(*seed, true).is_err()).count();
    assert!(noticed >= 25, "only {noticed} of 50 runs without fsync lost something");
}
