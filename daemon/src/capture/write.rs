//! Writes netlink datagrams as a pcapng file of link type 253 (`--record`), for Wireshark and for
//! `replay`.

use super::{
    Namespace,
    cooked::{self, COOKED_HEADER_BYTES, LINK_TYPE_NETLINK},
    pcapng,
};
use std::io::{self, Write};

pub use super::cooked::Direction;

/// Name of the one interface of the file: there is no device, the datagrams are our own.
const INTERFACE_NAME: &str = "xtcp2";
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_OPERATING_SYSTEM: u16 = 3;
const OPTION_APPLICATION: u16 = 4;
/// `if_tsresol`: nanoseconds.
const TIMESTAMP_EXPONENT: u8 = 9;

/// A recording that is being written, in the byte order of the machine.
///
/// After an error the file may end within a block: write no more to it. A reader takes all blocks
/// before that.
pub struct Recorder<W> {
    output: W,
    /// The block being made.
    block: Vec<u8>,
}

impl<W: Write> Recorder<W> {
    /// Writes the start of the file. `operating_system` is what uname says.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn new(output: W, operating_system: &str) -> io::Result<Recorder<W>> {
        let mut recorder = Recorder {
            output,
            block: Vec::new(),
        };
        let application = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        recorder.start_block(pcapng::SECTION_HEADER);
        recorder.u32(pcapng::BYTE_ORDER_MAGIC);
        recorder.u16(pcapng::VERSION_MAJOR);
        recorder.u16(0); // minor version
        recorder.block.extend([0xff; 8]); // section length: unknown
        recorder.option(OPTION_OPERATING_SYSTEM, operating_system.as_bytes())?;
        recorder.option(OPTION_APPLICATION, application.as_bytes())?;
        recorder.option(pcapng::OPTION_END, &[])?;
        recorder.write_block()?;

