//! jsonl: the proto3 JSON mapping of each row, one object and line a row.

use super::{formatter::RowWriter, json_mapping::JsonMapping};
use crate::record::Row;

#[derive(Debug)]
pub(super) struct Jsonl(JsonMapping);

impl Jsonl {
    pub fn new() -> Jsonl {
        Jsonl(JsonMapping::new())
    }
}

impl RowWriter for Jsonl {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        self.0.row(row, out);
        out.push(b'\n');
    }
}
