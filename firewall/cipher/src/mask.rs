//! Masks over text.
