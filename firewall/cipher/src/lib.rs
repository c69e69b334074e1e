//! Tokens, key ring and masks: the only crate that holds key bytes.
//!
//! [`key`] derives every key from one master key; [`token`] is the format of `rf1_` tokens (`FORMAT.md` specifies it
//! byte by byte); [`present`] turns values into what a client may see; [`mask`] needs no key.

pub mod control;
mod ff1;
pub mod key;
pub mod mask;
pub mod present;
pub mod token;

pub use control::{ControlMac, mock_login_secret};
pub use key::{KeyError, MasterKey};
pub use mask::Mask;
pub use present::{Format, LabelKey, PresentError, Presenter, ValueType};
pub use token::{PREFIX, TokenError, is_token};
