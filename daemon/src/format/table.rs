//! Tables for csv and tsv: a header line, then a line a row, values as [`super::human`] shows
//! them. An empty cell is a value that is absent; zero is `0`.

use super::{
    formatter::RowWriter,
    human::{Shown, shown},
};
use crate::record::{FIELDS, Row};

#[derive(Debug)]
pub(super) struct Table {
    /// Indexes into the field table.
    pub columns: Vec<usize>,
    pub separator: u8,
    /// Appends a text so that separators and newlines in it cannot be taken for the table's own.
    pub put_text: fn(&mut Vec<u8>, &str),
    /// Stands for a line whose only cell is empty.
    pub blank_line: &'static [u8],
}

impl RowWriter for Table {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        for (nth, &index) in self.columns.iter().enumerate() {
            if nth > 0 {
                out.push(self.separator);
            }
            match shown(row, index) {
                None => {}
                Some(Shown::Text(text)) => (self.put_text)(out, text),
                Some(value) => value.put(out),
            }
        }
        if out.len() == start {
            out.extend_from_slice(self.blank_line);
        }
        out.push(b'\n');
    }

    fn preamble(&self) -> Vec<u8> {
        let names: Vec<String> = self.columns.iter().map(|&i| FIELDS[i].json_name()).collect();
        let separator = char::from(self.separator).to_string();
        (names.join(&separator) + "\n").into_bytes()
    }
}

/// Indexes into the field table of columns by lowerCamelCase or protobuf name; all when there are
/// none.
pub(super) fn columns(names: &[String]) -> Result<Vec<usize>, String> {
    if names.is_empty() {
        return Ok((0..FIELDS.len()).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let known = FIELDS
            .iter()
            .position(|field| field.name == name || field.json_name() == *name);
        match known {
            None => {
                return Err(format!(
                    "columns: expected names of fields, such as {:?}, got {name:?}",
                    nearest(name)
                ));
            }
            Some(index) if columns.contains(&index) => {
                return Err(format!("columns: expected each name once, got {name:?} again"));
            }
            Some(index) => columns.push(index),
        }
    }
    Ok(columns)
}

/// The field that was probably meant: one that contains what was typed, else one that differs in
/// the fewest letters.
fn nearest(typed: &str) -> String {
    let typed = typed.to_lowercase().replace('_', "");
    let distance = |name: &String| {
        let name = name.to_lowercase();
        (!name.contains(&typed), strsim::osa_distance(&name, &typed))
    };
    FIELDS
        .iter()
        .map(|field| field.json_name())
        .min_by_key(distance)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[&str]) -> Result<Vec<u32>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Ok(columns(&names)?.iter().map(|&i| FIELDS[i].number).collect())
    }

    #[test]
    fn columns_keep_the_order_asked_for() {
        assert_eq!(numbers(&["tcpInfoRtt", "hostname"]), Ok(vec![1230, 20]));
        assert_eq!(numbers(&["tcp_info_rtt", "nsid"]), Ok(vec![1230, 32]));
        assert_eq!(numbers(&[]).unwrap().len(), FIELDS.len());
    }

    #[test]
    fn a_wrong_column_is_answered_with_the_nearest() {
        let error = |name| numbers(&["hostname", name]).unwrap_err();
        assert_eq!(
            error("tcpinfo_rt"),
            r#"columns: expected names of fields, such as "tcpInfoRto", got "tcpinfo_rt""#
        );
        assert!(error("rtt").contains("\"tcpInfoRtt\""), "{}", error("rtt"));
        assert!(error("hostnmae").contains("\"hostname\""));
        assert!(error("").contains("got \"\""));
        assert_eq!(
            error("hostname"),
            r#"columns: expected each name once, got "hostname" again"#
        );
    }
}
