//! json, for people: one object and line a row, values as [`super::human`] shows them.

use super::{
    formatter::RowWriter,
    human::{Shown, shown},
    json_mapping::{keys, put_string},
};
use crate::record::Row;

#[derive(Debug)]
pub(super) struct Json {
    keys: Vec<String>,
}

impl Json {
    pub fn new() -> Json {
        Json { keys: keys() }
    }
}

impl RowWriter for Json {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut is_first = true;
        for (index, key) in self.keys.iter().enumerate() {
            let Some(value) = shown(row, index) else { continue };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(key.as_bytes());
            match value {
                Shown::Number(_) | Shown::Negative(_) => value.put(out),
                Shown::Text(text) => put_string(out, text),
                // Neither holds anything that JSON escapes.
                Shown::Address(_) | Shown::Time(_) => {
                    out.push(b'"');
                    value.put(out);
                    out.push(b'"');
                }
            }
        }
        out.extend_from_slice(b"}\n");
    }
}
