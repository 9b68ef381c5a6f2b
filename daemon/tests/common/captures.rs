//! Kernel replies: out of a recording, and into the file that `ss` reads instead of the kernel.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};
use xtcp2::{
    capture::{Direction, Namespace, Recorder, Replay},
    netlink::inet_diag::{AF_INET, Attributes, SOCK_DIAG_BY_FAMILY, States, dump_one_family},
};

/// The recordings of the repository.
pub fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcapng"))
        .collect();
    files.sort();
    files
}

/// All replies of a recording in order, each with the name of its namespace.
pub fn replies(recording: &Path) -> Vec<(String, Vec<u8>)> {
    let mut replay = Replay::open(recording).unwrap();
    let mut all = Vec::new();
    while let Some(datagram) = replay.next_datagram().unwrap() {
        let netns = datagram
            .netns
            .map_or(String::new(), |netns| netns.name.to_owned());
        all.extend(datagram.map(|reply| (netns.clone(), reply.bytes().to_vec())));
    }
    let (packets, messages) = (replay.packet_counts(), replay.message_counts());
    assert_eq!(packets.packets, packets.datagrams, "{packets:?}");
    assert_eq!((messages.malformed, messages.cut), (0, 0), "{messages:?}");
    assert!(!all.is_empty(), "{}: no replies", recording.display());
    all
}

const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
/// Of the request and all replies to it.
const SEQUENCE: u32 = 1;

/// A netlink message, one of several.
pub fn message(message_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
    message.extend(message_type.to_ne_bytes());
    message.extend(NLM_F_MULTI.to_ne_bytes());
    message.extend(SEQUENCE.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// A dump as the kernel sends it: the replies, and the message that ends it.
pub fn dump(replies: &[Vec<u8>]) -> Vec<u8> {
    let mut dump = Vec::new();
    for reply in replies {
        dump.extend(message(SOCK_DIAG_BY_FAMILY, reply));
    }
    dump.extend(message(NLMSG_DONE, &[0; 4]));
    dump
}

/// When the captures that are made here say they were made, nanoseconds since 1970.
const CAPTURED_NS: u64 = 1_763_925_000_123_456_789;

/// Writes a capture of a dump: the request, these replies, a datagram each, and the end.
pub fn write(recording: &Path, netns: &str, replies: &[Vec<u8>]) {
    let file = BufWriter::new(File::create(recording).unwrap());
    let mut recorder = Recorder::new(file, "made by hand").unwrap();
    let netns = Namespace {
        name: netns,
        cookie: 1,
    };
    let mut put = |direction, datagram: &[u8]| {
        recorder
            .datagram(CAPTURED_NS, direction, netns, datagram)
            .unwrap();
    };
    put(
        Direction::ToKernel,
        &dump_one_family(AF_INET, Attributes::ALL.idiag_ext(), States::ALL, SEQUENCE),
    );
    for reply in replies {
        put(Direction::ToUser, &message(SOCK_DIAG_BY_FAMILY, reply));
    }
    put(Direction::ToUser, &message(NLMSG_DONE, &[0; 4]));
    recorder.flush().unwrap();
}
