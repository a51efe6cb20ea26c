//! What a template may be made of, so that rendering it ends and stays on the stack.
//!
//! handlebars walks a template by recursion. It refuses a partial that includes itself, but not two
//! that include each other, and blocks may be nested as deep as a template is long; both ended the
//! process.

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

/// How many blocks, and how many subexpressions, may stand inside one another.
pub(super) const MAX_DEPTH: usize = 100;
/// The piece of output that stands at the head of each block's body, for [`super::output`] to count.
pub(super) const TICK: &str = "\0";

/// Checks a parsed template and marks the bodies of its blocks.
///
/// # Errors
/// What is wrong with it.
pub(super) fn bind(template: &mut Template) -> Result<(), &'static str> {
    body(template, 0)
}

fn body(template: &mut Template, depth: usize) -> Result<(), &'static str> {
    for element in &mut template.elements {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                expression(helper, 0)?;
            }
            TemplateElement::HelperBlock(helper) => block(helper, depth + 1)?,
            _ => return Err("partials and decorators are not available"),
        }
    }
    Ok(())
}

fn block(helper: &mut HelperTemplate, depth: usize) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("blocks are nested too deep: 100 levels, {{else if}} counted, is the most");
    }
    expression(helper, 0)?;
    for inner in [&mut helper.template, &mut helper.inverse] {
        let Some(inner) = inner else { continue };
        body(inner, depth)?;
        inner
            .elements
            .insert(0, TemplateElement::RawString(TICK.to_owned()));
        if let Some(place) = inner.mapping.first().cloned() {
            inner.mapping.insert(0, place); // one per element
        }
    }
    Ok(())
}

fn expression(helper: &HelperTemplate, depth: usize) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("parentheses are nested too deep: 100 levels is the most");
    }
    let parameters = helper.params.iter().chain(helper.hash.values());
    for parameter in parameters.chain([&helper.name]) {
        if let Parameter::Subexpression(inner) = parameter
            && let TemplateElement::Expression(inner) = inner.as_element()
        {
            expression(inner, depth + 1)?;
        }
    }
    Ok(())
}
