//! kadmos-testkit
