//! librdkafka's event queue as a descriptor of the loop, and how far a failed message got: what the
//! crate rdkafka 0.39 does not wrap. Functions: rdkafka.h, librdkafka 2.12.

use nix::sys::eventfd::EventFd;
use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_message_status, rd_kafka_msg_status_t, rd_kafka_queue_destroy, rd_kafka_queue_get_main,
        rd_kafka_queue_io_event_enable, rd_kafka_queue_length, rd_kafka_queue_t,
    },
    client::Client,
    message::BorrowedMessage,
};
use std::{os::fd::AsRawFd, ptr::NonNull};

/// Added to the eventfd: its counter must grow by something.
static ONE: u64 = 1;

/// The main queue of a client: errors, logs, statistics, delivery reports. To be dropped before the
/// client is.
#[derive(Debug)]
pub struct MainQueue(NonNull<rd_kafka_queue_t>);

impl MainQueue {
    /// The queue of `client`. From now on `wake` becomes readable whenever the queue turns from empty to
    /// not empty, and only then: read `wake`, then serve the queue until [`MainQueue::is_empty`]. The
    /// eventfd has to be non-blocking, and to stay open for as long as the client lives: its threads
    /// write to the number.
    ///
    /// `None` when librdkafka has no such queue, which does not happen with a producer.
    pub fn of<C: ClientContext>(client: &Client<C>, wake: &EventFd) -> Option<MainQueue> {
        // SAFETY: `client` is borrowed, so its handle is alive; the call returns a reference of its own.
        let queue = MainQueue(NonNull::new(unsafe {
            rd_kafka_queue_get_main(client.native_ptr())
        })?);
        // SAFETY: the queue is alive; the eight bytes of ONE are copied during the call.
        unsafe {
            rd_kafka_queue_io_event_enable(
                queue.0.as_ptr(),
                wake.as_raw_fd(),
                (&raw const ONE).cast(),
                size_of_val(&ONE),
            );
        }
        Some(queue)
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        // SAFETY: the reference of our own keeps the queue alive.
        unsafe { rd_kafka_queue_length(self.0.as_ptr()) == 0 }
    }
}

impl Drop for MainQueue {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that rd_kafka_queue_get_main took, once.
        unsafe { rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// Whether a message that failed may be in the topic all the same: it was sent, and the answer was lost.
pub fn is_possibly_persisted(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the borrowed message keeps its native one alive.
    let status = unsafe { rd_kafka_message_status(message.ptr()) };
    !matches!(status, rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED)
}
