//! csv: comma-separated values, quoted as RFC 4180 has it, lines ended by a bare newline.

use super::table::Table;

pub(super) fn table(columns: Vec<usize>) -> Table {
    Table {
        columns,
        separator: b',',
        put_text,
        // Readers pass over empty lines.
        blank_line: b"\"\"",
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    if !text.contains([',', '"', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_them() {
        for (text, cell) in [
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("\r", "\"\r\""),
        ] {
            let mut out = Vec::new();
            put_text(&mut out, text);
            assert_eq!(out, cell.as_bytes());
        }
    }
}
