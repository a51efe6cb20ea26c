//! What a rendering writes into: it stops at a limit.

use super::shape::TICK;

/// The longest text that a template may become, in bytes.
pub(super) const MAX_RENDERED: usize = 8 * 1024 * 1024;
/// How many bodies of blocks a rendering may go through; loops in loops are stopped even where
/// they write nothing.
pub(super) const MAX_BODIES: usize = 50_000;

/// Text that stops at [`MAX_RENDERED`] bytes and after [`MAX_BODIES`] bodies.
#[derive(Default)]
pub(super) struct Bounded {
    pub(super) text: String,
    pub(super) full: bool,
    bodies: usize,
}

impl handlebars::Output for Bounded {
    fn write(&mut self, piece: &str) -> std::io::Result<()> {
        if piece == TICK {
            self.bodies += 1;
        } else {
            self.text.push_str(piece);
        }
        if self.text.len() > MAX_RENDERED || self.bodies > MAX_BODIES {
            self.full = true;
            return Err(std::io::Error::other("too large"));
        }
        Ok(())
    }
}
