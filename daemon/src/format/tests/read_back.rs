//! Every format read back by another reader, against the rows it was made of.

use super::{
    super::{Format, Formatter},
    AWKWARD, Numbers, Sample, maps, samples, stream, text, with_envelope,
};
use crate::{
    envelope::Closed,
    record::{FIELDS, Kind, Row, Value, rows_of},
};
use serde_json::{Map, Value as Json};

/// Gives `check` the rows of many envelopes of made-up replies, and the envelope.
fn for_many(check: impl Fn(&[Row<'_>], &Closed<'_>)) {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let samples: Vec<Sample> = (0..=numbers.below(6)).map(|_| numbers.sample()).collect();
        with_envelope(&samples, |closed| {
            let rows: Vec<Row<'_>> = rows_of(closed.envelope)
                .map(|row| Row::decode(row.unwrap()).unwrap())
                .collect();
            assert_eq!(rows.len(), samples.len(), "seed {seed}");
            check(&rows, closed);
        });
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |i: usize| {
        bytes
            .get(i / 8)
            .map_or(0, |byte| usize::from(byte >> (7 - i % 8) & 1))
    };
    let mut text: String = (0..(bytes.len() * 8).div_ceil(6))
        .map(|digit| (0..6).fold(0, |value, i| value << 1 | bit(digit * 6 + i)))
        .map(|value| char::from(ALPHABET[value]))
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// What a row is in the proto3 JSON mapping, worked out another way than the writer does.
fn mapped(row: &Row<'_>) -> Map<String, Json> {
    let mut object = Map::new();
    for (i, field) in FIELDS.iter().enumerate() {
        let value = match (field.kind, row.on_wire(i)) {
            (_, None) => continue,
            (Kind::Uint32, Some(Value::Uint(number))) => Json::from(number),
            (Kind::Uint64, Some(Value::Uint(number))) => Json::from(number.to_string()),
            (Kind::Int64, Some(Value::Int(number))) => Json::from(number.to_string()),
            (Kind::String, Some(Value::Text(text))) => Json::from(text),
            (Kind::Bytes, Some(Value::Bytes(bytes))) => Json::from(base64(bytes)),
            (Kind::Congestion, Some(Value::Congestion(1))) => Json::from("CONGESTION_ALGORITHM_CUBIC"),
            (Kind::Congestion, Some(Value::Congestion(2))) => Json::from("CONGESTION_ALGORITHM_DCTCP"),
            (Kind::Congestion, Some(Value::Congestion(5))) => Json::from("CONGESTION_ALGORITHM_BBR1"),
            other => panic!("{}: {other:?}", field.name),
        };
        object.insert(field.json_name(), value);
    }
    object
}

#[test]
fn jsonl_and_proto_json_hold_every_value() {
    for_many(|rows, closed| {
        let expected: Vec<Json> = rows.iter().map(|row| Json::from(mapped(row))).collect();
        let lines = text(Format::Jsonl, closed);
        let parsed: Vec<Json> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(parsed, expected);
        let envelope = text(Format::ProtoJson, closed);
        assert_eq!(envelope.lines().count(), 1);
        let envelope: Json = serde_json::from_str(&envelope).unwrap();
        assert_eq!(envelope, serde_json::json!({ "row": expected }));
    });
}

#[test]
fn fields_stand_in_the_order_of_their_numbers() {
    with_envelope(&samples(), |closed| {
        for format in [Format::Jsonl, Format::Json] {
            let lines = text(format, closed);
            let line = lines.lines().next().unwrap();
            let places: Vec<usize> = FIELDS
                .iter()
                .filter_map(|field| line.find(&format!("\"{}\":", field.json_name())))
                .collect();
            assert!(places.len() > 70 && places.is_sorted(), "{line}");
        }
    });
}

#[test]
fn json_tells_absent_from_zero_and_names_what_has_a_name() {
    for_many(|rows, closed| {
        let lines = text(Format::Json, closed);
        assert_eq!(lines.lines().count(), rows.len());
        for (row, line) in rows.iter().zip(lines.lines()) {
            let object: Map<String, Json> = serde_json::from_str(line).unwrap();
            for (i, field) in FIELDS.iter().enumerate() {
                let shown = object.get(&field.json_name());
                match (row.get(i), shown) {
                    (None, None) => {}
                    (Some(Value::Uint(number)), Some(Json::Number(shown))) => {
                        assert_eq!(shown.as_u64(), Some(number), "{}", field.name);
                    }
                    (Some(Value::Text(text)), Some(Json::String(shown))) => assert_eq!(text, shown),
                    (Some(Value::Bytes(bytes)), Some(Json::String(shown))) => {
                        let octets = match shown.parse().unwrap() {
                            std::net::IpAddr::V4(address) => address.octets().to_vec(),
                            std::net::IpAddr::V6(address) => address.octets().to_vec(),
                        };
                        assert_eq!(octets.len(), if row.uint(1001) == 2 { 4 } else { 16 });
                        assert!(bytes.starts_with(&octets));
                    }
                    (Some(Value::Int(ns)), Some(Json::String(shown))) => {
                        let since = humantime::parse_rfc3339(shown)
                            .unwrap()
                            .duration_since(std::time::UNIX_EPOCH);
                        assert_eq!(since.unwrap().as_nanos(), u128::from(ns.cast_unsigned()));
                    }
                    (Some(_), Some(Json::String(name))) => {
                        assert!([1001, 1002, 1003, 1201, 1301].contains(&field.number), "{name}");
                    }
                    other => panic!("{}: {other:?}", field.name),
                }
            }
        }
    });
}

/// What a value of `json` is in a cell.
fn cell(value: Option<&Json>) -> String {
    match value {
        None => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(number) => number.to_string(),
    }
}

fn unescape(cell: &str) -> String {
    let mut text = String::new();
    let mut letters = cell.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('\\') => '\\',
                other => panic!("backslash before {other:?} in {cell:?}"),
            },
            plain => plain,
        });
    }
    text
}

