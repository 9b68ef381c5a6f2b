//! The pcapng format: sections of blocks (draft-ietf-opsawg-pcapng). A block is its type (4 bytes),
//! its length (4), a body, and its length once more (4); a file may hold several sections, each in
//! a byte order of its own and with interfaces of its own.

use super::{
    input::{ByteOrder, Input, Problem, RECORD_BYTES_MAX},
    read::{Packet, Record},
};
use std::{io::Read, ops::Range};

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
pub(super) const VERSION_MAJOR: u16 = 1;

pub(super) const OPTION_END: u16 = 0;
pub(super) const OPTION_COMMENT: u16 = 1;
pub(super) const OPTION_TIMESTAMP_RESOLUTION: u16 = 9;
const OPTION_TIMESTAMP_OFFSET: u16 = 14;

/// Type and both lengths of a block.
pub(super) const BLOCK_FRAME_BYTES: usize = 12;
/// Fixed part of a section header's body: magic, version (2 + 2), section length (8).
const SECTION_HEADER_BYTES: usize = 16;
/// Fixed part of an interface description's body: link type (2), reserved (2), snapshot length.
const INTERFACE_BYTES: usize = 8;
/// Fixed part of a packet's body: interface, time stamp (high, low), length in the file, length
/// on the wire.
const PACKET_BYTES: usize = 20;
/// Fixed part of a simple packet's body: length on the wire.
const SIMPLE_PACKET_BYTES: usize = 4;

/// Interfaces kept of a section. A capture has one for each device it was taken from; a file of
/// nothing but descriptions must not fill the memory.
const INTERFACES_MAX: usize = 4096;

/// 10^38 is the largest power of ten in 128 bits.
const DECIMAL_EXPONENT_MAX: u8 = 38;

#[derive(Debug)]
struct Interface {
    link_type: u16,
    /// Simple packets are cut at this length; 0 is no limit.
    snapshot_bytes: u32,
    ticks_per_second: u128,
    timestamp_offset_seconds: i64,
}

/// The section that is being read.
#[derive(Debug)]
pub(super) struct PcapNg {
    order: ByteOrder,
    interfaces: Vec<Interface>,
}

impl PcapNg {
    /// Starts with the section header, whose block type was read already; `None` when the file
    /// does not start with one.
    pub(super) fn start<R: Read>(magic: [u8; 4], input: &mut Input<R>) -> Result<Option<PcapNg>, Problem> {
        // The type reads the same in both byte orders.
        if magic != SECTION_HEADER.to_le_bytes() {
            return Ok(None);
        }
        let length = input.take::<4>("block length")?;
        let mut section = PcapNg {
            order: ByteOrder::Little,
            interfaces: Vec::new(),
        };
        section.section_header(length, input)?;
        Ok(Some(section))
    }

