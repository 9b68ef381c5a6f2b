//! What the pipeline finds around it: the queue of the output, the receiver behind it, and who wakes it.

use super::{
    bug::Bug, kernel::Kernel, mortal_disk::MortalDisk, receiver::Receiver, system::Handle, world::Open,
};
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};
use xtcp2::{
    output::{Message, Queue},
    pipeline::Surroundings,
};

pub struct Outlet {
    pub queue: Queue<MortalDisk>,
    pub receiver: Receiver,
    kernel: Rc<RefCell<Kernel>>,
    disk: MortalDisk,
    /// When the disk is asked again for a message that it failed to read.
    read_at: Option<Duration>,
    /// As in epoll, a socket that is closed is watched no longer.
    watched: Weak<Handle>,
    /// What was offered since that was taken last.
    pub offered: Vec<Message>,
    /// What a planted bug hands over late.
    pub held_back: Vec<Message>,
}

impl Outlet {
    pub fn new(
        queue: Queue<MortalDisk>,
        receiver: Receiver,
        kernel: &Rc<RefCell<Kernel>>,
        disk: &MortalDisk,
    ) -> Outlet {
        Outlet {
            queue,
            receiver,
            kernel: Rc::clone(kernel),
            disk: disk.clone(),
            read_at: None,
            watched: Weak::new(),
            offered: Vec::new(),
            held_back: Vec::new(),
        }
    }

    /// When the socket that is watched has something.
    pub fn readable_at(&self) -> Option<Duration> {
        let handle = self.watched.upgrade()?;
        if self.kernel.borrow().bug == Some(Bug::LostWakeup) {
            return None;
        }
        let inbox = handle.inbox.borrow();
        inbox.ready_at()
    }

    /// When the receiver has its turn, or the disk is read again; not while there is nothing to do.
    pub fn turn_at(&self) -> Option<Duration> {
        let turn_at = (!self.queue.is_empty()).then(|| self.receiver.deadline());
        [turn_at, self.read_at].into_iter().flatten().min()
    }

    /// The receiver's turn, if it has come. A process that is dead sends nothing.
    pub fn turn(&mut self) {
        let now = self.kernel.borrow().elapsed();
        if !self.disk.is_dead() && self.turn_at().is_some_and(|at| at <= now) {
            if self.read_at.take_if(|at| *at <= now).is_some() {
                self.queue.read_again();
            }
            self.receiver.turn(&mut self.queue, now);
        }
        let pause = self.queue.read_pause();
        self.read_at = pause.map(|pause| self.read_at.unwrap_or(now + pause));
    }

    /// Whether a bug that is planted shows now.
    fn shows(&self, bug: Bug) -> bool {
        let mut kernel = self.kernel.borrow_mut();
        kernel.bug == Some(bug) && kernel.random.happens(100)
    }
}

impl Surroundings<Open> for Outlet {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.queue.has_room_for(bytes)
    }

    fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn offer(&mut self, mut messages: Vec<Message>) {
        if self.kernel.borrow().bug == Some(Bug::HandedOverLate) {
            std::mem::swap(&mut messages, &mut self.held_back);
        }
        // Of several the first, so that it is the next one that shows the gap.
        if messages.len() > 1 && self.shows(Bug::LostMessage) {
            messages.remove(0);
        }
        self.offered.extend(messages.iter().cloned());
        if self.shows(Bug::UncountedDrop) {
            messages.pop();
        }
        if self.queue.is_empty() {
            let now = self.kernel.borrow().elapsed();
            self.receiver.wake(now);
        }
        self.queue.push(messages);
        self.turn();
    }

    fn watch(&mut self, socket: &Open) {
        self.watched = Rc::downgrade(&socket.handle);
    }

    fn unwatch(&mut self, socket: &Open) {
        if std::ptr::eq(self.watched.as_ptr(), Rc::as_ptr(&socket.handle)) {
            self.watched = Weak::new();
        }
    }
}
