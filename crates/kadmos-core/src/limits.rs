//! Every bound on what a peer or a caller can make us hold or do, each with its reason.

use core::time::Duration;

/// Largest message, as go-libp2p has it (`network.MessageSizeMax`, 4 MiB). rust-libp2p's 16 KiB drops the answers
/// for popular keys.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Largest peer record (id and addresses) taken or given, as go-libp2p-kad-dht has it since #1281. 8 KiB hold some
/// 300 typical addresses; without a bound, stored peer records amplify.
pub const PEER_RECORD_BYTES_MAX: usize = 8 << 10;

/// Addresses looked at in one peer record, and kept of one peer. Peers announce some 5 to 60. Each new address is
/// compared with those already kept; without this bound 8 KiB of 2-byte addresses would cost 2 million comparisons
/// a peer, with it 2,000.
pub const ADDRS_PER_PEER_MAX: usize = 64;

/// Addresses taken from what one peer says of another. Whoever answers first may invent them: so four such claims fit
/// into [`ADDRS_PER_PEER_MAX`], and a true one is not crowded out.
pub const ADDRS_PER_CLAIM_MAX: usize = 16;

/// Closer peers taken from one response: 2 k, as go-libp2p-kad-dht has it since #1270. A server may add the target
/// to its k; the rest is room for other k.
pub const CLOSER_PEERS_MAX: usize = 40;

/// Providers taken from one response or request. A 4 MiB answer of go holds tens of thousands for a popular key; a
/// caller that wants more asks more peers. 1,024 of about 150 bytes are 150 KiB.
pub const PROVIDERS_MAX: usize = 1_024;

/// New providers one answer may add to a search. Without this bound the first answer could fill [`PROVIDERS_MAX`] with
/// inventions, and no true provider would be reported.
pub const PROVIDERS_PER_ANSWER_MAX: usize = 128;

/// Times one provider is reported by a search: again when an answer has further addresses, since the first may have
/// been invented.
pub const PROVIDER_REPORTS_MAX: usize = 4;

/// Longest key of GET_PROVIDERS and ADD_PROVIDER, as go-libp2p-kad-dht has it: a 64-byte digest and its header, and
/// room for the CIDs that old nodes send.
pub const PROVIDER_KEY_BYTES_MAX: usize = 80;

/// Longest key of FIND_NODE, GET_VALUE and PUT_VALUE. Go has no bound here; namespaces of ours and others fit in
/// 1 KiB, and a key is hashed and stored.
pub const KEY_BYTES_MAX: usize = 1 << 10;

/// Longest value. IPNS records end at 10 KiB and public keys at 1 KiB; 64 KiB is libp2p-kad's bound for values of
/// private networks.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Providers are added to an answer until it has this many bytes. libp2p-kad takes no longer answer with its default
/// settings, and would find no provider at all; some 80 random ones of 160 bytes serve any client.
pub const PROVIDERS_REPLY_BYTES_MAX: usize = 16 << 10;

/// Providers given in one answer. Answers stay within 100 KiB, and 100 random providers serve any client.
pub const PROVIDERS_PER_REPLY_MAX: usize = 100;

/// Inbound streams per connection, as rust-libp2p and js-libp2p have it.
pub const INBOUND_STREAMS_MAX: usize = 32;

/// Outbound streams per connection: rust-libp2p and js-libp2p servers stop at 32; 4 keep a slow answer from blocking
/// others.
pub const OUTBOUND_STREAMS_MAX: usize = 4;

/// Requests waiting for a stream on one connection. Each running operation asks a peer one thing at a time, so in the
/// smallest network, where all of them meet at one peer, as many wait as operations run.
pub const OUTBOUND_QUEUE_MAX: usize = OPERATIONS_MAX;

/// A server stream without a request for this long is reset, as go-libp2p-kad-dht does.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A parked client stream is closed after this long, before the server's own limit resets it under a request.
pub const STREAM_PARK_TIMEOUT: Duration = Duration::from_secs(50);

/// Requests served per second and peer, sustained. A lookup asks a peer once; go's sweep sends hundreds of
/// ADD_PROVIDER a second at most.
pub const REQUESTS_PER_SECOND: u32 = 500;

/// Requests a peer may send at once before [`REQUESTS_PER_SECOND`] applies: a sweep's batch for one region.
pub const REQUESTS_BURST: u32 = 5_000;

/// Time the slow side of a store has before a reply goes out with closer peers only. A caller's hop costs about
/// as much; waiting longer would cost it more than asking the next peer.
pub const STORE_READ_TIMEOUT: Duration = Duration::from_millis(100);

