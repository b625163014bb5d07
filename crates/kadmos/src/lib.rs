//! kadmos
