//! The ringfence server: everything that does I/O.

pub mod auth;
pub mod cancel;
mod connection;
pub mod listen;
mod relay;
pub mod sessions;
pub mod shared;
mod sink;
mod startup;
mod startup_settings;
mod stream;
pub mod tls;
pub mod upstream;