        recorder.start_block(pcapng::INTERFACE_DESCRIPTION);
        recorder.u16(LINK_TYPE_NETLINK);
        recorder.u16(0); // reserved
        recorder.u32(0); // snapshot length: no limit
        recorder.option(OPTION_INTERFACE_NAME, INTERFACE_NAME.as_bytes())?;
        recorder.option(pcapng::OPTION_TIMESTAMP_RESOLUTION, &[TIMESTAMP_EXPONENT])?;
        recorder.option(pcapng::OPTION_END, &[])?;
        recorder.write_block()?;
        Ok(recorder)
    }

    /// Writes one datagram. `realtime_ns` counts from 1970.
    ///
    /// # Errors
    /// When the output cannot be written, or a length does not fit the format.
    pub fn datagram(
        &mut self,
        realtime_ns: u64,
        direction: Direction,
        netns: Namespace<'_>,
        payload: &[u8],
    ) -> io::Result<()> {
        let length = fits::<u32>(COOKED_HEADER_BYTES + payload.len(), "datagram")?;
        self.start_block(pcapng::ENHANCED_PACKET);
        self.u32(0); // interface
        // The time stamp comes in two halves, the high one first in either byte order.
        self.u32((realtime_ns >> 32) as u32);
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        self.u32(realtime_ns as u32);
        self.u32(length); // in the file
        self.u32(length); // on the wire
        self.block.extend(cooked::header(direction));
        self.block.extend(payload);
        self.pad();
        self.option(pcapng::OPTION_COMMENT, netns.to_string().as_bytes())?;
        self.option(pcapng::OPTION_END, &[])?;
        self.write_block()
    }

    /// Hands on what the output may have buffered.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn start_block(&mut self, block_type: u32) {
        self.block.clear();
        self.u32(block_type);
        self.u32(0); // length: known at the end
    }

    fn write_block(&mut self) -> io::Result<()> {
        let length = fits::<u32>(self.block.len() + 4, "block")?;
        self.u32(length);
        self.block[4..8].copy_from_slice(&length.to_ne_bytes());
        self.output.write_all(&self.block)
    }

    fn option(&mut self, code: u16, value: &[u8]) -> io::Result<()> {
        self.u16(code);
        self.u16(fits::<u16>(value.len(), "option")?);
        self.block.extend(value);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn u16(&mut self, number: u16) {
        self.block.extend(number.to_ne_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.block.extend(number.to_ne_bytes());
    }
}

fn fits<T: TryFrom<usize>>(length: usize, what: &str) -> io::Result<T> {
    T::try_from(length).map_err(|_| {
        let bits = size_of::<T>() * 8;
        let message = format!("pcapng {what}: expected a length of {bits} bits, got {length}");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_parser::{Block, OptionCode, PcapBlockOwned, PcapNGReader, traits::PcapReaderIterator};

    fn netns(name: &str, cookie: u64) -> Namespace<'_> {
        Namespace { name, cookie }
    }

    /// Judged by a reader that is not ours.
    #[test]
    fn another_reader_finds_what_was_recorded() {
        let mut recorder = Recorder::new(Vec::new(), "Linux 6.18.0 x86_64").unwrap();
        let (a, b) = (netns("/run/netns/a b", 4711), netns("/run/netns/b", u64::MAX));
        let time_ns = 1_700_000_000_123_456_789;
        let datagrams: [(Direction, Namespace<'_>, &[u8]); 4] = [
            (Direction::ToKernel, a, &[1; 76]),
            (Direction::ToUser, a, &[2; 33]),
            (Direction::ToUser, b, &[]),
            (Direction::ToUser, a, &[4; 32_768]),
        ];
        for (direction, netns, payload) in datagrams {
            recorder.datagram(time_ns, direction, netns, payload).unwrap();
        }

        let mut reader = PcapNGReader::new(1 << 16, recorder.output.as_slice()).unwrap();
        let mut packets = Vec::new();
        loop {
            let size = match reader.next() {
                Ok((size, PcapBlockOwned::NG(block))) => {
                    match block {
                        Block::SectionHeader(header) => {
                            assert_eq!(header.shb_os(), Some(Ok("Linux 6.18.0 x86_64")));
                            assert_eq!(header.block_len1, header.block_len2);
                        }
                        Block::InterfaceDescription(interface) => {
                            assert_eq!(interface.linktype, pcap_parser::Linktype(253));
                            assert_eq!(interface.if_name(), Some(Ok("xtcp2")));
                            assert_eq!(interface.ts_resolution(), Some(1_000_000_000));
                        }
                        Block::EnhancedPacket(packet) => {
                            let time = packet.decode_ts(0, 1_000_000_000);
                            assert_eq!(time, (1_700_000_000, 123_456_789));
                            assert_eq!(packet.caplen, packet.origlen);
                            let comment = packet.options.iter().find(|o| o.code == OptionCode::Comment);
                            packets.push((
                                packet.data[..packet.caplen as usize].to_vec(),
                                comment.map(|o| o.as_str().unwrap().to_owned()),
                            ));
                        }
                        other => panic!("unexpected {other:?}"),
                    }
                    size
                }
                Ok(_) => panic!("not pcapng"),
                Err(pcap_parser::PcapError::Eof) => break,
                Err(pcap_parser::PcapError::Incomplete(_)) => {
                    reader.refill().unwrap();
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            reader.consume(size);
        }

        assert_eq!(packets.len(), datagrams.len());
        let comments: Vec<_> = packets.iter().map(|(_, comment)| comment.as_deref()).collect();
        let (a, b) = (a.to_string(), b.to_string());
        assert_eq!(comments, [&a, &a, &b, &a].map(|netns| Some(netns.as_str())));
        for ((packet, _), (direction, _, payload)) in packets.iter().zip(datagrams) {
            // packet type (to the kernel 7, to user space 6), ARPHRD_NETLINK, unused, sock_diag
            let packet_type = if direction == Direction::ToKernel { 7 } else { 6 };
            assert_eq!(
                packet[..16],
                [0, packet_type, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]
            );
            assert_eq!(&packet[16..], payload);
        }
    }

    #[test]
    fn what_does_not_fit_the_format_is_refused() {
        let mut recorder = Recorder::new(Vec::new(), "").unwrap();
        let before = recorder.output.len();
        let error = recorder
            .datagram(0, Direction::ToUser, netns(&"n".repeat(1 << 16), 1), &[])
            .unwrap_err();
        assert!(
            error.to_string().contains("expected a length of 16 bits"),
            "{error}"
        );
        assert_eq!(recorder.output.len(), before, "nothing is written of it");
    }
}
