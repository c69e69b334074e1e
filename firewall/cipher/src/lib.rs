//! Tokens, key ring and masks: the only crate that holds key bytes.

pub mod mask;
pub mod present;

pub use present::{Presenter, ValueType};
