//! Rendering an email's texts.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use handlebars::{
    Context, Handlebars, RenderContext, RenderErrorReason, Renderable as _, Template,
};
use lru::LruCache;
use serde_json::Value;

use super::compile::compile;
use super::output::{Bounded, MAX_BODIES, MAX_RENDERED};
use crate::ItemError;

/// How many compiled templates a renderer keeps.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Longer templates are compiled anew each time, so that what is kept stays below some 50 MB.
const MAX_KEPT_LEN: usize = 64 * 1024;

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
        let escaping = strict();
        let mut plain = strict();
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
    /// A condition may ask for a variable that is not there (`{{#if x}}`, `{{#unless x}}`); a value
    /// or a loop may not, unless the loop has an `{{else}}`.
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
        let one = |registry, field, source: &Option<String>| {
            source
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
        // Without a tag a template stands for itself; many bodies of one email each are such.
        if !source.contains("{{") && source.len() <= MAX_RENDERED {
            return Ok(source.to_owned());
        }
        let template = self.compiled(field, source)?;
        let mut output = Bounded::default();
        let mut state = RenderContext::new(None);
        match template.render(registry, context, &mut state, &mut output) {
            Ok(()) => Ok(output.text),
            Err(_) if output.full => Err(ItemError::new(
                "too_large",
                field,
                format!(
                    "{field} becomes longer than {MAX_RENDERED} bytes with this data, or its loops \
                     run more than {MAX_BODIES} times"
                ),
            )),
            Err(error) => Err(failure(field, error.reason())),
        }
    }

    fn compiled(&self, field: &'static str, source: &str) -> Result<Arc<Template>, ItemError> {
        if let Some(template) = self.lock().get(source) {
            return Ok(Arc::clone(template));
        }
        let template = Arc::new(compile(field, source)?);
        if source.len() <= MAX_KEPT_LEN {
            self.lock().put(source.to_owned(), Arc::clone(&template));
        }
        Ok(template)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<String, Arc<Template>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn strict() -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    // They would hide a variable of their name behind an empty text.
    for silent in ["log", "raw"] {
        registry.unregister_helper(silent);
    }
    registry
}

