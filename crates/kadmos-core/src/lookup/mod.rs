//! Iterative lookups.
