//! What the fuzz targets run: a session of the engine between a scripted client and a stand-in for PostgreSQL.

mod script;
mod server;
pub mod session;