    /// The next packet, its bytes in the body of `input`. Blocks of other types are passed over.
    pub(super) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Record>, Problem> {
        loop {
            let Some(head) = input.start_record::<8>("block header")? else {
                return Ok(None);
            };
            let block_type = self.order.u32(&head, 0);
            if block_type == SECTION_HEADER {
                let [.., l0, l1, l2, l3] = head;
                self.section_header([l0, l1, l2, l3], input)?;
                continue;
            }
            let length = self.order.u32(&head, 4);
            let body_bytes = body_bytes(length, BLOCK_FRAME_BYTES)?;
            match block_type {
                INTERFACE_DESCRIPTION => {
                    if body_bytes > RECORD_BYTES_MAX {
                        let expected = format_args!("at most {RECORD_BYTES_MAX} bytes");
                        return Err(Problem::malformed("interface description", expected, body_bytes));
                    }
                    self.read_block(length, body_bytes, input)?;
                    self.interface_description(&input.body)?;
                }
                ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                    if body_bytes > RECORD_BYTES_MAX {
                        self.skip_block(length, body_bytes, input)?;
                        return Ok(Some(Record::TooLarge));
                    }
                    self.read_block(length, body_bytes, input)?;
                    let packet = match block_type {
                        SIMPLE_PACKET => self.simple_packet(&input.body),
                        _ => self.packet(block_type, &input.body),
                    };
                    return packet.map(|packet| Some(Record::Packet(packet)));
                }
                _ => self.skip_block(length, body_bytes, input)?,
            }
        }
    }

    /// Reads a section header behind its length, whose byte order the body tells.
    fn section_header<R: Read>(&mut self, length: [u8; 4], input: &mut Input<R>) -> Result<(), Problem> {
        let fixed = input.take::<SECTION_HEADER_BYTES>("section header")?;
        self.order = match ByteOrder::Little.u32(&fixed, 0) {
            BYTE_ORDER_MAGIC => ByteOrder::Little,
            magic if magic.swap_bytes() == BYTE_ORDER_MAGIC => ByteOrder::Big,
            magic => {
                let expected = "0x1a2b3c4d in either byte order";
                return Err(Problem::malformed(
                    "byte-order magic",
                    expected,
                    format_args!("{magic:#x}"),
                ));
            }
        };
        match self.order.u16(&fixed, 4) {
            VERSION_MAJOR => {}
            version => return Err(Problem::malformed("pcapng major version", VERSION_MAJOR, version)),
        }
        self.interfaces.clear();
        let length = self.order.u32(&length, 0);
        let options_bytes = body_bytes(length, BLOCK_FRAME_BYTES + SECTION_HEADER_BYTES)?;
        input.skip("section header", options_bytes as u64)?;
        self.end_of_block(length, input)
    }

    fn read_block<R: Read>(
        &self,
        length: u32,
        body_bytes: usize,
        input: &mut Input<R>,
    ) -> Result<(), Problem> {
        input.read_body("block", body_bytes)?;
        self.end_of_block(length, input)
    }

    fn skip_block<R: Read>(
        &self,
        length: u32,
        body_bytes: usize,
        input: &mut Input<R>,
    ) -> Result<(), Problem> {
        input.skip("block", body_bytes as u64)?;
        self.end_of_block(length, input)
    }

    /// The length once more: what shows that blocks are still in step.
    fn end_of_block<R: Read>(&self, length: u32, input: &mut Input<R>) -> Result<(), Problem> {
        let trailer = self
            .order
            .u32(&input.take::<4>("block length behind the block")?, 0);
        if trailer != length {
            return Err(Problem::malformed(
                "block length behind the block",
                length,
                trailer,
            ));
        }
        Ok(())
    }

    fn interface_description(&mut self, body: &[u8]) -> Result<(), Problem> {
        if self.interfaces.len() == INTERFACES_MAX {
            let expected = format_args!("at most {INTERFACES_MAX}");
            return Err(Problem::malformed(
                "interfaces of a section",
                expected,
                INTERFACES_MAX + 1,
            ));
        }
        let fixed = need(body, INTERFACE_BYTES)?;
        let mut interface = Interface {
            link_type: self.order.u16(fixed, 0),
            snapshot_bytes: self.order.u32(fixed, 4),
            ticks_per_second: 1_000_000,
            timestamp_offset_seconds: 0,
        };
        for option in self.options(body, INTERFACE_BYTES) {
            let (code, range) = option?;
            match (code, &body[range]) {
                (OPTION_TIMESTAMP_RESOLUTION, [exponent, ..]) => {
                    interface.ticks_per_second = ticks_per_second(*exponent)?;
                }
                (OPTION_TIMESTAMP_OFFSET, value @ [_, _, _, _, _, _, _, _]) => {
                    let (low, high) = match self.order {
                        ByteOrder::Little => (0, 4),
                        ByteOrder::Big => (4, 0),
                    };
                    let halves = [self.order.u32(value, high), self.order.u32(value, low)];
                    interface.timestamp_offset_seconds = join(halves).cast_signed();
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// An enhanced or an obsolete packet.
    fn packet(&self, block_type: u32, body: &[u8]) -> Result<Packet, Problem> {
        let fixed = need(body, PACKET_BYTES)?;
        let interface = self.interface(match block_type {
            // Interface and number of drops share the first four bytes.
            OBSOLETE_PACKET => self.order.u16(fixed, 0).into(),
            _ => self.order.u32(fixed, 0),
        })?;
        let [high, low, captured, original] = [4, 8, 12, 16].map(|at| self.order.u32(fixed, at));
        let data_bytes = captured as usize;
        if data_bytes > body.len() - PACKET_BYTES {
            let expected = format_args!("at most {}", body.len() - PACKET_BYTES);
            return Err(Problem::malformed("captured packet length", expected, captured));
        }
        let data = PACKET_BYTES..PACKET_BYTES + data_bytes;
        let mut comment = None;
        for option in self.options(body, data.end.next_multiple_of(4)) {
            if let (OPTION_COMMENT, range) = option? {
                comment = comment.or(Some(range));
            }
        }
        Ok(Packet {
            timestamp_ns: interface.nanoseconds(join([high, low])),
            link_type: interface.link_type.into(),
            data,
            truncated: captured < original,
            comment,
        })
    }

    /// A packet without a time stamp, of the first interface, cut at its snapshot length.
    fn simple_packet(&self, body: &[u8]) -> Result<Packet, Problem> {
        let interface = self.interface(0)?;
        let original = self.order.u32(need(body, SIMPLE_PACKET_BYTES)?, 0);
        let captured = match interface.snapshot_bytes {
            0 => original,
            most => original.min(most),
        };
        let data_bytes = captured as usize;
        if data_bytes > body.len() - SIMPLE_PACKET_BYTES {
            let expected = format_args!("at most {}", body.len() - SIMPLE_PACKET_BYTES);
            return Err(Problem::malformed("simple packet length", expected, captured));
        }
        Ok(Packet {
            timestamp_ns: None,
            link_type: interface.link_type.into(),
            data: SIMPLE_PACKET_BYTES..SIMPLE_PACKET_BYTES + data_bytes,
            truncated: captured < original,
            comment: None,
        })
    }

    fn interface(&self, number: u32) -> Result<&Interface, Problem> {
        self.interfaces.get(number as usize).ok_or_else(|| {
            let expected = format_args!("one of the {} described before", self.interfaces.len());
            Problem::malformed("interface number", expected, number)
        })
    }

    /// Code and place of each option from `at` on: code (2 bytes), length (2), value, padding.
    fn options<'a>(
        &self,
        body: &'a [u8],
        mut at: usize,
    ) -> impl Iterator<Item = Result<(u16, Range<usize>), Problem>> + use<'a> {
        let order = self.order;
        std::iter::from_fn(move || {
            // The end is an option of its own, or the end of the block.
            let head = body.get(at..at + 4)?;
            let (code, length) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
            let value = at + 4..at + 4 + length;
            at = value.end.next_multiple_of(4);
            if code == OPTION_END {
                at = body.len();
                return None;
            }
            if value.end > body.len() {
                let expected = format_args!("at most {}", body.len() - value.start);
                at = body.len();
                return Some(Err(Problem::malformed("option length", expected, length)));
            }
            Some(Ok((code, value)))
        })
    }
}

impl Interface {
    /// Since 1970; `None` beyond the years 1677 to 2262.
    fn nanoseconds(&self, ticks: u64) -> Option<i64> {
        // 64 bits times 30 bits fit into 128.
        let ns = u128::from(ticks) * 1_000_000_000 / self.ticks_per_second;
        let offset_ns = i128::from(self.timestamp_offset_seconds) * 1_000_000_000;
        i64::try_from(i128::try_from(ns).ok()? + offset_ns).ok()
    }
}

/// `if_tsresol`: a negative power of ten, or of two when the highest bit is set.
fn ticks_per_second(resolution: u8) -> Result<u128, Problem> {
    if resolution & 0x80 != 0 {
        return Ok(1 << (resolution & 0x7f));
    }
    if resolution > DECIMAL_EXPONENT_MAX {
        let expected = format_args!("a power of ten of at most {DECIMAL_EXPONENT_MAX}");
        return Err(Problem::malformed("if_tsresol", expected, resolution));
    }
    Ok(10_u128.pow(resolution.into()))
}

fn join([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// How much of a block of `length` bytes is behind the first `fixed` and before the end.
fn body_bytes(length: u32, fixed: usize) -> Result<usize, Problem> {
    match (length as usize).checked_sub(fixed) {
        Some(rest) if length.is_multiple_of(4) => Ok(rest),
        _ => {
            let expected = format_args!("a multiple of 4 of at least {fixed}");
            Err(Problem::malformed("block length", expected, length))
        }
    }
}

/// The body, when it is long enough for the fixed part of its block type.
fn need(body: &[u8], fixed: usize) -> Result<&[u8], Problem> {
    if body.len() < fixed {
        let expected = format_args!("at least {fixed}");
        return Err(Problem::malformed("bytes in the block", expected, body.len()));
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