/// Candidates one lookup remembers, the closest of all it heard. The closest 20 decide; 256 leave room for a network
/// in which nine of ten are dead, and bound what 40 peers an answer can add.
pub const CANDIDATES_MAX: usize = 256;

/// Operations running at once; further ones are refused. Each holds about 20 KiB, so 4,096 hold 80 MiB.
pub const OPERATIONS_MAX: usize = 4_096;

/// Admission probes in flight, and peers waiting for one. A node meets a few strangers a second; 32 probes and 256
/// waiting take a burst, and a flood costs no more than that.
pub const PROBES_MAX: usize = 32;
/// See [`PROBES_MAX`]. Those who are connected and those who must be dialled each have a line of that length.
pub const PROBES_WAITING_MAX: usize = 256;
/// Of [`PROBES_MAX`], those that connected strangers leave to those who must be dialled: connections that answer nothing hold
/// a place for ten seconds each.
pub const PROBES_DIALLED_MIN: usize = 8;
/// Of those, peers of one IP group. The table takes 5 of a group; 8 leave room for some that do not answer.
pub const PROBES_PER_GROUP_MAX: usize = 8;

/// Probes of silent table peers in flight. At one a second and 5 s for a dial to where nobody is, 5 are; where
/// peers take 10 s to fail, the rate falls to eight in ten seconds.
pub const SILENT_PROBES_MAX: usize = 8;

/// A silent peer that failed is asked again after this long: a loss of packets may last as long as a route is mended.
pub const PROBE_AGAIN: Duration = Duration::from_secs(30);
/// Silent peers that wait for that. At one failure a second there are 30; others are asked again at once.
pub const SILENT_RETRIES_MAX: usize = 64;

/// Table peers that fail in a row, none having answered since they were asked, until we doubt our own connection. Where
/// a quarter are dead, 5 of 5 are so once in a thousand times; and a doubt costs 4 requests.
pub const OUTAGE_PEERS: usize = 5;
/// Table peers asked to resolve that doubt, and in each round while we are cut off.
pub const OUTAGE_PROBES: usize = 3;
/// Failures remembered until the doubt is resolved. More requests than that are not under way in the meantime.
pub const OUTAGE_FAILURES_MAX: usize = 256;
/// From one round of probes to the next while we are cut off: at first, doubled each time, and at most. A minute after
/// the network is back at the latest, we know so; in an hour without it 200 probes are sent.
pub const OUTAGE_PROBE_MIN: Duration = Duration::from_secs(5);
/// See [`OUTAGE_PROBE_MIN`].
pub const OUTAGE_PROBE_MAX: Duration = Duration::from_secs(60);

/// Connected peers whose IP groups are known. Drivers keep some 1,000 connections; of more, the claimed addresses count.
pub const LINKS_MAX: usize = 16_384;

/// A table peer that answers again so much later than it entered has proven itself. Three of five sessions on the public
/// network end within 3 minutes (Nebula, 2024), most of them at once; a minute tells those apart from a burst of requests.
pub const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// Networks in a file of autonomous systems. The global tables have some 1.2 million, aggregated a third of that; at some
/// 40 bytes each, 60 MiB.
pub const ASN_PREFIXES_MAX: usize = 1_500_000;

/// Sizes that `table.top_buckets` names at most, and the largest: keys of a network of 2^20 servers have some 20 buckets,
/// and 1,024 peers of one prefix are more than any lookup gains from.
pub const TOP_BUCKETS_MAX: usize = 20;
/// See [`TOP_BUCKETS_MAX`].
pub const TOP_BUCKET_SIZE_MAX: usize = 1_024;

/// Peers that `table.trusted` names at most: they are held by hand.
pub const TRUSTED_MAX: usize = 1_024;

/// Connected non-servers whose addresses a FIND_NODE for exactly them is answered with. At about 200 bytes each,
/// 200 KiB.
pub const CLIENTS_MAX: usize = 1_024;

/// Deepest common prefix that refresh targets. Finding a preimage costs 2^(n + 1) hashes, and a network of 2^20
/// servers has buckets up to about 15. Same bound as go-libp2p-kbucket.
pub const REFRESH_PREFIX_MAX: u16 = 15;

/// Bucket lookups of one refresh at once. Each has up to alpha requests in flight, so 3 stay within 30.
pub const REFRESH_WALKS_MAX: usize = 3;

