//! Ready and retry records: compact, versioned, with the event row where it can be cut out.
//!
//! Layout: version byte, row (length, bytes), fields, message. Numbers are LEB128 varints, texts and
//! bytes carry their length in front.

use crate::ItemError;

const VERSION: u8 = 1;
const ID_AS_BYTES: u8 = 1;
const ID_AS_TEXT: u8 = 0;

/// The fields of a delivery; see `sealwax.model.delivery.Delivery`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the Python dataclass of the same names documents them"
)]
pub struct Delivery {
    pub email_id: String,
    pub rcpt_index: u64,
    pub tenant_id: String,
    pub stream: String,
    pub reverse_path: String,
    pub rcpt: String,
    pub rcpt_domain: String,
    pub accepted_at_ms: u64,
    pub give_up_at_ms: u64,
    pub attempt: u64,
    pub due_ms: u64,
    pub not_before_ms: u64,
    pub source_ip: String,
    pub dkim_domain: String,
    pub template: String,
    pub tags: Vec<(String, String)>,
    pub request: (String, u64, u64),
    pub since_ms: u64,
    pub waits: Vec<(String, String, u64)>,
}

/// Encodes a delivery with its row (empty for none) and its message.
pub fn encode(delivery: &Delivery, row: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + message.len() + 400);
    out.push(VERSION);
    put_bytes(&mut out, row);
    put_id(&mut out, &delivery.email_id);
    put_number(&mut out, delivery.rcpt_index);
    for text in [
        &delivery.tenant_id,
        &delivery.stream,
        &delivery.reverse_path,
        &delivery.rcpt,
        &delivery.rcpt_domain,
    ] {
        put_bytes(&mut out, text.as_bytes());
    }
    for number in [
        delivery.accepted_at_ms,
        delivery.give_up_at_ms,
        delivery.attempt,
        delivery.due_ms,
        delivery.not_before_ms,
    ] {
        put_number(&mut out, number);
    }
    for text in [
        &delivery.source_ip,
        &delivery.dkim_domain,
        &delivery.template,
    ] {
        put_bytes(&mut out, text.as_bytes());
    }
    put_number(&mut out, delivery.tags.len() as u64);
    for (name, value) in &delivery.tags {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    put_bytes(&mut out, delivery.request.0.as_bytes());
    put_number(&mut out, delivery.request.1);
    put_number(&mut out, delivery.request.2);
    put_number(&mut out, delivery.since_ms);
    put_number(&mut out, delivery.waits.len() as u64);
    for (cause, rule, ms) in &delivery.waits {
        put_bytes(&mut out, cause.as_bytes());
        put_bytes(&mut out, rule.as_bytes());
        put_number(&mut out, *ms);
    }
    out.extend_from_slice(message);
    out
}

/// Decodes a delivery and where its message begins.
///
/// # Errors
/// `unknown_version` or `unreadable`.
pub fn decode(value: &[u8]) -> Result<(Delivery, usize), ItemError> {
    let mut cursor = Cursor::open(value)?;
    cursor.bytes()?;
    let delivery = Delivery {
        email_id: cursor.id()?,
        rcpt_index: cursor.number()?,
        tenant_id: cursor.text()?,
        stream: cursor.text()?,
        reverse_path: cursor.text()?,
        rcpt: cursor.text()?,
        rcpt_domain: cursor.text()?,
        accepted_at_ms: cursor.number()?,
        give_up_at_ms: cursor.number()?,
        attempt: cursor.number()?,
        due_ms: cursor.number()?,
        not_before_ms: cursor.number()?,
        source_ip: cursor.text()?,
        dkim_domain: cursor.text()?,
        template: cursor.text()?,
        tags: cursor.list(|c| Ok((c.text()?, c.text()?)))?,
        request: (cursor.text()?, cursor.number()?, cursor.number()?),
        since_ms: cursor.number()?,
        waits: cursor.list(|c| Ok((c.text()?, c.text()?, c.number()?)))?,
    };
    Ok((delivery, value.len() - cursor.rest.len()))
}

/// The event row of a record, cut out without decoding the rest.
///
/// # Errors
/// `unknown_version` or `unreadable`.
pub fn row(value: &[u8]) -> Result<&[u8], ItemError> {
    Cursor::open(value)?.bytes()
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A canonical UUID takes 16 bytes; any other text is kept as it is.
fn put_id(out: &mut Vec<u8>, id: &str) {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    match u128::from_str_radix(&hex, 16) {
        Ok(number) if uuid(number) == id => {
            out.push(ID_AS_BYTES);
            out.extend_from_slice(&number.to_be_bytes());
        }
        _ => {
            out.push(ID_AS_TEXT);
            put_bytes(out, id.as_bytes());
        }
    }
}

fn uuid(number: u128) -> String {
    let mut text = format!("{number:032x}");
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn open(value: &'a [u8]) -> Result<Self, ItemError> {
        match value.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            Some((version, _)) => Err(ItemError::new(
                "unknown_version",
                "",
                format!("the record is of version {version}, this is {VERSION}"),
            )),
            None => Err(unreadable()),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ItemError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, ItemError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or_else(unreadable)?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(unreadable())
    }

    fn bytes(&mut self) -> Result<&'a [u8], ItemError> {
        let length = usize::try_from(self.number()?).map_err(|_| unreadable())?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, ItemError> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| unreadable())?;
        Ok(text.to_owned())
    }

    fn id(&mut self) -> Result<String, ItemError> {
        match *self.take(1)? {
            [ID_AS_BYTES] => {
                let bytes = self.take(16)?.try_into().map_err(|_| unreadable())?;
                Ok(uuid(u128::from_be_bytes(bytes)))
            }
            [ID_AS_TEXT] => self.text(),
            _ => Err(unreadable()),
        }
    }

    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, ItemError>,
    ) -> Result<Vec<T>, ItemError> {
        let count = self.number()?;
        // Each item takes at least two bytes, so a made-up count is caught before it costs memory.
        if count > self.rest.len() as u64 {
            return Err(unreadable());
        }
        (0..count).map(|_| item(self)).collect()
    }
}

fn unreadable() -> ItemError {
    ItemError::new(
        "unreadable",
        "",
        "the record is cut off or was not written by sealwax",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(email_id: String, tags: Vec<(String, String)>, since_ms: u64) -> Delivery {
        Delivery {
            email_id,
            tags,
            since_ms,
            waits: vec![("retry".to_owned(), String::new(), 7)],
            request: ("t".to_owned(), 3, 1 << 40),
            ..Delivery::default()
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            id in "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|.{0,40}",
            tags in proptest::collection::vec((".{0,9}", ".{0,9}"), 0..4),
            since in any::<u64>(),
            event in proptest::collection::vec(any::<u8>(), 0..300),
            message in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let delivery = sample(id, tags, since);
            let value = encode(&delivery, &event, &message);
            let (decoded, start) = decode(&value).unwrap();
            prop_assert_eq!(decoded, delivery);
            prop_assert_eq!(&value[start..], &message[..]);
            prop_assert_eq!(row(&value).unwrap(), &event[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(mut value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&value);
            value.insert(0, VERSION);
            let _ = decode(&value);
            let _ = row(&value);
        }
    }
}
