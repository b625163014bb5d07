//! The same records in Kadmos' store and in three engines: a row for each record, its addresses in it, and a row in an index
//! by expiry, as go-libp2p-kad-dht's store has rows, plus the index without which expiry reads everything.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use kadmos_core::record::{ProviderRecord, Reader};
use kadmos_core::time::{Now, Timestamp, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};
use kadmos_store::{DiskConfig, DiskStore, MemoryLimits, Store};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use rusty_leveldb::{DB, LdbIterator, Options, WriteBatch};

use crate::load::{Claim, PROVIDERS, addrs, multihash, peer_id};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One store of provider records.
pub trait Engine {
    /// Takes records; they need not be certain yet.
    fn announce(&mut self, claims: &[Claim]) -> Result<()>;
    /// Ends when all that was taken is certain.
    fn sync(&mut self) -> Result<()>;
    /// How many unexpired providers a multihash has, their addresses read.
    fn get(&mut self, key: &[u8; 34], now: u64) -> Result<usize>;
    /// Takes away what has expired, at most `budget` records; how many that were.
    fn expire(&mut self, now: u64, budget: usize) -> Result<usize>;
    /// What the engine does when nobody waits: compaction.
    fn maintain(&mut self) -> Result<()>;
    /// Whether records are certain within a second without [`Engine::sync`].
    fn syncs_itself(&self) -> bool {
        false
    }
}

/// Opens a store, or makes it, at the time `now`.
pub fn open(name: &str, path: &Path, now: u64) -> Result<Box<dyn Engine>> {
    Ok(match name {
        "kadmos" => Box::new(Kadmos::open(path, now)?),
        "redb" => Box::new(Redb::open(path)?),
        "fjall" => Box::new(Fjall::open(path)?),
        "leveldb" => Box::new(LevelDb::open(path)?),
        _ => return Err(format!("there is no engine {name}").into()),
    })
}

pub const NAMES: [&str; 4] = ["kadmos", "redb", "fjall", "leveldb"];

struct Kadmos {
    store: DiskStore,
    reader: Arc<dyn Reader>,
    providers: Vec<PeerInfo>,
}

impl Kadmos {
    fn open(path: &Path, now: u64) -> Result<Self> {
        let limits = MemoryLimits {
            provider_keys: usize::MAX,
            provider_bytes: usize::MAX,
            records_per_provider: usize::MAX,
            ..MemoryLimits::default()
        };
        let config = DiskConfig { path: path.to_path_buf(), limits };
        let store = DiskStore::open(config, UnixTime::from_secs(now))?;
        block_on(store.ready())?;
        let providers = (0..PROVIDERS)
            .map(|number| {
                let id = PeerId::from_bytes(&peer_id(number)).expect("a multihash of SHA-256");
                let list = addrs(number);
                let addrs = AddrList::collect(&id, list.iter().map(Vec::as_slice));
                PeerInfo::new(Peer::new(id), addrs)
            })
            .collect();
        Ok(Self { reader: store.reader(), store, providers })
    }
}

