//! Who is known: the table of serving peers and the view of it that requests are answered from.

mod bucket;
mod snapshot;
mod table;

pub use bucket::Bucket;
pub use snapshot::TableSnapshot;
pub use table::{Admission, Table};
