//! The daemon's thread among the simulated namespaces: what a visit asks of the system.

use super::{
    bug::Bug,
    inbox::Inbox,
    kernel::{Kernel, Place},
};
use nix::errno::Errno;
use std::{cell::RefCell, path::Path, rc::Rc};
use xtcp2::namespaces::System;

/// A simulated system call fails once in so many thousand faults.
const CALL_FAILS_PER_MILLE: u64 = 300;

/// What a path led to when it was opened.
#[derive(Clone, Copy, Debug)]
pub struct File(Place);

/// An open netlink socket.
#[derive(Debug)]
pub struct Handle {
    pub netns: u64,
    pub inbox: RefCell<Inbox>,
}

/// The thread.
#[derive(Clone, Debug)]
pub struct Thread(pub Rc<RefCell<Kernel>>);

impl Thread {
    fn fails(&self, errnos: &[Errno]) -> Result<(), Errno> {
        let kernel = &mut *self.0.borrow_mut();
        match kernel.fails(CALL_FAILS_PER_MILLE) {
            true => Err(kernel.random.of(errnos)),
            false => Ok(()),
        }
    }
}

impl System for Thread {
    type File = File;
    type Socket = Rc<Handle>;
    /// The namespace that they are of.
    type Counts = u64;

    fn open_own(&self) -> Result<File, Errno> {
        Ok(File(Place::Namespace(self.0.borrow().thread_in)))
    }

    fn open(&self, path: &Path) -> Result<File, Errno> {
        self.0.borrow_mut().asked("open");
        self.fails(&[Errno::EACCES, Errno::EMFILE, Errno::ENOENT])?;
        let kernel = self.0.borrow();
        let place = kernel.paths.get(path.to_str().ok_or(Errno::EINVAL)?);
        place.copied().map(File).ok_or(Errno::ENOENT)
    }

    fn is_namespace(&self, file: &File) -> Result<bool, Errno> {
        Ok(file.0 != Place::PlainFile)
    }

    fn inode(&self, file: &File) -> Result<u64, Errno> {
        match file.0 {
            Place::Namespace(cookie) => Ok(self.0.borrow().namespaces[&cookie].inode),
            Place::PlainFile | Place::OtherNamespace => Ok(1),
        }
    }

    fn enter(&self, namespace: &File) -> Result<(), Errno> {
        let Place::Namespace(cookie) = namespace.0 else {
            return Err(Errno::EINVAL);
        };
        let is_home = cookie == self.0.borrow().home;
        if !is_home {
            self.fails(&[Errno::EPERM, Errno::ENOMEM])?;
        }
        let kernel = &mut *self.0.borrow_mut();
        let left_out = match kernel.bug {
            Some(Bug::StayAway) => is_home && kernel.thread_in != kernel.home && kernel.random.happens(100),
            Some(Bug::StayHome) => !is_home && kernel.random.happens(100),
            _ => false,
        };
        if !left_out {
            kernel.thread_in = cookie;
        }
        // Nobody holds the daemon up between its two setns, but the world goes on.
        kernel.live();
        Ok(())
    }

    fn socket(&self) -> Result<Rc<Handle>, Errno> {
        self.fails(&[Errno::EMFILE, Errno::ENOBUFS])?;
        Ok(Rc::new(Handle {
            netns: self.0.borrow().thread_in,
            inbox: RefCell::default(),
        }))
    }

    fn counts(&self) -> Result<u64, Errno> {
        self.fails(&[Errno::EMFILE])?;
        Ok(self.0.borrow().thread_in)
    }

    fn cookie(&self, socket: &Rc<Handle>) -> Result<Option<u64>, Errno> {
        self.fails(&[Errno::ENOBUFS])?;
        Ok(self.0.borrow().profile.has_cookies.then_some(socket.netns))
    }
}