impl Engine for Kadmos {
    fn announce(&mut self, claims: &[Claim]) -> Result<()> {
        let date = UnixTime::from_secs;
        let batch = claims
            .iter()
            .map(|claim| ProviderRecord {
                key: bytes::Bytes::copy_from_slice(&multihash(claim.key)),
                provider: self.providers[claim.provider as usize].clone(),
                received: date(claim.received),
                expires: date(claim.expires()),
                addrs_expire: date(claim.received + 24 * crate::load::HOUR),
            })
            .collect();
        let now = date(claims.iter().map(|claim| claim.received).max().unwrap_or(0));
        for result in block_on(self.store.add_providers(batch, now)) {
            result?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(block_on(self.store.sync())?)
    }

    fn get(&mut self, key: &[u8; 34], now: u64) -> Result<usize> {
        let mut found = 0;
        self.reader.providers(key, UnixTime::from_secs(now), &mut |provider| {
            std::hint::black_box(provider);
            found += 1;
            std::ops::ControlFlow::Continue(())
        });
        Ok(found)
    }

    fn expire(&mut self, now: u64, budget: usize) -> Result<usize> {
        let now = Now { monotonic: Timestamp::from_millis(now * 1_000), unix: UnixTime::from_secs(now) };
        Ok(block_on(self.store.expire(now, budget))?.providers)
    }

    fn maintain(&mut self) -> Result<()> {
        // It compacts on its own once it has looked at the clocks: until nothing changes for two seconds.
        let mut last = (0, Instant::now());
        while last.1.elapsed() < Duration::from_secs(2) {
            let bytes = self.store.report().bytes;
            if bytes != last.0 {
                last = (bytes, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("{:?}", self.store.report());
        Ok(())
    }

    fn syncs_itself(&self) -> bool {
        true
    }
}

/// A record's row: multihash and provider; its expiry and addresses.
fn row(claim: &Claim) -> (Vec<u8>, Vec<u8>) {
    let key = [&multihash(claim.key)[..], &peer_id(claim.provider)].concat();
    let mut value = claim.expires().to_be_bytes().to_vec();
    for addr in addrs(claim.provider) {
        value.push(addr.len() as u8);
        value.extend_from_slice(&addr);
    }
    (key, value)
}

/// Its row in the index: expiry, then the record's key.
fn due(expires: u64, key: &[u8]) -> Vec<u8> {
    [&expires.to_be_bytes()[..], key].concat()
}

fn expiry(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

const RECORD_TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const DUE_TABLE: TableDefinition<'_, &[u8], ()> = TableDefinition::new("due");

struct Redb {
    database: Database,
    /// A transaction is written, and made certain, at once: records wait here until then.
    waiting: Vec<Claim>,
}

impl Redb {
    fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let database = Database::builder().set_cache_size(128 << 20).create(path.join("redb"))?;
        let write = database.begin_write()?;
        write.open_table(RECORD_TABLE)?;
        write.open_table(DUE_TABLE)?;
        write.commit()?;
        Ok(Self { database, waiting: Vec::new() })
    }
}

impl Engine for Redb {
    fn announce(&mut self, claims: &[Claim]) -> Result<()> {
        self.waiting.extend_from_slice(claims);
        if self.waiting.len() >= 16_384 { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        let write = self.database.begin_write()?;
        {
            let mut records = write.open_table(RECORD_TABLE)?;
            let mut dues = write.open_table(DUE_TABLE)?;
            for claim in self.waiting.drain(..) {
                let (key, value) = row(&claim);
                let before = records.insert(&key[..], &value[..])?.map(|before| expiry(before.value()));
                if let Some(before) = before {
                    dues.remove(&due(before, &key)[..])?;
                }
                dues.insert(&due(claim.expires(), &key)[..], ())?;
            }
        }
        Ok(write.commit()?)
    }

    fn get(&mut self, key: &[u8; 34], now: u64) -> Result<usize> {
        let read = self.database.begin_read()?;
        let records = read.open_table(RECORD_TABLE)?;
        let end = [&key[..], &[0xff; 35]].concat();
        let mut found = 0;
        for row in records.range(&key[..]..&end[..])? {
            found += usize::from(expiry(row?.1.value()) > now);
        }
        Ok(found)
    }

    fn expire(&mut self, now: u64, budget: usize) -> Result<usize> {
        let write = self.database.begin_write()?;
        let mut gone = Vec::new();
        {
            let mut records = write.open_table(RECORD_TABLE)?;
            let mut dues = write.open_table(DUE_TABLE)?;
            let end = (now + 1).to_be_bytes();
            for row in dues.range(&[][..]..&end[..])?.take(budget) {
                gone.push(row?.0.value().to_vec());
            }
            for due in &gone {
                records.remove(&due[8..])?;
                dues.remove(&due[..])?;
            }
        }
        write.commit()?;
        Ok(gone.len())
    }

    fn maintain(&mut self) -> Result<()> {
        self.database.compact()?;
        Ok(())
    }
}

struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
    dues: fjall::Keyspace,
}

impl Fjall {
    fn open(path: &Path) -> Result<Self> {
        let database = fjall::Database::builder(path).cache_size(128 << 20).open()?;
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        let dues = database.keyspace("due", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, records, dues })
    }
}

impl Engine for Fjall {
    fn announce(&mut self, claims: &[Claim]) -> Result<()> {
        let mut batch = self.database.batch();
        for claim in claims {
            let (key, value) = row(claim);
            if let Some(before) = self.records.get(&key)? {
                batch.remove(&self.dues, due(expiry(&before), &key));
            }
            batch.insert(&self.dues, due(claim.expires(), &key), b"");
            batch.insert(&self.records, key, value);
        }
        Ok(batch.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }

    fn get(&mut self, key: &[u8; 34], now: u64) -> Result<usize> {
        let mut found = 0;
        for row in self.records.prefix(key) {
            found += usize::from(expiry(&row.value()?) > now);
        }
        Ok(found)
    }

    fn expire(&mut self, now: u64, budget: usize) -> Result<usize> {
        let mut batch = self.database.batch();
        let mut gone = 0;
        for row in self.dues.range(..(now + 1).to_be_bytes()).take(budget) {
            let due = row.key()?;
            batch.remove(&self.records, &due[8..]);
            batch.remove(&self.dues, due);
            gone += 1;
        }
        batch.commit()?;
        Ok(gone)
    }

    fn maintain(&mut self) -> Result<()> {
        self.sync()
    }
}

/// LevelDB, in Rust: Kubo's default has this design, in Go.
struct LevelDb {
    records: DB,
    waiting: Option<WriteBatch>,
}

impl LevelDb {
    fn open(path: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.write_buffer_size = 32 << 20;
        Ok(Self { records: DB::open(path, options)?, waiting: None })
    }
}

impl Engine for LevelDb {
    fn announce(&mut self, claims: &[Claim]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for claim in claims {
            let (key, value) = row(claim);
            let key = [b"r", &key[..]].concat();
            if let Some(before) = self.records.get(&key) {
                batch.delete(&[b"d", &due(expiry(&before), &key)[..]].concat());
            }
            batch.put(&[b"d", &due(claim.expires(), &key)[..]].concat(), b"");
            batch.put(&key, &value);
        }
        self.waiting = Some(WriteBatch::default());
        Ok(self.records.write(batch, false)?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.records.write(self.waiting.take().unwrap_or_default(), true)?)
    }

    fn get(&mut self, key: &[u8; 34], now: u64) -> Result<usize> {
        let prefix = [b"r", &key[..]].concat();
        let mut rows = self.records.new_iter()?;
        rows.seek(&prefix);
        let mut found = 0;
        while let Some((key, value)) = rows.current() {
            if !key.starts_with(&prefix) {
                break;
            }
            found += usize::from(expiry(&value) > now);
            rows.advance();
        }
        Ok(found)
    }

    fn expire(&mut self, now: u64, budget: usize) -> Result<usize> {
        let mut batch = WriteBatch::default();
        let mut gone = 0;
        let mut rows = self.records.new_iter()?;
        rows.seek(b"d");
        while let Some((due, _)) = rows.current().filter(|_| gone < budget) {
            if due.first() != Some(&b'd') || expiry(&due[1..]) > now {
                break;
            }
            batch.delete(&due[9..]);
            batch.delete(&due);
            gone += 1;
            rows.advance();
        }
        drop(rows);
        self.records.write(batch, false)?;
        Ok(gone)
    }

    fn maintain(&mut self) -> Result<()> {
        self.records.compact_range(&[0], &[0xff])?;
        Ok(self.records.flush()?)
    }
}
