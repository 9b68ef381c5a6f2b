//! What a crash left at the end of a file: a torn line or frame, cut off before anything is appended.
//!
//! Cutting is right because the torn part is unreadable either way, and whatever follows it would be
//! too: a line would be glued to it, and after a torn frame every length is read at the wrong place.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

/// How far back the last line end is searched: more than any one line (a protoJson envelope) takes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Read at a time while searching backwards.
const BLOCK_BYTES: u64 = 64 << 10;
/// Frames can only be walked from the front; a million takes about a second. A file with more (four
/// months of one frame every 10 s) is appended to unchecked, and that is logged.
const FRAMES_MAX: u64 = 1_000_000;
/// A varint of a length takes five bytes for 32 bits.
const LENGTH_BYTES_MAX: u32 = 5;

/// How whole messages are told from torn ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// Each line ends with a newline.
    Lines,
    /// Protobuf messages, each after its length as a varint.
    Frames,
    /// Neither: left as it is.
    #[default]
    Opaque,
}

/// Cuts `file` back to its last whole line or frame.
///
/// # Errors
/// When it is not a file of lines or frames at all: then nothing is cut.
pub(super) fn repair(file: &mut File, path: &Path, tail: Tail) -> io::Result<()> {
    let length = file.metadata()?.len();
    let whole = match tail {
        Tail::Lines => end_of_last_line(file, length)?,
        Tail::Frames => end_of_last_frame(file, length, path)?,
        Tail::Opaque => length,
    };
    if whole < length {
        let torn = length - whole;
        log::warn!(
            "output file:{}: cut {torn} bytes of a torn message off its end",
            path.display()
        );
        file.set_len(whole)?;
    }
    Ok(())
}

fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let stop = length.saturating_sub(LINE_BYTES_MAX);
    let mut end = length;
    let mut block = Vec::new();
    while end > stop {
        let start = end.saturating_sub(BLOCK_BYTES).max(stop);
        block.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    match stop {
        0 => Ok(0),
        _ => Err(not_ours(format!(
            "lines, got none in the last {LINE_BYTES_MAX} bytes"
        ))),
    }
}

fn end_of_last_frame(file: &mut File, length: u64, path: &Path) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(&*file);
    let mut whole = 0;
    for _ in 0..FRAMES_MAX {
        if whole == length {
            return Ok(whole);
        }
        let Some((header_bytes, body_bytes)) = read_length(&mut reader, whole)? else {
            return Ok(whole);
        };
        let end = whole + header_bytes + body_bytes;
        // Zeros are what a crash of the machine leaves of blocks that were never written.
        if body_bytes == 0 || whole + header_bytes == length {
            return Ok(whole);
        }
        check_first_tag(&mut reader, whole)?;
        if end > length {
            return Ok(whole);
        }
        reader.seek_relative(i64::try_from(body_bytes).unwrap_or(i64::MAX))?;
        whole = end;
    }
    log::warn!(
        "output file:{}: more than {FRAMES_MAX} frames, its end is not checked: rotate it",
        path.display()
    );
    Ok(length)
}

/// The bytes of the varint and its value; `None` when the file ends inside it.
fn read_length(reader: &mut impl Read, at: u64) -> io::Result<Option<(u64, u64)>> {
    let mut value = 0;
    for i in 0..LENGTH_BYTES_MAX {
        let mut byte = [0];
        match reader.read_exact(&mut byte) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        value |= u64::from(byte[0] & 0x7F) << (7 * i);
        if byte[0] & 0x80 == 0 {
            return Ok(Some((u64::from(i) + 1, value)));
        }
    }
    Err(not_ours(format!("frames, got no length at byte {at}")))
}

/// A frame starts with a protobuf tag. A text file that was named by mistake fails here within a few
/// frames, before anything of it is cut.
fn check_first_tag(reader: &mut impl BufRead, at: u64) -> io::Result<()> {
    match reader.fill_buf()?.first() {
        Some(tag) if matches!(tag & 7, 0 | 1 | 2 | 5) && tag >> 3 != 0 => Ok(()),
        _ => Err(not_ours(format!(
            "frames, got no protobuf tag in the one at byte {at}"
        ))),
    }
}

fn not_ours(expected: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("expected a file of {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn repaired(content: &[u8], tail: Tail) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        std::fs::write(&path, content).unwrap();
        let mut file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let result = repair(&mut file, &path, tail);
        let left = std::fs::read(&path).unwrap();
        if result.is_err() {
            assert_eq!(left, content, "an error cuts nothing");
        }
        result.map(|()| left)
    }

    #[test]
    fn lines_are_cut_after_the_last_newline() {
        assert_eq!(repaired(b"a\nb\n", Tail::Lines).unwrap(), b"a\nb\n");
        assert_eq!(repaired(b"a\nb", Tail::Lines).unwrap(), b"a\n");
        assert_eq!(repaired(b"b", Tail::Lines).unwrap(), b"");
        assert_eq!(repaired(b"", Tail::Lines).unwrap(), b"");
        assert_eq!(repaired(b"a\nb", Tail::Opaque).unwrap(), b"a\nb");
        let mut long = b"kept\n".to_vec();
        long.extend(vec![b'x'; usize::try_from(3 * BLOCK_BYTES).unwrap()]);
        assert_eq!(repaired(&long, Tail::Lines).unwrap(), b"kept\n");
    }

    #[test]
    fn frames_are_cut_at_every_possible_tear() {
        let mut whole = vec![3, 0x52, 1, 7];
        let second = whole.len();
        whole.extend([0xC8, 0x01, 0x52, 198, 1]);
        whole.resize(second + 2 + 200, 9);
        assert_eq!(repaired(&whole, Tail::Frames).unwrap(), whole);
        for torn in second..whole.len() {
            assert_eq!(
                repaired(&whole[..torn], Tail::Frames).unwrap(),
                &whole[..second],
                "{torn}"
            );
        }
        let zeros = [&whole[..], &[0; 100]].concat();
        assert_eq!(repaired(&zeros, Tail::Frames).unwrap(), whole);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let error = repaired(&[0xFF; 200], Tail::Frames).unwrap_err();
        assert!(error.to_string().contains("expected a file of frames"), "{error}");
        let text = "\tsome\ttext\n".repeat(100);
        assert!(repaired(text.as_bytes(), Tail::Frames).is_err());
    }
}
