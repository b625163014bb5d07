//! kadmos-records
