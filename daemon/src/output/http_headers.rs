//! Header lines of the operator's, from a file: credentials that belong on no command line.

use super::Credentials;
use crate::setting_error::SettingError;
use std::path::Path;

/// Servers take 8 KiB of headers or more; tokens are shorter.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// Headers that are ours: two of them would make a request that servers read differently.
const OURS: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
];

/// The lines of the file, each ending as HTTP wants it. Blank lines and lines that begin with `#` are
/// left out.
///
/// # Errors
/// When the file cannot be read or a line is no header; without its value, which may be a secret.
pub(super) fn read(path: &Path, credentials: &Credentials) -> Result<String, SettingError> {
    let text = credentials.read(path, FILE_BYTES_MAX)?;
    parse(&text).map_err(|error| format!("{}:{error}", path.display()).into())
}

fn parse(text: &str) -> Result<String, String> {
    let mut lines = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let is_token = |name: &str| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            !name.is_empty() && name.bytes().all(legal)
        };
        let printable = line.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        match line.split_once(':') {
            Some((name, _)) if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) => {
                return Err(format!("{number}: expected no header {name}: it is set already"));
            }
            Some((name, value)) if is_token(name) && printable => {
                lines.push_str(&format!("{name}: {}\r\n", value.trim()));
            }
            _ => return Err(format!("{number}: expected NAME: VALUE in printable ASCII")),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_headers() {
        let text = "# for the collector\n\nX-ClickHouse-User: xtcp\nX-ClickHouse-Key:a:b \r\n";
        assert_eq!(
            parse(text).unwrap(),
            "X-ClickHouse-User: xtcp\r\nX-ClickHouse-Key: a:b\r\n"
        );
        assert_eq!(parse("").unwrap(), "");
    }

    #[test]
    fn what_is_no_header_is_named_by_its_line_alone() {
        for text in ["\nsecret", "a b: secret", ": secret", "X: secr\u{e9}t"] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains("expected NAME: VALUE") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(parse("content-LENGTH: 5").unwrap_err().contains("set already"));
        assert!(
            read(Path::new("/nonexistent/headers"), &Credentials::default())
                .unwrap_err()
                .to_string()
                .contains("No such file")
        );
    }
}
