//! Ids of emails: a canonical UUID travels as 16 bytes, any other text as it is.

pub(super) const AS_TEXT: u8 = 0;
pub(super) const AS_BYTES: u8 = 1;

/// The number of a UUID in its canonical form, 36 characters in lower case.
pub(super) fn number(id: &str) -> Option<u128> {
    if id.len() != 36 {
        return None;
    }
    let number = u128::from_str_radix(&id.replace('-', ""), 16).ok()?;
    (text(number) == id).then_some(number)
}

/// The canonical form.
pub(super) fn text(number: u128) -> String {
    let mut text = format!("{number:032x}");
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}
