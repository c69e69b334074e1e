//! The ringfence server: everything that does I/O.

pub mod admin;
pub mod audit;
pub mod auth;
pub mod cancel;
pub mod catalog;
mod check;
pub mod cli;
pub mod config;
mod connection;
pub mod listen;
mod logs;
pub mod metrics;
pub mod pg;
pub mod policy_file;
mod relay;
pub mod reload;
pub mod serve;
pub mod sessions;
pub mod shared;
mod sink;
mod startup;
mod startup_settings;
pub mod store;
mod stream;
pub mod tls;
pub mod upstream;
pub mod worlds;