/// Bootstrap peers remembered, and tried at once by one bootstrap. Public lists name fewer than ten; 64 take the
/// remembered ones too.
pub const BOOTSTRAP_PEERS_MAX: usize = 256;
/// See [`BOOTSTRAP_PEERS_MAX`].
pub const BOOTSTRAP_PEERS_AT_ONCE_MAX: usize = 64;

/// Sources of bootstrap peers that are being looked up have this long, from the start of joining: a domain name that does not
/// answer is given up after 10 s, and whoever was found has 10 s to answer. Who comes later joins in.
pub const CONNECT_BUDGET: Duration = Duration::from_secs(20);

/// Remembered peers that joining asks whether they are still there, and how long it goes on with that: the nearest, of
/// whom a table has about 20, and as many again twice. The others are probed in the background.
pub const VERIFY_MAX: usize = 64;
/// See [`VERIFY_MAX`].
pub const VERIFY_BUDGET: Duration = Duration::from_secs(20);
/// Remembered peers asked at once while joining; half of [`VERIFY_MAX`], so that two rounds fit into the budget even if all
/// of them are dead.
pub const VERIFY_AT_ONCE_MAX: usize = 32;

/// Below `table.peers_min` peers the node joins again this often, as go-libp2p-kad-dht does.
pub const REJOIN_INTERVAL: Duration = Duration::from_secs(120);
/// When the table has become that small, the node joins again after this long: the next peers may be failing already.
pub const REJOIN_SOON: Duration = Duration::from_secs(10);

/// A walk tells the network's size for this long, as in go-libp2p-kad-dht: in two hours a tenth of the network has changed.
pub const NETWORK_SIZE_AGE_MAX: Duration = Duration::from_secs(2 * 3_600);

/// An estimate of an earlier run counts for this long, until a better one of our own is there. The public network changes
/// by a few percent in two days.
pub const NETWORK_SIZE_REMEMBERED_MAX: Duration = Duration::from_secs(48 * 3_600);

/// Walks into one bucket that tell the network's size: twelve refreshes fit into [`NETWORK_SIZE_AGE_MAX`].
pub const NETWORK_SIZE_WALKS_MAX: usize = 12;

/// Peers kept over a restart. A table has some 300; 2,048 hold that of a network of 2^32 with buckets four times as large.
pub const MEMORY_PEERS_MAX: usize = 2_048;

/// Peers known to have failed within half an hour, also over a restart: those that left the table, and strangers whose probe failed.
/// Of more, the first are forgotten, and cost a probe again. At some 100 bytes each, 25 KiB.
pub const MEMORY_FAILED_MAX: usize = 256;

/// Size of what is kept over a restart: about 80 bytes for each of [`MEMORY_PEERS_MAX`] peers are 160 KiB, the rest is
/// room for peers with many addresses.
pub const MEMORY_BYTES_MAX: usize = 1 << 20;

/// A new neighbour is asked for our own id so long after it entered, with those that entered meanwhile: by then an answer
/// has come from half-way around the world (0.3 s), so that those who join together name each other.
pub const NEIGHBOUR_ASKED_AFTER: Duration = Duration::from_millis(500);
/// New neighbours in line for that: k, and as many again that push each other out within the moment.
pub const NEIGHBOURS_TO_ASK_MAX: usize = 40;

/// A node that joins waits so long, at most, for neighbours who join with it before it looks for peers elsewhere. It waits only
/// while they come.
pub const NEIGHBOURS_HOLD_MAX: Duration = Duration::from_secs(3);

/// Peers remembered that were in the table and failed. When half of a network of any size is cut off, half of a table of some
/// 250 fails: 64 of them lead back to all.
pub const LOST_MAX: usize = 64;
/// One of them is asked this often whether it is back: 60 dials an hour, where upkeep takes some 1,400 (`kadmos sim trial
/// churn`). A partition that is over is noticed within a minute or two.
pub const LOST_ASKED_EVERY: Duration = Duration::from_secs(60);
/// So many of them that come back one after the other were cut off, and not dead: if one in five were back by chance, five in a
/// row would be once in three thousand times. A wrong guess costs one refresh.
pub const LOST_BACK_IN_A_ROW: usize = 5;

/// A young node refreshes after this part of `table.refresh_interval`, then after twice that and so on: 2, 6 and 14 min with its
/// default. The first of them look only where neighbours are: those who joined meanwhile and do not count us among theirs have no reason
/// to come to us.
pub const YOUNG_REFRESH: u32 = 5;
