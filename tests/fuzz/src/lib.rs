//! What must hold for any bytes whatever: nothing panics, and what was understood can be said again.
//!
//! The first byte of an input chooses what the rest is taken for, so that one corpus covers every form.

pub mod decoder;
pub mod directory;
