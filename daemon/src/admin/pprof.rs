//! The format of `go tool pprof`: the message perftools.profiles.Profile.

use super::mappings::{self, Mapping};
use crate::sys::sampler::Samples;
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

/// When and how a profile was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) started: SystemTime,
    pub(super) seconds: u32,
    pub(super) hz: u32,
}

/// Writes a profile of `program`, the path of our executable.
pub(super) fn encode(samples: &Samples, mappings: &[Mapping], program: &str, timing: Timing) -> Vec<u8> {
    let mut encoder = Encoder {
        profile: Message::default(),
        strings: Strings::default(),
        mappings,
        locations: HashMap::new(),
    };
    encoder.samples(samples);
    encoder.mappings_and_locations(program);
    encoder.circumstances(samples, timing);
    for string in &encoder.strings.table {
        encoder.profile.bytes(6, string.as_bytes());
    }
    encoder.profile.0
}

struct Encoder<'a> {
    profile: Message,
    strings: Strings,
    mappings: &'a [Mapping],
    /// The id of each address.
    locations: HashMap<u64, u64>,
}

impl<'a> Encoder<'a> {
    fn samples(&mut self, samples: &Samples) {
        let mut stacks = BTreeMap::<&[u64], u64>::new();
        for stack in samples.stacks() {
            *stacks.entry(stack).or_default() += 1;
        }
        // The thread's CPU time, spread over the samples: true even where the kernel merged ticks.
        let count: u64 = stacks.values().sum();
        let cpu_ns = u64::try_from(samples.cpu.as_nanos()).unwrap_or(u64::MAX);
        let ns_per_sample = cpu_ns / count.max(1);
        for (stack, times) in stacks {
            let mut sample = Message::default();
            sample.packed(1, &self.location_ids(stack));
            sample.packed(2, &[times, times.saturating_mul(ns_per_sample)]);
            self.profile.message(2, &sample);
        }
    }

    fn location_ids(&mut self, stack: &[u64]) -> Vec<u64> {
        let mut ids = Vec::with_capacity(stack.len());
        for (depth, address) in stack.iter().enumerate() {
            // The call lies before the address it returns to, which may be of another line.
            let address = address.saturating_sub(u64::from(depth > 0));
            // Beyond a function without a frame pointer, what was read need not be a stack.
            if depth > 0 && self.code_at(address).is_none() {
                break;
            }
            let next = self.locations.len() as u64 + 1;
            ids.push(*self.locations.entry(address).or_insert(next));
        }
        ids
    }

    fn code_at(&self, address: u64) -> Option<&'a Mapping> {
        mappings::of(self.mappings, address).filter(|mapping| mapping.executable)
    }

    /// No functions: the tool has the binary, and shows code of libraries by the name of the file.
    fn mappings_and_locations(&mut self, program: &str) {
        let mut code: Vec<&Mapping> = self
            .mappings
            .iter()
            .filter(|mapping| mapping.executable)
            .collect();
        // The first one is the main binary, to the tool.
        code.sort_by_key(|mapping| mapping.file != program);
        let mut ids = HashMap::new();
        for (mapping, id) in code.into_iter().zip(1_u64..) {
            ids.insert(mapping.addresses.start, id);
            let mut message = Message::default();
            message.number(1, id);
            message.number(2, mapping.addresses.start);
            message.number(3, mapping.addresses.end);
            message.number(4, mapping.file_offset);
            message.number(5, self.strings.index(&mapping.file));
            message.number(6, self.strings.index(&mappings::build_id(&mapping.file)));
            self.profile.message(3, &message);
        }
        for (&address, &id) in &self.locations {
            let mapping = self
                .code_at(address)
                .and_then(|mapping| ids.get(&mapping.addresses.start));
            let mut location = Message::default();
            location.number(1, id);
            location.number(2, mapping.copied().unwrap_or(0));
            location.number(3, address);
            self.profile.message(4, &location);
        }
    }

    fn circumstances(&mut self, samples: &Samples, timing: Timing) {
        let sample_count = self.value_type("samples", "count");
        let cpu_time = self.value_type("cpu", "nanoseconds");
        self.profile.message(1, &sample_count);
        self.profile.message(1, &cpu_time);
        let since_1970 = timing
            .started
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.profile
            .number(9, u64::try_from(since_1970.as_nanos()).unwrap_or(0));
        self.profile.number(10, u64::from(timing.seconds) * 1_000_000_000);
        self.profile.message(11, &cpu_time);
        self.profile
            .number(12, 1_000_000_000 / u64::from(timing.hz.max(1)));
        if samples.lost > 0 {
            let lost = format!(
                "{} samples lost: ask for fewer seconds or a lower hz",
                samples.lost
            );
            self.profile.number(13, self.strings.index(&lost));
        }
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.strings.index(kind));
        message.number(2, self.strings.index(unit));
        message
    }
}

