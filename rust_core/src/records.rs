//! Encoding and decoding ready and retry records.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};
use sealwax_engine::ItemError;
use sealwax_engine::record::{self, Delivery};

use crate::errors::{item, value_error};

/// How many fields a delivery has, its message included.
const FIELDS: usize = 20;

/// Encodes (fields, row) each.
#[pyfunction]
pub(crate) fn encode_deliveries<'py>(
    py: Python<'py>,
    jobs: Vec<(Bound<'py, PyTuple>, PyBackedBytes)>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let read: Vec<_> = jobs
        .iter()
        .map(|(fields, row)| read_fields(fields).map(|(d, message)| (d, row, message)))
        .collect::<PyResult<_>>()?;
    let encoded: Vec<_> = py.detach(|| {
        read.iter()
            .map(|(delivery, row, message)| record::encode(delivery, row, message))
            .collect()
    });
    Ok(encoded
        .iter()
        .map(|value| PyBytes::new(py, value))
        .collect())
}

/// Decodes records to fields, without their rows.
#[pyfunction]
pub(crate) fn decode_deliveries(
    py: Python<'_>,
    values: Vec<PyBackedBytes>,
) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let decoded: Vec<_> = py.detach(|| values.iter().map(|value| record::decode(value)).collect());
    decoded
        .into_iter()
        .zip(&values)
        .map(|(result, value)| match result {
            Ok((delivery, start)) => {
                let message = value.get(start..).unwrap_or_default();
                Ok(write_fields(py, delivery, message)?.into_any())
            }
            Err(error) => item::<()>(py, Err(error)),
        })
        .collect()
}

/// Cuts the event row out of a record.
#[pyfunction]
pub(crate) fn delivery_row<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    record::row(value)
        .map(|row| PyBytes::new(py, row))
        .map_err(|error: ItemError| value_error(&error))
}

fn read_fields(fields: &Bound<'_, PyTuple>) -> PyResult<(Delivery, PyBackedBytes)> {
    let at = |i: usize| fields.get_item(i);
    let delivery = Delivery {
        email_id: at(0)?.extract()?,
        rcpt_index: at(1)?.extract()?,
        tenant_id: at(2)?.extract()?,
        stream: at(3)?.extract()?,
        reverse_path: at(4)?.extract()?,
        rcpt: at(5)?.extract()?,
        rcpt_domain: at(6)?.extract()?,
        accepted_at_ms: at(7)?.extract()?,
        give_up_at_ms: at(8)?.extract()?,
        attempt: at(9)?.extract()?,
        due_ms: at(10)?.extract()?,
        not_before_ms: at(11)?.extract()?,
        source_ip: at(12)?.extract()?,
        dkim_domain: at(13)?.extract()?,
        template: at(14)?.extract()?,
        tags: at(15)?.extract()?,
        request: at(16)?.extract()?,
        since_ms: at(17)?.extract()?,
        waits: at(18)?.extract()?,
    };
    Ok((delivery, at(FIELDS - 1)?.extract()?))
}

fn write_fields<'py>(
    py: Python<'py>,
    d: Delivery,
    message: &[u8],
) -> PyResult<Bound<'py, PyTuple>> {
    let tags = PyTuple::new(py, d.tags)?;
    let waits = PyTuple::new(py, d.waits)?;
    let fields: [Bound<'py, PyAny>; FIELDS] = [
        d.email_id.into_bound_py_any(py)?,
        d.rcpt_index.into_bound_py_any(py)?,
        d.tenant_id.into_bound_py_any(py)?,
        d.stream.into_bound_py_any(py)?,
        d.reverse_path.into_bound_py_any(py)?,
        d.rcpt.into_bound_py_any(py)?,
        d.rcpt_domain.into_bound_py_any(py)?,
        d.accepted_at_ms.into_bound_py_any(py)?,
        d.give_up_at_ms.into_bound_py_any(py)?,
        d.attempt.into_bound_py_any(py)?,
        d.due_ms.into_bound_py_any(py)?,
        d.not_before_ms.into_bound_py_any(py)?,
        d.source_ip.into_bound_py_any(py)?,
        d.dkim_domain.into_bound_py_any(py)?,
        d.template.into_bound_py_any(py)?,
        tags.into_any(),
        d.request.into_bound_py_any(py)?,
        d.since_ms.into_bound_py_any(py)?,
        waits.into_any(),
        PyBytes::new(py, message).into_any(),
    ];
    PyTuple::new(py, fields)
}
