//! Handlebars templates, in strict mode: a variable that is missing is an error that names it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use handlebars::{Context, Handlebars, RenderErrorReason, Template};
use lru::LruCache;
use serde_json::Value;

use crate::ItemError;

/// The longest text that a template may become, in bytes.
const MAX_RENDERED: usize = 8 * 1024 * 1024;
/// How many compiled templates a renderer keeps.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);
/// Longer templates are compiled anew each time, so that the cache stays small.
const MAX_KEPT_LEN: usize = 256 * 1024;

/// Subject, html and text of an email, each a template or absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts<S> {
    /// The subject; not escaped.
    pub subject: Option<S>,
    /// The HTML body; values are escaped.
    pub html: Option<S>,
    /// The text body; not escaped.
    pub text: Option<S>,
}

/// Renders templates and keeps the compiled ones.
pub struct Renderer {
    escaping: Handlebars<'static>,
    plain: Handlebars<'static>,
    compiled: Mutex<LruCache<String, Arc<Template>>>,
}

impl Default for Renderer {
    fn default() -> Self {
        let mut escaping = Handlebars::new();
        escaping.set_strict_mode(true);
        let mut plain = Handlebars::new();
        plain.set_strict_mode(true);
        plain.register_escape_fn(handlebars::no_escape);
        Self {
            escaping,
            plain,
            compiled: Mutex::new(LruCache::new(KEPT)),
        }
    }
}

impl Renderer {
    /// Renders what is there of an email.
    ///
    /// # Errors
    /// `bad_data` where `data` is no JSON object, `template_syntax`, `missing_variable`,
    /// `template_failed` or `too_large`, with the field.
    pub fn render(&self, texts: &Texts<String>, data: &[u8]) -> Result<Texts<String>, ItemError> {
        let data: Value = serde_json::from_slice(data)
            .map_err(|e| ItemError::new("bad_data", "data", format!("data is not JSON: {e}")))?;
        if !data.is_object() {
            return Err(ItemError::new(
                "bad_data",
                "data",
                "data must be a JSON object, such as {\"name\": \"Ada\"}",
            ));
        }
        let context = Context::from(data);
        let one = |registry, field, template: &Option<String>| {
            template
                .as_ref()
                .map(|source| self.render_one(registry, field, source, &context))
                .transpose()
        };
        Ok(Texts {
            subject: one(&self.plain, "subject", &texts.subject)?,
            html: one(&self.escaping, "html", &texts.html)?,
            text: one(&self.plain, "text", &texts.text)?,
        })
    }

    fn render_one(
        &self,
        registry: &Handlebars<'static>,
        field: &'static str,
        source: &str,
        context: &Context,
    ) -> Result<String, ItemError> {
        let template = self.compile(field, source)?;
        let mut output = Bounded::default();
        let mut render_context = handlebars::RenderContext::new(None);
        let rendered = handlebars::Renderable::render(
            template.as_ref(),
            registry,
            context,
            &mut render_context,
            &mut output,
        );
        match rendered {
            Ok(()) => Ok(output.text),
            Err(_) if output.full => Err(ItemError::new(
                "too_large",
                field,
                format!("{field} becomes longer than {MAX_RENDERED} bytes with this data"),
            )),
            Err(error) => Err(failure(field, error.reason())),
        }
    }

    fn compile(&self, field: &'static str, source: &str) -> Result<Arc<Template>, ItemError> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = compiled.get(source) {
            return Ok(Arc::clone(template));
        }
        let template = Template::compile(source).map_err(|error| {
            let place = error
                .pos()
                .map(|(line, column)| format!(" (line {line}, column {column})"))
                .unwrap_or_default();
            let reason = error.reason();
            ItemError::new(
                "template_syntax",
                field,
                format!("{field}{place}: {reason}"),
            )
        })?;
        let template = Arc::new(template);
        if source.len() <= MAX_KEPT_LEN {
            compiled.put(source.to_owned(), Arc::clone(&template));
        }
        Ok(template)
    }
}

fn failure(field: &'static str, reason: &RenderErrorReason) -> ItemError {
    if let RenderErrorReason::MissingVariable(name) = reason {
        let name = name.as_deref().unwrap_or("a variable");
        return ItemError::new(
            "missing_variable",
            field,
            format!("{field} needs {name}, which data does not have"),
        );
    }
    ItemError::new("template_failed", field, format!("{field}: {reason}"))
}

/// Output that stops at [`MAX_RENDERED`].
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl handlebars::Output for Bounded {
    fn write(&mut self, piece: &str) -> std::io::Result<()> {
        if self.text.len().saturating_add(piece.len()) > MAX_RENDERED {
            self.full = true;
            return Err(std::io::Error::other("too large"));
        }
        self.text.push_str(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(html: &str, data: &str) -> Result<String, ItemError> {
        let texts = Texts {
            html: Some(html.to_owned()),
            ..Texts::default()
        };
        let rendered = Renderer::default().render(&texts, data.as_bytes())?;
        Ok(rendered.html.unwrap())
    }

    #[test]
    fn html_is_escaped_and_the_subject_is_not() {
        let texts = Texts {
            subject: Some("Hi {{name}}".to_owned()),
            html: Some("<p>{{name}}</p>".to_owned()),
            text: Some("{{name}}".to_owned()),
        };
        let rendered = Renderer::default()
            .render(&texts, br#"{"name": "A & <B>"}"#)
            .unwrap();
        assert_eq!(rendered.subject.unwrap(), "Hi A & <B>");
        assert_eq!(rendered.html.unwrap(), "<p>A &amp; &lt;B&gt;</p>");
        assert_eq!(rendered.text.unwrap(), "A & <B>");
    }

    #[test]
    fn a_missing_variable_is_named_with_its_path() {
        let error = render("Hello {{user.name}}", r#"{"user": {}}"#).unwrap_err();
        assert_eq!(error.code, "missing_variable");
        assert!(error.message.contains("user.name"), "{}", error.message);
    }

    #[test]
    fn a_condition_may_ask_for_what_is_not_there() {
        let html = "{{#if vip}}yes{{else}}no{{/if}}";
        assert_eq!(render(html, "{}").unwrap(), "no");
        assert_eq!(render(html, r#"{"vip": true}"#).unwrap(), "yes");
    }

    #[test]
    fn broken_syntax_says_where() {
        let error = render("a\n{{#if x}}", "{}").unwrap_err();
        assert_eq!(error.code, "template_syntax");
    }

    #[test]
    fn output_is_bounded() {
        let data = format!(r#"{{"a": [{}0]}}"#, "0,".repeat(9_000));
        let html = format!("{{{{#each a}}}}{}{{{{/each}}}}", "x".repeat(1_000));
        assert_eq!(render(&html, &data).unwrap_err().code, "too_large");
    }
}
