//! The sans-IO session between one client and one server.
//!
//! Bytes of either side go in ([`Session::client_bytes`], [`Session::server_bytes`]), bytes for either side come
//! out through [`Peers`]. Nothing here reads a clock, a socket or a file: time is an argument, and what only the
//! outside can know (a fresh catalog) is asked for with [`Need`] and answered with [`Session::world`].
//!
//! Nothing reaches the server but as [`Cleared`], which only [`gate`] makes.

mod door;
pub mod event;
pub mod gate;
pub mod literals;
mod names;
mod pending;
pub mod plan;
mod refusal;
mod rewrite;
pub mod session;
mod templates;
pub mod world;

pub use event::{Detection, Event, HandledColumn, Shape, Verdict};
pub use gate::Cleared;
pub use plan::{Plan, PlanCache};
pub use session::{Fatal, Goodbye, Limits, Need, Peers, Session, SessionConfig};
pub use world::{Changes, World};
