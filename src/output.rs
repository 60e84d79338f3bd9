//! What rbench prints and writes in its own name, and the only door to the terminal.

pub mod block;
pub mod comparison;
mod confidence;
pub mod csv;
pub mod door;
pub mod extras;
pub mod gates;
pub mod history;
pub mod html;
pub mod json;
pub mod junit;
pub mod merged;
pub mod names;
pub mod object;
pub mod plot;
pub mod sweep;
pub mod terminal;
