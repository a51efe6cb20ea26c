//! Errors of the engine as Python sees them; the only place that makes a `PyErr`.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Why one item of a batch failed; the others are not touched.
#[pyclass(frozen, get_all, module = "sealwax._core")]
pub(crate) struct ItemError {
    code: String,
    field: String,
    message: String,
}

#[pymethods]
impl ItemError {
    fn __repr__(&self) -> String {
        format!(
            "ItemError({:?}, {:?}, {:?})",
            self.code, self.field, self.message
        )
    }
}

impl From<sealwax_engine::ItemError> for ItemError {
    fn from(error: sealwax_engine::ItemError) -> Self {
        Self {
            code: error.code.to_owned(),
            field: error.field.into_owned(),
            message: error.message,
        }
    }
}

/// For the calls that take one thing and raise.
pub(crate) fn value_error(error: &sealwax_engine::ItemError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A result as a Python object: the value, or an `ItemError` in its place.
pub(crate) fn item<'py, T: IntoPyObjectExt<'py>>(
    py: Python<'py>,
    result: Result<T, sealwax_engine::ItemError>,
) -> PyResult<Bound<'py, PyAny>> {
    match result {
        Ok(value) => value.into_bound_py_any(py),
        Err(error) => ItemError::from(error).into_bound_py_any(py),
    }
}