/// The string table: index 0 is the empty string.
struct Strings {
    table: Vec<String>,
    indices: HashMap<String, u64>,
}

impl Default for Strings {
    fn default() -> Strings {
        Strings {
            table: vec![String::new()],
            indices: HashMap::from([(String::new(), 0)]),
        }
    }
}

impl Strings {
    fn index(&mut self, string: &str) -> u64 {
        if let Some(index) = self.indices.get(string) {
            return *index;
        }
        let index = self.table.len() as u64;
        self.table.push(string.to_owned());
        self.indices.insert(string.to_owned(), index);
        index
    }
}

/// A protobuf message under construction. Zero is left out of it, as proto3 does.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    fn packed(&mut self, field: u64, values: &[u64]) {
        let mut packed = Message::default();
        values.iter().for_each(|value| packed.varint(*value));
        self.message(field, &packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The fields of a message: number and either value or content.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = varint(&mut bytes);
            let (content, rest) = bytes.split_at(if tag & 7 == 2 {
                usize::try_from(value).unwrap()
            } else {
                0
            });
            bytes = rest;
            found.push((tag >> 3, value, content));
        }
        found
    }

    fn mapping(start: u64, executable: bool, file: &str) -> Mapping {
        Mapping {
            addresses: start..start + 0x1000,
            file_offset: 0x2000,
            executable,
            file: file.to_owned(),
        }
    }

    #[test]
    fn stacks_are_counted_and_named_by_address() {
        let mappings = [
            mapping(0x1000, true, "/lib/lib c.so"),
            mapping(0x5000, true, "/bin/program"),
            mapping(0x9000, false, "/bin/program"),
        ];
        // The third stack leaves the code after its second frame.
        let stacks: [&[u64]; 4] = [
            &[0x5010, 0x5021],
            &[0x5010, 0x5021],
            &[0x1010, 0x5021, 0x9001, 0x5021],
            &[0x5010],
        ];
        let samples = Samples::of(&stacks, Duration::from_millis(40));
        let timing = Timing {
            started: SystemTime::UNIX_EPOCH,
            seconds: 2,
            hz: 100,
        };
        let bytes = encode(&samples, &mappings, "/bin/program", timing);
        let profile = fields(&bytes);
        let messages = |number| {
            let all = profile.iter().filter(move |field| field.0 == number);
            all.map(|field| fields(field.2)).collect::<Vec<_>>()
        };
        let number = |message: &[(u64, u64, &[u8])], number| {
            message
                .iter()
                .find(|field| field.0 == number)
                .map_or(0, |field| field.1)
        };
        let strings: Vec<&str> = profile
            .iter()
            .filter(|field| field.0 == 6)
            .map(|field| std::str::from_utf8(field.2).unwrap())
            .collect();
        assert_eq!(strings[0], "");

        let addresses: HashMap<u64, u64> = messages(4)
            .iter()
            .map(|location| (number(location, 1), number(location, 3)))
            .collect();
        let mut counted: Vec<(Vec<u64>, u64, u64)> = Vec::new();
        for sample in messages(2) {
            let stack = sample[0].2.iter().map(|id| addresses[&u64::from(*id)]).collect();
            let values = fields(&[&[8], &sample[1].2[..1], &[16], &sample[1].2[1..]].concat())
                .iter()
                .map(|field| field.1)
                .collect::<Vec<_>>();
            counted.push((stack, values[0], values[1]));
        }
        counted.sort();
        assert_eq!(
            counted,
            [
                (vec![0x1010, 0x5020], 1, 10_000_000),
                (vec![0x5010], 1, 10_000_000),
                (vec![0x5010, 0x5020], 2, 20_000_000),
            ]
        );

        let maps = messages(3);
        let file = |index: usize| strings[usize::try_from(number(&maps[index], 5)).unwrap()];
        assert_eq!(
            (maps.len(), file(0), file(1)),
            (2, "/bin/program", "/lib/lib c.so")
        );
        assert_eq!((number(&maps[0], 2), number(&maps[0], 3)), (0x5000, 0x6000));
        assert_eq!(number(&maps[0], 4), 0x2000);
        let kinds: Vec<[u64; 2]> = messages(1)
            .iter()
            .map(|kind| [number(kind, 1), number(kind, 2)])
            .collect();
        let kinds: Vec<[&str; 2]> = kinds
            .iter()
            .map(|kind| kind.map(|index| strings[usize::try_from(index).unwrap()]))
            .collect();
        assert_eq!(kinds, [["samples", "count"], ["cpu", "nanoseconds"]]);
    }

    #[test]
    fn a_profile_without_a_sample_is_one_too() {
        let timing = Timing {
            started: SystemTime::UNIX_EPOCH,
            seconds: 1,
            hz: 99,
        };
        let bytes = encode(&Samples::default(), &[], "", timing);
        assert!(fields(&bytes).iter().all(|field| field.0 != 2));
    }
}
