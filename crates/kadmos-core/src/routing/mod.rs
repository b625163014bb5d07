//! Who is known: the table of serving peers and the view of it that requests are answered from.

mod admission;
mod asn;
mod bucket;
mod diversity;
mod snapshot;
mod standing;
mod table;

pub use admission::{Admitted, Newcomer};
pub use asn::{AsnError, AsnMap};
pub use bucket::Bucket;
pub use diversity::Group;
pub use snapshot::TableSnapshot;
pub use standing::Standing;
pub use table::{Admission, Table};
