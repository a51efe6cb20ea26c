//! Ready and retry records: compact, versioned, with the event row where it can be cut out.
//!
//! Layout: version byte, row (length, bytes), fields, message. Numbers are LEB128 varints, texts and
//! bytes carry their length in front. The message is what remains, so that it is never copied.

mod decode;
mod delivery;
mod email_id;
mod encode;

pub use decode::{decode, row};
pub use delivery::Delivery;
pub use encode::encode;

const VERSION: u8 = 1;

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
