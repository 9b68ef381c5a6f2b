//! inotify on folders that may not exist yet, or not any more.
//!
//! For a folder that does not exist, its nearest existing parent is watched, and the watch moves
//! down as the parts of the path appear. It never moves on the word of an event alone: a watch is
//! added first, then the file system is asked, so nothing falls between the two.

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};
use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

/// Times a watch is moved in one go, while somebody makes and removes parents as fast as we look.
/// The next poll goes on from there.
const MOVES_MAX: usize = 32;

#[derive(Debug)]
struct Watch {
    descriptor: WatchDescriptor,
    /// What is watched: the folder or one of its parents.
    directory: PathBuf,
    /// The part of the folder's path that is waited for; `None` when the folder itself is watched.
    next: Option<Box<OsStr>>,
    /// Device and inode of the folder, to notice that the path leads elsewhere now.
    identity: Option<(u64, u64)>,
}

/// The watches of all folders, on one descriptor.
#[derive(Debug)]
pub(super) struct Watcher {
    /// `None` when there was no instance left; then the listing of each poll has to do.
    inotify: Option<Inotify>,
    /// One for each folder, in their order.
    watches: Vec<Option<Watch>>,
    /// Folders whose failure is in the log already.
    reported: Vec<bool>,
}

impl Watcher {
    pub fn new(folders: &[PathBuf]) -> Watcher {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .inspect_err(|errno| {
                log::warn!(
                    "no inotify: {}; folders are only listed at each poll (try sysctl \
                     fs.inotify.max_user_instances)",
                    errno.desc()
                );
            })
            .ok();
        let mut watcher = Watcher {
            inotify,
            watches: folders.iter().map(|_| None).collect(),
            reported: vec![false; folders.len()],
        };
        for (index, folder) in folders.iter().enumerate() {
            watcher.settle(index, folder);
        }
        watcher
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// One read: some events, or none when there are none.
    pub fn read(&self) -> Vec<InotifyEvent> {
        // EAGAIN is the usual end; nothing else can be repaired here, and each poll lists anyway.
        let events = self.inotify.as_ref().map(Inotify::read_events);
        events.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether an event of `descriptor` concerns the folder: `Some(None)` for the folder itself,
    /// `Some(Some(name))` for the parent that waits for `name`.
    pub fn below(&self, index: usize, descriptor: WatchDescriptor) -> Option<Option<&OsStr>> {
        let watch = self.watches[index].as_ref()?;
        (watch.descriptor == descriptor).then_some(watch.next.as_deref())
    }

    /// Whether the folder itself is watched, and its path still leads to it.
    pub fn in_place(&self, index: usize, folder: &Path) -> bool {
        let watched = self.watches[index].as_ref().and_then(|watch| watch.identity);
        watched.is_some() && watched == identity(folder)
    }

    /// Moves the folder's watch to where it belongs now.
    pub fn settle(&mut self, index: usize, folder: &Path) {
        for _ in 0..MOVES_MAX {
            let new = match self.watch_nearest(folder) {
                Ok(new) => new,
                Err(errno) => {
                    self.report(index, folder, errno);
                    None
                }
            };
            let waits_for = new
                .as_ref()
                .and_then(|watch| Some(watch.directory.join(watch.next.as_deref()?)));
            let old = std::mem::replace(&mut self.watches[index], new);
            self.release(old);
            // Did it appear before the parent's watch stood? Then no event will tell.
            match waits_for {
                Some(next) if fs::metadata(&next).is_ok_and(|next| next.is_dir()) => {}
                _ => return,
            }
        }
    }

    fn watch_nearest(&self, folder: &Path) -> Result<Option<Watch>, Errno> {
        let Some(inotify) = &self.inotify else {
            return Ok(None);
        };
        // One directory may be a folder and the parent of another, with one watch for both.
        // nix lacks IN_MASK_ADD: keep what is watched there already.
        let keep = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
        let always = keep
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        let mut next = None;
        for directory in folder.ancestors() {
            let mask = match next {
                None => always | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM,
                Some(_) => always,
            };
            match inotify.add_watch(directory, mask) {
                Ok(descriptor) => {
                    return Ok(Some(Watch {
                        descriptor,
                        directory: directory.to_owned(),
                        identity: if next.is_none() { identity(directory) } else { None },
                        next: next.map(Box::from),
                    }));
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => next = directory.file_name(),
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    /// Ends a watch that no folder needs any more.
    fn release(&self, old: Option<Watch>) {
        let (Some(inotify), Some(old)) = (&self.inotify, old) else {
            return;
        };
        let same = |watch: &Watch| watch.descriptor == old.descriptor;
        if !self.watches.iter().flatten().any(same) {
            // EINVAL: the kernel ended it already, with the directory.
            let _ = inotify.rm_watch(old.descriptor);
        }
    }

    fn report(&mut self, index: usize, folder: &Path, errno: Errno) {
        if !std::mem::replace(&mut self.reported[index], true) {
            let hint = match errno {
                Errno::ENOSPC => " (try sysctl fs.inotify.max_user_watches)",
                _ => "",
            };
            log::warn!(
                "cannot watch {}: {}{hint}; it is only listed at each poll",
                folder.display(),
                errno.desc()
            );
        }
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder)
        .ok()
        .map(|folder| (folder.dev(), folder.ino()))
}
