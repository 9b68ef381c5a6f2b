//! Many small datagrams in one system call: the replies to look-ups.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// Datagrams taken at once, and look-ups sent at once: the default receive buffer of a socket holds
/// about 166 replies, more would be dropped without a word.
pub const BATCH_MAX: usize = 64;

/// Room for one reply. One has about 550 bytes; only MD5 keys and long-winded upper-layer protocols
/// make it larger than this, and then the namespace is walked.
pub const SLOT_BYTES: usize = 2048;

/// The datagrams of one receive.
#[derive(Debug)]
pub struct ReceiveBatch {
    buffer: Vec<u8>,
    /// Length of each datagram received; more than [`SLOT_BYTES`] when its end was cut off.
    lengths: Vec<usize>,
}

impl ReceiveBatch {
    /// An empty one, with room for [`BATCH_MAX`] datagrams.
    #[expect(
        clippy::new_without_default,
        reason = "std::mem::take would quietly take that much memory anew"
    )]
    pub fn new() -> ReceiveBatch {
        ReceiveBatch {
            buffer: vec![0; BATCH_MAX * SLOT_BYTES],
            lengths: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// The datagrams; `None` stands for one whose end was cut off.
    pub fn datagrams(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let slots = self.buffer.chunks_exact(SLOT_BYTES);
        slots.zip(&self.lengths).map(|(slot, &length)| slot.get(..length))
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.lengths.clear();
    }

    /// Puts a datagram in, as the kernel would; false when the batch is full.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let slot = self.buffer.chunks_exact_mut(SLOT_BYTES).nth(self.lengths.len());
        let Some(slot) = slot else { return false };
        let kept = datagram.len().min(SLOT_BYTES);
        slot[..kept].copy_from_slice(&datagram[..kept]);
        self.lengths.push(datagram.len());
        true
    }

    /// Takes what the socket has, up to [`BATCH_MAX`] datagrams, without waiting. Returns how many
    /// bytes that were.
    ///
    /// # Errors
    /// EAGAIN when there is nothing, ENOBUFS when the kernel had to drop replies.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.lengths.clear();
        let mut slices: [libc::iovec; BATCH_MAX] = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: SLOT_BYTES,
        }; BATCH_MAX];
        let mut headers: [libc::mmsghdr; BATCH_MAX] = {
            // SAFETY: mmsghdr is integers and pointers; all zeros is a valid value of it: no name,
            // no buffers, no control data.
            unsafe { std::mem::zeroed() }
        };
        let slots = self.buffer.chunks_exact_mut(SLOT_BYTES);
        for ((header, slice), slot) in headers.iter_mut().zip(&mut slices).zip(slots) {
            slice.iov_base = slot.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
        }
        let count = libc::c_uint::try_from(BATCH_MAX).unwrap_or(0);
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: each of the `count` headers points to one iovec, which points to SLOT_BYTES bytes of
        // `self.buffer`, all distinct; all of them live until the call returns. No time-out is given.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                flags as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.lengths.extend(
            headers
                .iter()
                .take(received)
                .map(|header| header.msg_len as usize),
        );
        Ok(self.lengths.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::{fd::AsFd, unix::net::UnixDatagram};

    #[test]
    fn datagrams_come_in_order_and_cut_ones_are_told() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let mut batch = ReceiveBatch::new();
        assert_eq!(
            batch.receive(receiver.as_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        for length in [1, SLOT_BYTES, SLOT_BYTES + 1, 3] {
            sender
                .send(&vec![u8::try_from(length % 251).unwrap(); length])
                .unwrap();
        }
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), 2 * SLOT_BYTES + 5);
        let datagrams: Vec<_> = batch.datagrams().collect();
        let lengths: Vec<_> = datagrams
            .iter()
            .map(|datagram| datagram.map(<[u8]>::len))
            .collect();
        assert_eq!(lengths, [Some(1), Some(SLOT_BYTES), None, Some(3)]);
        assert_eq!(datagrams[3].unwrap(), [3; 3]);
    }
}
