//! What `explain` and `replay` say, as data and as text. The server makes these values and `rfctl` prints them;
//! `ringfence explain` and `ringfence replay` do both. Knows no SQL and no policy.

pub mod audit;
pub mod explain;
mod explain_text;
mod place;
pub mod replay;
mod replay_text;
mod table;

pub use explain::Explanation;
pub use place::{Place, line_of};
pub use replay::Replay;
pub use replay_text::shortened;
pub use table::Table;
