//! A row as the format json has it.

use serde_json::Value;
use xtcp2::record::FIELDS;

/// A row in the format json.
pub struct Row(pub Value);

impl Row {
    fn value(&self, field: &str) -> Option<&Value> {
        let field = FIELDS.iter().find(|known| known.name == field);
        self.0.get(field.expect("a field of the table").json_name())
    }

    /// A number; `None` where the row has none.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.value(field).map(|value| {
            value
                .as_u64()
                .unwrap_or_else(|| panic!("{field}: expected a number, got {value}"))
        })
    }

    /// A number, 0 where the row has none: ss pads a short tcp_info with zeros.
    pub fn padded(&self, field: &str) -> u64 {
        self.number(field).unwrap_or(0)
    }

    /// A text; empty where the row has none.
    pub fn text(&self, field: &str) -> &str {
        self.value(field).map_or("", |value| {
            value
                .as_str()
                .unwrap_or_else(|| panic!("{field}: expected a text, got {value}"))
        })
    }

    /// The socket's cookie.
    pub fn cookie(&self) -> u64 {
        self.padded("inet_diag_msg_socket_cookie")
    }

    /// Whether the kernel sent the attribute of that INET_DIAG_* number.
    pub fn has(&self, attribute: u8) -> bool {
        self.padded("inet_diag_attributes") >> attribute & 1 == 1
    }
}
