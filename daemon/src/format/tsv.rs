//! tsv: tab-separated values. Tab, newline, carriage return and backslash in a value are escaped
//! with a backslash, so a line is always a row.

use super::table::Table;

pub(super) fn table(columns: Vec<usize>) -> Table {
    Table {
        columns,
        separator: b'\t',
        put_text,
        blank_line: b"",
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_would_end_a_cell_or_line() {
        let mut out = Vec::new();
        put_text(&mut out, "a\tb\nc\rd\\e \"ü\"");
        assert_eq!(out, "a\\tb\\nc\\rd\\\\e \"ü\"".as_bytes());
    }
}
