//! The network half, from a client's bytes to a server's and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod fake;
mod login;
mod openings;
mod relaying;
