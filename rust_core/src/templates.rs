//! Rendering templates.

use std::sync::LazyLock;

use pyo3::prelude::*;
use sealwax_engine::render::{Renderer, Texts};

use crate::errors::item;

static RENDERER: LazyLock<Renderer> = LazyLock::new(Renderer::default);

type Job = (Option<String>, Option<String>, Option<String>, Vec<u8>);

/// Renders (subject, html, text, data) each.
#[pyfunction]
pub(crate) fn render(py: Python<'_>, jobs: Vec<Job>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let rendered: Vec<_> = py.detach(|| {
        jobs.into_iter()
            .map(|(subject, html, text, data)| {
                let texts = Texts {
                    subject,
                    html,
                    text,
                };
                RENDERER.render(&texts, &data)
            })
            .collect()
    });
    rendered
        .into_iter()
        .map(|result| item(py, result.map(|t| (t.subject, t.html, t.text))))
        .collect()
}
