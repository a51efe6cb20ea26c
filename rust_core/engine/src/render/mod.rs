//! Handlebars templates, in strict mode: a variable that is missing is an error that names it.
//!
//! Templates come from tenants, so compiling and rendering one takes bounded stack and time.

mod compile;
mod output;
mod renderer;
mod shape;

pub use renderer::{Renderer, Texts};
