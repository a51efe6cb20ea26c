//! Reading records, whatever their bytes are.

use super::{Delivery, VERSION, email_id};
use crate::ItemError;

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
            [email_id::AS_BYTES] => {
                let bytes = self.take(16)?.try_into().map_err(|_| unreadable())?;
                Ok(email_id::text(u128::from_be_bytes(bytes)))
            }
            [email_id::AS_TEXT] => self.text(),
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
