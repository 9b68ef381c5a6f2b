//! One recording through `xtcp2 replay` in every format, and what replay does with files that are
//! no recording. Needs no privileges, which is shown too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;
mod messages;
#[path = "common/proto.rs"]
mod proto;

use common::{poll::output_of, program::xtcp2};
use insta::assert_snapshot;
use messages::repository;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use proto::message_of;
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};
use xtcp2::record::{FIELDS, index_of};

const RECORDING: &str = "daemon/tests/fixtures/linux-6.18-few.pcapng";
const SOCKETS: usize = 6;
const IDENTITY: [&str; 8] = [
    "--hostname",
    "host.example",
    "--location",
    "rack 7",
    "--label",
    "a label",
    "--tag",
    "a tag",
];

fn replay(marshal: &str) -> Command {
    let mut command = xtcp2();
    command
        .args(["replay", "--deserializers", "all", "--marshal", marshal])
        .args(IDENTITY)
        .arg(repository(RECORDING));
    command
}

/// Takes out what differs from run to run and from version to version: instance id and version,
/// which stand behind these keys in each row.
fn redact(text: &str, keys: [&str; 2]) -> String {
    let mut text = text.to_owned();
    for key in keys {
        assert_eq!(text.matches(key).count(), SOCKETS, "{key} once a row");
        let parts: Vec<&str> = text.split(key).collect();
        let behind = parts[1..].iter().map(|part| {
            let end = part.find([',', ' ', '}']).unwrap();
            format!("{key}*{}", &part[end..])
        });
        text = parts[0].to_owned() + &behind.collect::<String>();
    }
    text
}

fn redact_json(text: &str) -> String {
    redact(text, ["\"instanceId\":", "\"daemonVersion\":"])
}

fn redact_table(text: &str, separator: char) -> String {
    let header: Vec<&str> = text.lines().next().unwrap().split(separator).collect();
    let mut redacted = format!("{}\n", header.join(&separator.to_string()));
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(separator).collect();
        assert_eq!(cells.len(), header.len());
        let cells = cells.iter().zip(&header).map(|(cell, name)| match *name {
            "instanceId" | "daemonVersion" => "*",
            _ => cell,
        });
        redacted += &cells.collect::<Vec<&str>>().join(&separator.to_string());
        redacted.push('\n');
    }
    redacted
}

#[test]
fn json_for_people() {
    assert_snapshot!(redact_json(&output_of(&mut replay("json"))));
}

#[test]
fn jsonl() {
    assert_snapshot!(redact_json(&output_of(&mut replay("jsonl"))));
}

#[test]
fn proto_json() {
    assert_snapshot!(redact_json(&output_of(&mut replay("protoJson"))));
}

#[test]
fn csv() {
    assert_snapshot!(redact_table(&output_of(&mut replay("csv")), ','));
}

#[test]
fn tsv() {
    assert_snapshot!(redact_table(&output_of(&mut replay("tsv")), '\t'));
}

#[test]
fn proto_text() {
    let text = output_of(&mut replay("protoText"));
    assert_snapshot!(redact(&text, ["instance_id: ", "daemon_version: "]));
}

/// Binary: a reader of others takes it apart.
#[test]
fn msgpack() {
    let bytes = replay("msgpack").output().unwrap().stdout;
    let mut rest = &bytes[..];
    let mut text = String::new();
    while !rest.is_empty() {
        text += &format!("{}\n", rmpv::decode::read_value(&mut rest).unwrap());
    }
    assert_snapshot!(redact(&text, ["\"instanceId\": ", "\"daemonVersion\": "]));
}

/// Binary: a reader of others takes it apart, by the committed schema.
#[test]
fn protobuf_list() {
    let bytes = replay("protobufList").output().unwrap().stdout;
    let mut message = DynamicMessage::new(envelope());
    message.merge_length_delimited(&mut &bytes[..]).unwrap();
    let text = serde_json::to_string(&message).unwrap();
    let proto_json = output_of(&mut replay("protoJson"));
    assert_eq!(redact_json(&text), redact_json(proto_json.trim_end()));
}

fn envelope() -> MessageDescriptor {
    message_of("proto/xtcp_flat_record.proto", "xtcp_flat_record.v1.Envelope")
}

/// The default of a replay to a pipe is jsonl, as it is the daemon's.
#[test]
fn files_follow_one_another() {
    let recording = repository(RECORDING);
    let text = output_of(xtcp2().arg("replay").args([&recording, &recording]));
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let key = |number: u32| FIELDS[index_of(number).unwrap()].json_name();
    let counters: Vec<&str> = rows.iter().map(|row| row[key(60)].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..=2 * SOCKETS).map(|n| n.to_string()).collect();
    assert_eq!(counters, expected);
    assert_eq!(rows[0][key(71)], "1");
    assert_eq!(rows[SOCKETS][key(71)], "2");
}

/// A folder of the test's own, with files in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn fails(path: &Path) -> (Output, String) {
    let output = xtcp2().arg("replay").arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    let error: Vec<&str> = errors.lines().filter(|line| line.contains(" error: ")).collect();
    assert_eq!(error.len(), 1, "{errors}");
    let (_, what) = error[0].split_once(" error: ").unwrap();
    let name = path.display().to_string();
    assert!(what.starts_with(&name), "{what} does not name {name}");
    let what = what[name.len()..].to_owned();
    (output, what)
}

/// What stands before the place where it is cut is delivered.
#[test]
fn a_recording_that_is_cut_off() {
    let bytes = fs::read(repository(RECORDING)).unwrap();
    let path = Files::new();
    let path = (path.put("cut.pcapng", &bytes[..bytes.len() - 700]), path);
    let (output, error) = fails(&path.0);
    assert!(error.contains("before the end of the file"), "{error}");
    assert!(error.starts_with(" at byte "), "{error}");
    let rows = String::from_utf8(output.stdout).unwrap().lines().count();
    assert!((1..SOCKETS).contains(&rows), "{rows} rows");
}

#[test]
fn files_that_are_no_recording() {
    let files = Files::new();
    let text = files.put("notes.txt", b"hello, world");
    let (output, error) = fails(&text);
    assert_eq!(
        error,
        " at byte 0: magic number: expected a pcap or pcapng file, got 0x68656c6c"
    );
    assert!(output.stdout.is_empty());
    let (_, error) = fails(&files.put("empty", b""));
    assert!(error.contains("got an empty file"), "{error}");
    let (_, error) = fails(&files.0.path().join("missing"));
    assert!(error.contains("No such file"), "{error}");
    let (_, error) = fails(files.0.path());
    assert!(error.contains("Is a directory"), "{error}");
}

/// A bad file among good ones is reported, and the others are replayed.
#[test]
fn a_good_file_behind_a_bad_one() {
    let files = Files::new();
    let bad = files.put("bad", b"hello, world");
    let output = xtcp2()
        .arg("replay")
        .arg(bad)
        .arg(repository(RECORDING))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), SOCKETS);
}

/// As a user without any privilege; an ordinary one who runs this test is that already.
#[test]
fn without_privileges() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where the project lies, nobody may not look.
    let binary = folder.path().join("xtcp2");
    let recording = folder.path().join("recording");
    fs::copy(env!("CARGO_BIN_EXE_xtcp2"), &binary).unwrap();
    fs::copy(repository(RECORDING), &recording).unwrap();
    fs::set_permissions(&recording, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(binary);
    command.env_clear().arg("replay").arg(recording);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    assert_eq!(output_of(&mut command).lines().count(), SOCKETS);
}
