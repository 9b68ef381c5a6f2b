//! protoJson: the proto3 JSON mapping of the Envelope, one object and line a message.

use super::{
    formatter::{Frame, RowWriter},
    json_mapping::JsonMapping,
};
use crate::record::Row;

#[derive(Debug)]
pub(super) struct ProtoJson(JsonMapping);

impl ProtoJson {
    pub fn new() -> ProtoJson {
        ProtoJson(JsonMapping::new())
    }
}

impl RowWriter for ProtoJson {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        self.0.row(row, out);
    }

    fn frame(&self) -> Frame {
        Frame {
            open: b"{\"row\":[",
            between: b",",
            close: b"]}\n",
        }
    }
}