#[test]
fn csv_and_tsv_say_what_json_says() {
    let names: Vec<String> = FIELDS.iter().map(|field| field.json_name()).collect();
    for_many(|_, closed| {
        let json = text(Format::Json, closed);
        let expected: Vec<Vec<String>> = json
            .lines()
            .map(|line| {
                let object: Map<String, Json> = serde_json::from_str(line).unwrap();
                names.iter().map(|name| cell(object.get(name))).collect()
            })
            .collect();

        let csv = stream(Format::Csv, closed);
        let mut reader = csv::Reader::from_reader(&csv[..]);
        assert_eq!(reader.headers().unwrap(), names);
        let rows: Vec<Vec<String>> = reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect();
        assert_eq!(rows, expected);

        let tsv = text(Format::Tsv, closed);
        let mut lines = tsv.strip_suffix('\n').unwrap().split('\n');
        assert_eq!(lines.next().unwrap(), names.join("\t"));
        let rows: Vec<Vec<String>> = lines
            .map(|line| line.split('\t').map(unescape).collect())
            .collect();
        assert_eq!(rows, expected);
    });
}

#[test]
fn msgpack_holds_every_value() {
    for_many(|rows, closed| {
        let expected: Vec<rmpv::Value> = rows
            .iter()
            .map(|row| {
                let set = FIELDS.iter().enumerate().filter_map(|(i, field)| {
                    let value = match row.on_wire(i)? {
                        Value::Uint(number) => rmpv::Value::from(number),
                        Value::Int(number) => rmpv::Value::from(number),
                        Value::Text(text) => rmpv::Value::from(text),
                        Value::Bytes(bytes) => rmpv::Value::from(bytes),
                        Value::Congestion(number) => rmpv::Value::from(number),
                    };
                    Some((rmpv::Value::from(field.json_name()), value))
                });
                rmpv::Value::Map(set.collect())
            })
            .collect();
        assert_eq!(maps(&stream(Format::Msgpack, closed)), expected);
    });
}

#[test]
fn columns_are_those_asked_for() {
    with_envelope(&samples(), |closed| {
        let columns = [
            "inetDiagMsgState",
            "tcp_info_pacing_rate",
            "tcpInfoSndWnd",
            "label",
        ];
        let mut formatter = Formatter::new(Format::Csv, &columns.map(str::to_owned)).unwrap();
        let mut csv = formatter.preamble();
        formatter.messages(closed, usize::MAX, &mut |_, message| csv.extend(message));
        let rows: Vec<csv::StringRecord> = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(&csv[..])
            .records()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            rows[0],
            ["inetDiagMsgState", "tcpInfoPacingRate", "tcpInfoSndWnd", "label"][..]
        );
        assert_eq!(rows[2], ["LISTEN", "", "", AWKWARD][..], "no tcp_info at all");
        assert_eq!(
            rows[3],
            ["ESTABLISHED", "", "", "edge"][..],
            "104 bytes of tcp_info end before both"
        );
        assert_eq!(rows[4], ["255", "18446744073709551615", "4294967295", ""][..]);

        let mut one = Formatter::new(Format::Csv, &["label".to_owned()]).unwrap();
        one.messages(closed, usize::MAX, &mut |_, message| {
            let message = String::from_utf8(message).unwrap();
            assert!(message.starts_with("edge\n") && message.ends_with("edge\n\"\"\n"));
        });
    });
    let error = Formatter::new(Format::Csv, &["tcpInfoRtts".to_owned()]).unwrap_err();
    assert!(
        error.contains("tcpInfoRtt\"") && error.contains("tcpInfoRtts"),
        "{error}"
    );
}
