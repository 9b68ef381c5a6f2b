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
/// Of what a file should begin with, in an error: the header of csv is long.
const SHOWN_BYTES_MAX: usize = 20;

/// How whole messages are told from torn ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// Each line ends with a newline, and the first one begins so.
    Lines(&'static [u8]),
    /// Protobuf messages, each after its length as a varint.
    Frames,
    /// Neither: left as it is.
    #[default]
    Opaque,
}

/// Cuts `file`, which begins with `preamble` if we made it, back to its last whole line or frame.
///
/// # Errors
/// When it is not a file of lines or frames at all: then nothing is cut.
pub(super) fn repair(file: &mut File, path: &Path, tail: Tail, preamble: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    let whole = match tail {
        Tail::Lines(first) => {
            let whole = end_of_last_line(file, length)?;
            if whole < length {
                let is_torn_preamble = first.is_empty() && whole == 0;
                check_begin(file, length, if is_torn_preamble { preamble } else { first })?;
                check_text(file, whole, length)?;
            }
            whole
        }
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

/// The beginning may be all there is, and torn.
fn check_begin(file: &File, length: u64, begin: &[u8]) -> io::Result<()> {
    let mut head = vec![0; begin.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut head, 0)?;
    match begin.starts_with(without_zeros(&head)) {
        true => Ok(()),
        false => Err(not_ours(format!(
            "lines that begins with \"{}\", got other bytes",
            begin[..begin.len().min(SHOWN_BYTES_MAX)].escape_ascii()
        ))),
    }
}

/// What is to be cut off behind `whole`, and a block before it, is to be text; zeros may follow.
fn check_text(file: &File, whole: u64, length: u64) -> io::Result<()> {
    let mut start = whole.saturating_sub(BLOCK_BYTES);
    let mut zeros_follow = false;
    let mut block = Vec::new();
    while start < length {
        let bytes = (length - start).min(BLOCK_BYTES);
        block.resize(usize::try_from(bytes).unwrap_or(0), 0);
        file.read_exact_at(&mut block, start)?;
        let text = without_zeros(&block);
        if zeros_follow && !text.is_empty() || !is_text(text) {
            return Err(not_ours(format!(
                "lines, got bytes that are no text behind byte {start}"
            )));
        }
        zeros_follow |= text.len() < block.len();
        start += bytes;
    }
    Ok(())
}

/// Less the zeros at the end: what a crash of the machine leaves of blocks that were never written.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}

/// Whether it is UTF-8 without zeros; the character at either end may be torn.
fn is_text(bytes: &[u8]) -> bool {
    let torn = bytes.iter().take(3).take_while(|byte| *byte & 0xC0 == 0x80);
    let bytes = &bytes[torn.count()..];
    let is_utf8 = str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    is_utf8 && !bytes.contains(&0)
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

    /// As the formats have them: jsonl; csv, whose header any columns may have made.
    const JSON: Tail = Tail::Lines(b"{");
    const CSV: Tail = Tail::Lines(b"");
    const HEADER: &[u8] = b"a,b\n";

    fn repaired(content: &[u8], tail: Tail) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        std::fs::write(&path, content).unwrap();
        let mut file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let result = repair(&mut file, &path, tail, if tail == CSV { HEADER } else { b"" });
        let left = std::fs::read(&path).unwrap();
        if result.is_err() {
            assert_eq!(left, content, "an error cuts nothing");
        }
        result.map(|()| left)
    }

    #[test]
    fn lines_are_cut_after_the_last_newline() {
        assert_eq!(repaired(b"{}\n{}\n", JSON).unwrap(), b"{}\n{}\n");
        assert_eq!(repaired(b"{}\n{", JSON).unwrap(), b"{}\n");
        assert_eq!(repaired(b"{\"a", JSON).unwrap(), b"");
        assert_eq!(repaired(b"", JSON).unwrap(), b"");
        assert_eq!(repaired(b"a\nb", Tail::Opaque).unwrap(), b"a\nb");
        assert_eq!(repaired(b"a,", CSV).unwrap(), b"", "a torn header");
        assert_eq!(
            repaired(b"c,d\n1,2\n3", CSV).unwrap(),
            b"c,d\n1,2\n",
            "other columns"
        );
        let kept = "{\u{fc}}\n".as_bytes();
        for shift in 0..4 {
            // Characters lie across the ends of blocks, and the last one is torn.
            let mut long = [kept, &vec![b'x'; shift]].concat();
            long.extend("\u{20ac}".repeat(70_000).as_bytes());
            long.pop();
            assert_eq!(repaired(&long, JSON).unwrap(), kept);
        }
    }

    #[test]
    fn zeros_that_a_crash_of_the_machine_left_are_cut_too() {
        for (tail, lines) in [(JSON, &b"{}\n"[..]), (CSV, b"1,2\n")] {
            let zeros = vec![0; 100_000];
            assert_eq!(repaired(&[lines, b"{", &zeros].concat(), tail).unwrap(), lines);
            assert_eq!(repaired(&zeros, tail).unwrap(), b"");
        }
    }

    /// A mistake in --dest, by root, emptied the file.
    #[test]
    fn a_file_that_is_not_of_our_lines_keeps_every_byte() {
        let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        let mut frame = vec![8, 0x52, 6, 0x08, 0x95, 0xea, 0x8d, 0x01, 0x0a];
        frame.extend([3, 0x52, 1, 7]);
        let database = [&b"SQLite format 3\0"[..], &[b'\n'; 10], &[0xff; 100]].concat();
        let binaries: [&[u8]; 4] = [elf, &[&elf[..], b"\n\xc0", elf].concat(), &frame, &database];
        for tail in [JSON, CSV] {
            for binary in binaries {
                let error = repaired(binary, tail).unwrap_err().to_string();
                assert!(error.contains("expected a file of lines"), "{error}");
            }
            assert!(repaired(b"a text that ends without a newline", tail).is_err());
        }
        assert!(repaired(b"# a text\nof lines", JSON).is_err());
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
