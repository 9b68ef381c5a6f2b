//! The messages of our .proto files, as prost reads them.

#![allow(dead_code, reason = "each test uses a part")]

use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::path::PathBuf;

/// A message of a file of the repository.
pub fn message_of(file: &str, name: &str) -> MessageDescriptor {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let set = protox::compile([&path], [path.parent().unwrap()]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
    pool.get_message_by_name(name).unwrap()
}

/// A row.
pub fn record() -> MessageDescriptor {
    message_of(
        "proto/xtcp_flat_record.proto",
        "xtcp_flat_record.v1.XtcpFlatRecord",
    )
}