fn failure(field: &'static str, reason: &RenderErrorReason) -> ItemError {
    match reason {
        RenderErrorReason::MissingVariable(name) => {
            let name = name.as_deref().unwrap_or("a variable");
            let message = format!("{field} needs {name}, which data does not have");
            ItemError::new("missing_variable", field, message)
        }
        // In strict mode a helper says so too where the variable that it was given is missing.
        RenderErrorReason::ParamNotFoundForIndex(helper, _)
        | RenderErrorReason::ParamNotFoundForName(helper, _) => {
            let message =
                format!("{field} uses {helper} without a value, or data does not have the value");
            ItemError::new("missing_variable", field, message)
        }
        RenderErrorReason::HelperNotFound(name) => {
            let message = format!("{field}: there is no helper {name}");
            ItemError::new("template_failed", field, message)
        }
        other => ItemError::new("template_failed", field, format!("{field}: {other}")),
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

    fn nested(opening: &str, inner: &str, closing: &str, times: usize) -> String {
        format!("{}{inner}{}", opening.repeat(times), closing.repeat(times))
    }

    #[test]
    fn html_is_escaped_and_the_rest_is_not() {
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
        for data in ["{}", r#"{"user": {}}"#, r#"{"user": null}"#] {
            let error = render("Hello {{user.name}}", data).unwrap_err();
            assert_eq!((error.code, &*error.field), ("missing_variable", "html"));
            assert!(error.message.contains("user.name"), "{}", error.message);
        }
        let error = render("{{#each items}}x{{/each}}", "{}").unwrap_err();
        assert!(error.message.contains("items"), "{}", error.message);
        let error = render("{{#if (eq a 1)}}x{{/if}}", "{}").unwrap_err();
        assert_eq!(error.code, "missing_variable");
    }

    #[test]
    fn a_condition_may_ask_for_what_is_not_there() {
        let html = "{{#if vip}}yes{{else}}no{{/if}}";
        assert_eq!(render(html, "{}").unwrap(), "no");
        assert_eq!(render(html, r#"{"vip": true}"#).unwrap(), "yes");
        assert_eq!(
            render("{{#unless user.vip}}x{{/unless}}", "{}").unwrap(),
            "x"
        );
        let html = "{{#each items}}{{this}},{{else}}none{{/each}}";
        assert_eq!(render(html, "{}").unwrap(), "none");
        assert_eq!(render(html, r#"{"items": [1, 2]}"#).unwrap(), "1,2,");
    }

    #[test]
    fn broken_syntax_says_where() {
        for (html, place) in [
            ("a\n{{#if x}}", "line 2"),
            ("a\n\n{{name", "line 3"),
            ("{{#if a}}\n{{/each}}", "line 2"),
        ] {
            let error = render(html, "{}").unwrap_err();
            assert_eq!(error.code, "template_syntax");
            assert!(error.message.contains(place), "{}", error.message);
        }
    }

    #[test]
    fn the_text_is_bounded() {
        let data = format!(r#"{{"a": [{}0]}}"#, "0,".repeat(9_000));
        let html = format!("{{{{#each a}}}}{}{{{{/each}}}}", "x".repeat(1_000));
        assert_eq!(render(&html, &data).unwrap_err().code, "too_large");
    }

    #[test]
    fn loops_that_write_nothing_end_too() {
        let data = format!(r#"{{"a": [{}0]}}"#, "0,".repeat(20_000));
        for html in [
            "{{#each a}}{{#each ../a}}{{/each}}{{/each}}",
            "{{#each a}}{{#each ../a}}{{#if x}}{{/if}}{{/each}}{{/each}}",
        ] {
            assert_eq!(render(html, &data).unwrap_err().code, "too_large");
        }
        assert_eq!(render("{{#each a}}{{/each}}", &data).unwrap(), "");
    }

    #[test]
    fn partials_that_include_each_other_are_refused() {
        let html =
            "{{#*inline \"a\"}}{{> b}}{{/inline}}{{#*inline \"b\"}}{{> a}}{{/inline}}{{> a}}";
        assert_eq!(render(html, "{}").unwrap_err().code, "template_syntax");
        assert_eq!(render("{{> a}}", "{}").unwrap_err().code, "template_syntax");
    }

    #[test]
    fn nesting_is_bounded_and_never_ends_the_process() {
        let data = r#"{"a": [1], "b": false}"#;
        for times in [101, 1_000, 2_500] {
            for html in [
                nested("{{#if a}}", "x", "{{/if}}", times),
                nested("{{~ #with a}}", "x", "{{/with}}", times),
                format!("{{{{#if b}}}}{}{{{{/if}}}}", "{{else if b}}".repeat(times)),
                format!("{{{{len {}}}}}", nested("(len ", "a", ")", times)),
                nested("{{#*inline \"a\"}}", "", "{{/inline}}", times),
            ] {
                let error = render(&html, data).unwrap_err();
                assert_eq!(error.code, "template_syntax", "{}", error.message);
            }
        }
        let html = nested("{{#if a}}", "x", "{{/if}}", 100);
        assert_eq!(render(&html, data).unwrap(), "x");
        let levels = if cfg!(debug_assertions) {
            20_000
        } else {
            200_000
        };
        let deepest = nested("(a ", "a", ")", levels);
        let error = render(&format!("{{{{len {deepest}}}}}"), data).unwrap_err();
        assert_eq!(error.code, "template_syntax", "{}", error.message);
        let html = "{{#if a}}x{{/if}}(".repeat(500);
        assert_eq!(render(&html, data).unwrap(), "x(".repeat(500));
    }

    #[test]
    fn compiling_takes_no_longer_than_a_request_may() {
        for html in ["{{a}} ".repeat(100_000), "{{#if a}}".repeat(50_000)] {
            assert_eq!(render(&html, "{}").unwrap_err().code, "too_large");
        }
        let html = "x".repeat(2 * 1024 * 1024) + "{{a}}";
        assert_eq!(render(&html, "{}").unwrap_err().code, "too_large");
    }

    #[test]
    fn a_text_without_tags_stays_as_it_is() {
        let html = "\\ { {x} }} <a>\r\n";
        assert_eq!(render(html, "{}").unwrap(), html);
    }
}
