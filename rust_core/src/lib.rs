//! `sealwax._core`: the Python face of the engine. Every call takes a batch and releases the GIL.

mod errors;
mod messages;
mod records;
mod templates;

use pyo3::prelude::*;

/// The native module.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::errors::ItemError;
    #[pymodule_export]
    use crate::messages::{Draft, Signer, compose, sign};
    #[pymodule_export]
    use crate::records::{decode_deliveries, delivery_row, encode_deliveries};
    #[pymodule_export]
    use crate::templates::render;
}
