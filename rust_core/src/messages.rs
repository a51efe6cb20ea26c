//! Composing and signing messages.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use sealwax_engine::dkim;
use sealwax_engine::mime::{self, Attachment, Mailbox};

use crate::errors::{item, value_error};

/// What a message is composed from; one message comes out per Message-ID.
#[pyclass(frozen, module = "sealwax._core")]
pub(crate) struct Draft(mime::Draft);

#[pymethods]
impl Draft {
    #[new]
    #[pyo3(signature = (*, email_id, date_ms, author, to, cc, reply_to, subject, html, text,
                        headers, attachments, message_ids))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn new(
        email_id: String,
        date_ms: i64,
        author: Mailbox,
        to: Vec<Mailbox>,
        cc: Vec<Mailbox>,
        reply_to: Vec<Mailbox>,
        subject: String,
        html: Option<String>,
        text: Option<String>,
        headers: Vec<(String, String)>,
        attachments: Vec<(String, String, String, Vec<u8>)>,
        message_ids: Vec<String>,
    ) -> Self {
        let file = |(filename, content_type, content_id, content)| Attachment {
            filename,
            content_type,
            content_id,
            content,
        };
        Self(mime::Draft {
            email_id,
            date_ms,
            author,
            to,
            cc,
            reply_to,
            subject,
            html,
            text,
            headers,
            attachments: attachments.into_iter().map(file).collect(),
            message_ids,
        })
    }
}

/// Builds the messages of each draft, one per Message-ID, unsigned.
#[pyfunction]
pub(crate) fn compose<'py>(
    py: Python<'py>,
    drafts: Vec<PyRef<'py, Draft>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let plain: Vec<&mime::Draft> = drafts.iter().map(|draft| &draft.0).collect();
    let composed: Vec<_> = py.detach(|| plain.into_iter().map(mime::compose).collect());
    composed
        .into_iter()
        .map(|result| {
            let copies = result.map(|copies| {
                let copies = copies.iter().map(|copy| PyBytes::new(py, copy));
                PyList::new(py, copies.collect::<Vec<_>>())
            });
            match copies {
                Ok(list) => Ok(list?.into_any()),
                Err(error) => item::<()>(py, Err(error)),
            }
        })
        .collect()
}

/// The DKIM keys of one domain, parsed once.
#[pyclass(frozen, module = "sealwax._core")]
pub(crate) struct Signer(dkim::Signer);

#[pymethods]
impl Signer {
    #[new]
    fn new(domain: &str, keys: Vec<(String, String, Vec<u8>)>) -> PyResult<Self> {
        dkim::Signer::new(domain, &keys)
            .map(Self)
            .map_err(|error| value_error(&error))
    }

    #[getter]
    fn domain(&self) -> &str {
        self.0.domain()
    }
}

/// Signs each (message, signer, t= in seconds).
#[pyfunction]
pub(crate) fn sign<'py>(
    py: Python<'py>,
    jobs: Vec<(PyBackedBytes, PyRef<'py, Signer>, i64)>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let plain: Vec<(&[u8], &dkim::Signer, i64)> = jobs
        .iter()
        .map(|(message, signer, time_s)| (message.as_ref(), &signer.0, *time_s))
        .collect();
    let signed: Vec<_> = py.detach(|| {
        plain
            .into_iter()
            .map(|(message, signer, time_s)| signer.sign(message, time_s))
            .collect()
    });
    signed
        .into_iter()
        .map(|result| item(py, result.map(|message| PyBytes::new(py, &message))))
        .collect()
}
