//! Which file each executable address of this process comes from, for whoever looks the symbols up.

use std::{fs, io, io::Read, ops::Range};

/// Bytes of an ELF file that are searched for its build id: linkers put the notes right behind the
/// program headers.
const ELF_HEAD_BYTES: u64 = 8 * 1024;

/// A line of /proc/self/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub addresses: Range<u64>,
    /// Offset of the first address in the file.
    pub file_offset: u64,
    /// Whether it holds code.
    pub executable: bool,
    /// Path of the file, `[vdso]`, `[stack]`, or empty.
    pub file: String,
}

/// The mappings of this process, in the order of their addresses.
///
/// # Errors
/// When /proc is not there.
pub fn read() -> io::Result<Vec<Mapping>> {
    Ok(fs::read_to_string("/proc/self/maps")?
        .lines()
        .filter_map(parse)
        .collect())
}

/// The mapping that an address is in.
pub fn of(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.addresses.end <= address);
    mappings
        .get(after)
        .filter(|mapping| mapping.addresses.contains(&address))
}

/// The build id of the file, in hex; empty when it has none or cannot be read.
pub fn build_id(file: &str) -> String {
    if !file.starts_with('/') {
        return String::new(); // [vdso] and the like
    }
    let mut head = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(ELF_HEAD_BYTES).read_to_end(&mut head));
    let id = read.ok().and_then(|_| gnu_build_id(&head)).unwrap_or_default();
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(line: &str) -> Option<Mapping> {
    // The file name comes last and may hold spaces.
    let mut columns = line.splitn(6, ' ');
    let (start, end) = columns.next()?.split_once('-')?;
    let executable = columns.next()?.contains('x');
    let file_offset = hex(columns.next()?)?;
    let file = columns.nth(2).unwrap_or_default().trim_start().to_owned();
    Some(Mapping {
        addresses: hex(start)?..hex(end)?,
        file_offset,
        executable,
        file,
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// Finds the NT_GNU_BUILD_ID note of a 64-bit ELF file of this machine's byte order.
fn gnu_build_id(elf: &[u8]) -> Option<&[u8]> {
    const PT_NOTE: u32 = 4;
    const NT_GNU_BUILD_ID: u32 = 3;
    const CLASS_64: u8 = 2;
    if !elf.starts_with(b"\x7fELF") || *elf.get(4)? != CLASS_64 {
        return None;
    }
    // Offsets of Elf64_Ehdr and Elf64_Phdr.
    let (headers, size, count) = (u64_at(elf, 32)?, u16_at(elf, 54)?, u16_at(elf, 56)?);
    for number in 0..usize::from(count) {
        let header = elf.get(headers.checked_add(number * usize::from(size))?..)?;
        if u32_at(header, 0)? != PT_NOTE {
            continue;
        }
        let (start, length) = (u64_at(header, 8)?, u64_at(header, 32)?);
        let mut notes = elf.get(start..start.checked_add(length)?).unwrap_or_default();
        // Each note: length of name, length of content, type; name and content in steps of 4.
        while let (Some(name_length), Some(length), Some(kind)) =
            (length_at(notes, 0), length_at(notes, 4), u32_at(notes, 8))
        {
            let content = 12 + name_length.next_multiple_of(4);
            let id = notes.get(content..content + length)?;
            if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_length) == Some(b"GNU\0") {
                return Some(id);
            }
            notes = notes
                .get(content + length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
    None
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A length of a note; one beyond what was read is no length.
fn length_at(bytes: &[u8], offset: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, offset)?)
        .ok()
        .filter(|length| *length <= bytes.len())
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = "7f33e0a28000-7f33e0bb0000 r-xp 00028000 08:01 1234                       /usr/lib/my lib.so (deleted)";
        assert_eq!(
            parse(line),
            Some(Mapping {
                addresses: 0x7f33_e0a2_8000..0x7f33_e0bb_0000,
                file_offset: 0x28000,
                executable: true,
                file: "/usr/lib/my lib.so (deleted)".to_owned(),
            })
        );
        let anonymous = parse("7f33e0a28000-7f33e0bb0000 rw-p 00000000 00:00 0 ").unwrap();
        assert!(anonymous.file.is_empty() && !anonymous.executable);
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn code_and_stack_of_this_process_are_found() {
        let mappings = read().unwrap();
        let local = 0_u8;
        let stack = of(&mappings, std::ptr::from_ref(&local).addr() as u64).unwrap();
        assert!(!stack.executable);
        let code = of(&mappings, (gnu_build_id as *const ()).addr() as u64).unwrap();
        assert!(code.executable);
        assert_eq!(code.file, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(of(&mappings, 0), None);
        assert_eq!(of(&mappings, u64::MAX), None);
    }

    #[test]
    fn a_build_id_is_found_behind_another_note() {
        let mut elf = vec![0_u8; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        elf[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        elf[64..68].copy_from_slice(&4_u32.to_ne_bytes());
        elf[72..80].copy_from_slice(&120_u64.to_ne_bytes());
        for (kind, content) in [(1_u32, &b"abcde"[..]), (3, &b"\x01\x02\xff"[..])] {
            elf.extend_from_slice(&4_u32.to_ne_bytes());
            elf.extend_from_slice(&u32::try_from(content.len()).unwrap().to_ne_bytes());
            elf.extend_from_slice(&kind.to_ne_bytes());
            elf.extend_from_slice(b"GNU\0");
            elf.extend_from_slice(content);
            elf.resize(elf.len().next_multiple_of(4), 0);
        }
        let notes = u64::try_from(elf.len() - 120).unwrap();
        elf[96..104].copy_from_slice(&notes.to_ne_bytes());
        assert_eq!(gnu_build_id(&elf), Some(&b"\x01\x02\xff"[..]));
        // However it is cut or bent, nothing but an answer comes of it.
        for length in 0..elf.len() {
            let _ = gnu_build_id(&elf[..length]);
        }
        for position in 0..elf.len() {
            let mut bent = elf.clone();
            bent[position] = 0xff;
            let _ = gnu_build_id(&bent);
        }
        assert_eq!(build_id("/proc/self/nothing"), "");
    }
}
