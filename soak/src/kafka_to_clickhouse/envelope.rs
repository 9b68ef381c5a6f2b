//! What a message is, decided before anything is inserted: one Envelope of whole rows, or poison.

use std::fmt;
use xtcp2::{
    output::Identity,
    record::{Row, rows_of, wire::read_varint},
};

/// Number of the field `instance_id`.
const INSTANCE_ID: u32 = 70;

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970, as the broker keeps it: a topic that is deleted and made anew counts its
    /// offsets from 0 again, and must not have the tokens of the old one.
    pub timestamp_ms: i64,
}

/// The `insert_deduplication_token` of a message: the same each time it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The envelope's identity, which is the key of the message.
    Identity(String),
    /// For a message without such a key: where it lies.
    Place(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Identity(text) | Token::Place(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            topic,
            partition,
            offset,
            timestamp_ms,
        } = self;
        write!(f, "{topic}/{partition}/{offset}/{timestamp_ms}")
    }
}

/// A message that may be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its token.
    pub token: Token,
    /// Rows in it.
    pub rows: u64,
}

/// Reads a message as xtcp2 writes them: exactly one Envelope behind its length, every row whole.
///
/// # Errors
/// What is wrong with it: it is poison then, for any table.
pub fn check(place: &Place<'_>, key: Option<&[u8]>, payload: Option<&[u8]>) -> Result<Checked, String> {
    let payload = payload.ok_or("expected an Envelope, got a message without a value")?;
    let (length, envelope) = read_varint(payload).ok_or("expected a length, got bytes that are none")?;
    if length != envelope.len() as u64 {
        let got = envelope.len();
        return Err(format!(
            "expected one Envelope of {length} bytes, got {got} bytes behind its length"
        ));
    }
    let mut rows = 0;
    let mut instance_id = None;
    for row in rows_of(envelope) {
        let malformed = |error| format!("row {}: {error}", rows + 1);
        let row = Row::decode(row.map_err(malformed)?).map_err(malformed)?;
        rows += 1;
        instance_id.get_or_insert_with(|| row.uint(INSTANCE_ID));
    }
    let identity = key.and_then(|key| identity(key, instance_id?));
    let token = identity.map_or_else(|| Token::Place(place.to_string()), Token::Identity);
    Ok(Checked { token, rows })
}

/// The key as text, if it is the identity of an envelope of that instance. A key that another producer chose
/// (a host name, say) may repeat, and rows would be dropped for it.
fn identity(key: &[u8], instance_id: u64) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    let mut parts = text.split('-');
    let instance = u64::from_str_radix(parts.next()?, 16).ok()?;
    let envelope_sequence = parts.next()?.parse().ok()?;
    let part = parts.next().map_or(Ok(0), str::parse).ok()?;
    let identity = Identity {
        instance_id: instance,
        envelope_sequence,
        part,
    };
    // Only the one spelling counts: +1, 01 and the like are another producer's.
    (instance == instance_id && instance != 0 && identity.to_string() == text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtcp2::record::{FIELDS, wire::Writer};

    const PLACE: Place<'_> = Place {
        topic: "xtcp",
        partition: 3,
        offset: 7,
        timestamp_ms: 12,
    };

    /// An envelope of rows that have an instance id and a counter.
    fn message(instance_id: u64, rows: u64) -> Vec<u8> {
        let mut envelope = Vec::new();
        for counter in 1..=rows {
            let mut buffer = [0; 64];
            let mut writer = Writer::new(&mut buffer);
            writer.uint64::<60>(counter);
            writer.uint64::<INSTANCE_ID>(instance_id);
            let length = writer.len();
            envelope.extend([0x52, u8::try_from(length).unwrap()]);
            envelope.extend(&buffer[..length]);
        }
        let mut buffer = [0; 18];
        let mut writer = Writer::new(&mut buffer);
        writer.varint(envelope.len() as u64);
        let length = writer.len();
        [&buffer[..length], &envelope].concat()
    }

    #[test]
    fn the_number_is_that_of_the_field_table() {
        let field = FIELDS.iter().find(|field| field.number == INSTANCE_ID).unwrap();
        assert_eq!(field.name, "instance_id");
    }

    #[test]
    fn the_key_is_the_token_only_where_it_is_the_identity_of_these_rows() {
        let value = message(0xab, 3);
        let by_identity = |key: &str| match check(&PLACE, Some(key.as_bytes()), Some(&value)).unwrap() {
            Checked {
                token: Token::Identity(token),
                rows: 3,
            } => token == key,
            Checked {
                token: Token::Place(token),
                rows: 3,
            } => {
                assert_eq!(token, "xtcp/3/7/12");
                false
            }
            other => panic!("{other:?}"),
        };
        for key in ["00000000000000ab-1", "00000000000000ab-18446744073709551615-2"] {
            assert!(by_identity(key), "{key}");
        }
        for key in [
            "",
            "host-1",
            "ab-1",
            "00000000000000AB-1",
            "00000000000000ab-+1",
            "00000000000000ab-01",
            "00000000000000ab-1-0",
            "00000000000000ab-1-2-3",
            "00000000000000ac-1",
            "00000000000000ab",
        ] {
            assert!(!by_identity(key), "{key}");
        }
        let keyless = check(&PLACE, None, Some(&value)).unwrap();
        assert_eq!(keyless.token, Token::Place("xtcp/3/7/12".to_owned()));
        let of_nobody = check(&PLACE, Some(b"0000000000000000-1"), Some(&message(0, 1))).unwrap();
        assert!(
            matches!(of_nobody.token, Token::Place(_)),
            "rows of the reference program have no instance"
        );
    }

    #[test]
    fn what_is_not_exactly_one_envelope_is_poison() {
        let value = message(1, 2);
        assert!(check(&PLACE, None, None).is_err());
        for cut in 0..value.len() {
            assert!(check(&PLACE, None, Some(&value[..cut])).is_err(), "{cut} bytes");
        }
        let two = [value.clone(), value.clone()].concat();
        assert!(
            check(&PLACE, None, Some(&two)).is_err(),
            "only the first would be inserted"
        );
        let mut wrong = value.clone();
        wrong[1] = 0x0a;
        assert!(
            check(&PLACE, None, Some(&wrong)).unwrap_err().contains("row 1"),
            "another field"
        );
        assert!(check(&PLACE, None, Some(b"{\"a\": 1}\n")).is_err());
        assert_eq!(check(&PLACE, None, Some(&[0])).unwrap().rows, 0);
    }
}
