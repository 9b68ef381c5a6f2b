//! Writes what scripts/tests/readers.py reads: `cargo run --example reader_inputs DIRECTORY`.
//!
//! - `xtcp_flat_record.desc`: the committed .proto compiled, so that Python needs no protoc;
//! - `rows.pb`: delimited envelopes of rows with every field and extreme values, which no live
//!   host shows;
//! - `rows.jsonl`: the same rows in the proto3 JSON mapping, written by prost-reflect.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{RECORDED, Random, anything, encoder, repository};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use std::{
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};
use xtcp2::{
    envelope::Envelope,
    netlink::inet_diag::{Attributes, InetDiagMsg},
};

const ROWS: u64 = 2_000;
const ROWS_PER_ENVELOPE: u32 = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("usage: reader_inputs DIRECTORY")?,
    );
    fs::create_dir_all(&directory)?;
    let set = protox::compile(["xtcp_flat_record.proto"], [repository("proto")])?;
    fs::write(directory.join("xtcp_flat_record.desc"), set.encode_to_vec())?;
    let pool = DescriptorPool::from_file_descriptor_set(set)?;
    let schema = pool
        .get_message_by_name("xtcp_flat_record.v1.Envelope")
        .ok_or("xtcp_flat_record.proto: expected a message Envelope, got none")?;

    let mut envelopes = Vec::new();
    let mut close = |closed: xtcp2::envelope::Closed<'_>| {
        envelopes.push((closed.delimited.to_vec(), closed.envelope.len()))
    };
    let mut encoder = encoder(Attributes::ALL);
    let mut envelope = Envelope::new(ROWS_PER_ENVELOPE, 786_432);
    let mut random = Random(11);
    for counter in 1..=ROWS {
        let message = match counter {
            1 => RECORDED.to_vec(),
            _ => anything(&mut random),
        };
        if let Some(message) = InetDiagMsg::new(&message) {
            let length = encoder.row(&message, counter, envelope.room());
            envelope.push(length, &mut close);
        }
    }
    envelope.close(&mut close);

    let mut rows = BufWriter::new(File::create(directory.join("rows.jsonl"))?);
    for (delimited, length) in &envelopes {
        let message = DynamicMessage::decode(schema.clone(), &delimited[delimited.len() - length..])?;
        let field = message.get_field_by_name("row").ok_or("Envelope: no field row")?;
        for row in field.as_list().unwrap_or_default() {
            serde_json::to_writer(&mut rows, row.as_message().ok_or("row: no message")?)?;
            rows.write_all(b"\n")?;
        }
    }
    rows.flush()?;
    let bytes: Vec<u8> = envelopes
        .into_iter()
        .flat_map(|(delimited, _)| delimited)
        .collect();
    fs::write(directory.join("rows.pb"), bytes)?;
    Ok(())
}
