//! Words of a line, added one by one.

use super::{numbers::general, output::Line};
use crate::common::json_row::Row;

/// A line as it is made.
pub struct Words<'a> {
    pub row: &'a Row,
    pub line: &'a mut Line,
}

impl Words<'_> {
    pub fn put(&mut self, key: &str, value: impl ToString) {
        self.line.insert(key.to_owned(), value.to_string());
    }

    pub fn put_some(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.put(key, value);
        }
    }

    /// `%u` unless 0.
    pub fn counts(&mut self, fields: &[(&str, &str)]) {
        for (key, field) in fields {
            self.put_some(key, self.row.padded(field));
        }
    }

    /// Microseconds as milliseconds, `%g`, unless 0.
    pub fn milliseconds(&mut self, key: &str, field: &str) {
        let us = self.row.padded(field);
        if us != 0 {
            self.put(key, general(us as f64 / 1000.0));
        }
    }
}
