//! The folders in which namespaces are bind-mounted, such as /run/netns.
//!
//! What is visited comes from listing them at the start of each poll. inotify only tells what came
//! and went in between: a name that lived shorter than a poll is counted, not lost silently.

use super::{Reported, watch::Watcher};
use nix::sys::inotify::{AddWatchFlags, InotifyEvent};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Names taken of one folder. A namespace costs the kernel tens of kilobytes, so no host has as
/// many; a folder that has is something else, and must not eat our memory.
const NAMES_MAX: usize = 65_536;

/// Reads of inotify per call, 4 KiB each, which is about 100 events: work for a millisecond or so.
/// What is left wakes the loop again.
const READS_PER_READY: usize = 16;

/// What was seen of the folders since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderCounters {
    /// Names that appeared while the folder was watched.
    pub created: u64,
    /// Names that went while the folder was watched.
    pub deleted: u64,
    /// Names that went before any visit got through to them: they lived shorter than a poll.
    pub missed: u64,
    /// Times the kernel's queue of events overflowed; what was in it is not in the other counters.
    pub overflows: u64,
    /// Listings that failed, for want of permission or otherwise, or found too many names.
    pub unreadable: u64,
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Name {
    pub path: Rc<Path>,
    pub display: Rc<str>,
    /// What was logged of it. A name made anew is a new one.
    pub reported: Reported,
    met: bool,
    /// The last listing that had it.
    listing: u64,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    names: BTreeMap<OsString, Name>,
    /// Its failure is in the log already.
    reported: bool,
}

/// All configured folders and what is in them.
#[derive(Debug)]
pub(super) struct Folders {
    folders: Vec<Folder>,
    watcher: Watcher,
    counters: FolderCounters,
    listing: u64,
}

impl Folders {
    /// Starts to watch; the first listing is the first poll's.
    pub fn new(paths: &[PathBuf]) -> Folders {
        let mut absolute: Vec<PathBuf> = Vec::with_capacity(paths.len());
        for path in paths {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            if !absolute.contains(&path) {
                absolute.push(path);
            }
        }
        Folders {
            watcher: Watcher::new(&absolute),
            folders: absolute
                .into_iter()
                .map(|path| Folder {
                    path,
                    names: BTreeMap::new(),
                    reported: false,
                })
                .collect(),
            counters: FolderCounters::default(),
            listing: 0,
        }
    }

    /// The inotify descriptor, for the loop; `None` where the system has no instance left.
    pub fn inotify(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.fd()
    }

    pub fn counters(&self) -> FolderCounters {
        self.counters
    }

    /// Takes what inotify has, up to a bound.
    pub fn ready(&mut self) {
        for _ in 0..READS_PER_READY {
            let events = self.watcher.read();
            if events.is_empty() {
                return;
            }
            for event in events {
                self.take(event);
            }
        }
    }

    /// Makes names and folders agree; at the start of each poll, so that whatever inotify did not
    /// tell (a full queue, a renamed parent, a file system mounted over the folder) is put right.
    pub fn list(&mut self) {
        for index in 0..self.folders.len() {
            if !self.watcher.in_place(index, &self.folders[index].path) {
                self.watcher.settle(index, &self.folders[index].path);
            }
            self.read(index);
        }
    }

    /// Every name, folder by folder.
    pub fn names(&self) -> impl Iterator<Item = (usize, &Name)> {
        let folders = self.folders.iter().enumerate();
        folders.flat_map(|(index, folder)| folder.names.values().map(move |name| (index, name)))
    }

    /// The name that `path` of a folder has now, if it is still there.
    pub fn name_mut(&mut self, folder: usize, path: &Path) -> Option<&mut Name> {
        self.folders.get_mut(folder)?.names.get_mut(path.file_name()?)
    }

    /// A visit has just told what is at `path`; if it goes now, it was not missed. What happened
    /// before is taken first: if the name was made anew since the listing, it is the new one that
    /// was visited, and the old one that was missed. In the microseconds between a visit and this
    /// call the two may be mixed up; then one that was polled counts as missed, never the reverse.
    pub fn met(&mut self, folder: usize, path: &Path) {
        self.ready();
        if let Some(name) = self.name_mut(folder, path) {
            name.met = true;
        }
    }

    fn take(&mut self, event: InotifyEvent) {
        use AddWatchFlags as Flags;
        if event.mask.contains(Flags::IN_Q_OVERFLOW) {
            self.counters.overflows += 1;
            return;
        }
        let gone = Flags::IN_DELETE_SELF | Flags::IN_MOVE_SELF | Flags::IN_UNMOUNT | Flags::IN_IGNORED;
        for index in 0..self.folders.len() {
            let path = &self.folders[index].path;
            let Some(below) = self.watcher.below(index, event.wd) else {
                continue;
            };
            let at_folder = below.is_none();
            let appeared = event.mask.intersects(Flags::IN_CREATE | Flags::IN_MOVED_TO);
            let on_the_way = appeared && below.is_some_and(|next| event.name.as_deref() == Some(next));
            if event.mask.intersects(gone) || on_the_way {
                self.watcher.settle(index, path);
                // The watch stands, so whatever the listing misses comes as an event.
                self.read(index);
            } else if at_folder && !event.mask.contains(Flags::IN_ISDIR) {
                let Some(name) = &event.name else { continue };
                if appeared {
                    self.counters.created += 1;
                    self.folders[index].add(name.clone(), self.listing);
                } else {
                    self.counters.deleted += 1;
                    let removed = self.folders[index].names.remove(name);
                    self.counters.missed += u64::from(removed.is_some_and(|name| !name.met));
                }
            }
        }
    }

    fn read(&mut self, index: usize) {
        self.listing += 1;
        let folder = &mut self.folders[index];
        match folder.read(self.listing) {
            Ok(()) => folder.reported = false,
            // It does not exist yet, or not any more: usual, and watched.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                folder.reported = false;
            }
            // Nothing is known of what is in it now, so keep what was.
            Err(error) => {
                self.counters.unreadable += 1;
                if !folder.reported {
                    log::warn!(
                        "cannot list {}: {error}; namespaces there may be missed",
                        folder.path.display()
                    );
                    folder.reported = true;
                }
                return;
            }
        }
        let (listing, missed) = (self.listing, &mut self.counters.missed);
        folder.names.retain(|_, name| {
            *missed += u64::from(name.listing != listing && !name.met);
            name.listing == listing
        });
    }
}

impl Folder {
    fn read(&mut self, listing: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Namespaces are mounted on files, or links to /proc are put in their place.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if !self.add(entry.file_name(), listing) {
                return Err(io::Error::other(format!("more than {NAMES_MAX} names")));
            }
        }
        Ok(())
    }

    /// Whether there was room for the name, or it was there.
    fn add(&mut self, name: OsString, listing: u64) -> bool {
        if let Some(known) = self.names.get_mut(&name) {
            known.listing = listing;
            return true;
        }
        if self.names.len() >= NAMES_MAX {
            return false;
        }
        let path = self.path.join(&name);
        let entry = Name {
            display: path.to_string_lossy().into(),
            path: path.into(),
            reported: Reported::default(),
            met: false,
            listing,
        };
        self.names.insert(name, entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::unix::ffi::OsStringExt};
    use tempfile::TempDir;

    fn touch(path: &Path) {
        File::create(path).unwrap();
    }

    fn displayed(folders: &Folders) -> Vec<String> {
        folders
            .names()
            .map(|(_, name)| name.display.to_string())
            .collect()
    }

    fn one_name(folders: &Folders, path: &Path) {
        assert_eq!(displayed(folders), [path.to_str().unwrap()]);
    }

    #[test]
    fn a_burst_is_counted_exactly() {
        let root = TempDir::new().unwrap();
        let mut folders = Folders::new(&[root.path().to_owned()]);
        for number in 0..500 {
            let path = root.path().join(format!("pod-{}", number % 3));
            touch(&path);
            fs::remove_file(&path).unwrap();
        }
        folders.ready();
        let expected = FolderCounters {
            created: 500,
            deleted: 500,
            missed: 500,
            ..FolderCounters::default()
        };
        assert_eq!(folders.counters(), expected);
        assert_eq!(displayed(&folders), [""; 0]);
    }

    #[test]
    fn one_call_takes_a_bounded_share_of_a_storm_and_the_next_goes_on() {
        let root = TempDir::new().unwrap();
        let mut folders = Folders::new(&[root.path().to_owned()]);
        const NAMES: u64 = 4_000;
        for number in 0..NAMES {
            touch(&root.path().join(number.to_string()));
        }
        folders.ready();
        let first = folders.counters().created;
        assert!(first > 0 && first < NAMES, "{first}");
        folders.ready();
        assert_eq!(folders.counters().created, NAMES);
    }

    #[test]
    fn a_full_queue_is_counted_and_the_next_listing_puts_it_right() {
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if most > 100_000 {
            return eprintln!("skipped: fs.inotify.max_queued_events = {most} takes too long to fill");
        }
        let root = TempDir::new().unwrap();
        let mut folders = Folders::new(&[root.path().to_owned()]);
        let (there, gone) = (root.path().join("there"), root.path().join("gone"));
        touch(&gone);
        folders.ready();
        for _ in 0..=most / 2 {
            let path = root.path().join("short-lived");
            touch(&path);
            fs::remove_file(&path).unwrap();
        }
        touch(&there);
        fs::remove_file(&gone).unwrap();
        while folders.counters().overflows == 0 {
            folders.ready();
        }
        folders.list();
        one_name(&folders, &there);
    }

    #[test]
    fn only_names_that_no_visit_got_through_to_are_missed() {
        let root = TempDir::new().unwrap();
        let (blue, red) = (root.path().join("blue"), root.path().join("red"));
        touch(&blue);
        touch(&red);
        let mut folders = Folders::new(&[root.path().to_owned()]);
        folders.list();
        folders.met(0, &blue);
        fs::remove_file(&blue).unwrap();
        fs::remove_file(&red).unwrap();
        folders.ready();
        assert_eq!((folders.counters().deleted, folders.counters().missed), (2, 1));
    }

    #[test]
    fn a_name_made_anew_before_its_visit_leaves_the_old_one_missed() {
        let root = TempDir::new().unwrap();
        let blue = root.path().join("blue");
        touch(&blue);
        let mut folders = Folders::new(&[root.path().to_owned()]);
        folders.list();
        fs::remove_file(&blue).unwrap();
        touch(&blue);
        folders.met(0, &blue);
        assert_eq!(folders.counters().missed, 1);
        fs::remove_file(&blue).unwrap();
        folders.ready();
        assert_eq!((folders.counters().deleted, folders.counters().missed), (2, 1));
    }

    #[test]
    fn a_folder_that_goes_and_comes_back_is_followed() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("run/netns");
        let mut folders = Folders::new(std::slice::from_ref(&folder));
        for round in 0..3 {
            fs::create_dir_all(&folder).unwrap();
            folders.ready();
            let blue = folder.join("blue");
            touch(&blue);
            folders.ready();
            assert_eq!(folders.counters().created, round + 1);
            one_name(&folders, &blue);
            fs::remove_dir_all(root.path().join("run")).unwrap();
            folders.ready();
            assert_eq!(displayed(&folders), [""; 0]);
        }
    }

    #[test]
    fn a_parent_that_is_renamed_is_noticed_by_the_next_listing() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("docker/netns");
        fs::create_dir_all(&folder).unwrap();
        touch(&folder.join("blue"));
        let mut folders = Folders::new(std::slice::from_ref(&folder));
        fs::rename(root.path().join("docker"), root.path().join("old")).unwrap();
        folders.list();
        assert_eq!(displayed(&folders), [""; 0]);

        fs::create_dir_all(&folder).unwrap();
        folders.ready();
        let red = folder.join("red");
        touch(&red);
        touch(&root.path().join("old/netns/not-ours"));
        folders.ready();
        one_name(&folders, &red);
        assert_eq!(folders.counters().created, 1);
    }

    #[test]
    fn a_folder_may_be_the_parent_of_another() {
        let root = TempDir::new().unwrap();
        let inner = root.path().join("inner");
        let mut folders = Folders::new(&[inner.clone(), root.path().to_owned(), inner.clone()]);
        let outer_name = root.path().join("blue");
        touch(&outer_name);
        fs::remove_file(&outer_name).unwrap();
        fs::create_dir(&inner).unwrap();
        folders.ready();
        assert_eq!((folders.counters().created, folders.counters().deleted), (1, 1));
        let inner_name = inner.join("red");
        touch(&inner_name);
        touch(&outer_name);
        folders.ready();
        let expected = [inner_name.to_str().unwrap(), outer_name.to_str().unwrap()];
        assert_eq!(displayed(&folders), expected);
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_waited_out() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("netns");
        touch(&folder);
        let mut folders = Folders::new(std::slice::from_ref(&folder));
        folders.list();
        assert_eq!(folders.counters().unreadable, 0);
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        folders.ready();
        touch(&folder.join("blue"));
        folders.ready();
        one_name(&folders, &folder.join("blue"));
    }

    #[test]
    fn a_name_that_is_not_utf8_keeps_its_path() {
        let root = TempDir::new().unwrap();
        let path = root.path().join(OsString::from_vec(b"bl\xffue".to_vec()));
        touch(&path);
        let mut folders = Folders::new(&[root.path().to_owned()]);
        folders.list();
        let (_, name) = folders.names().next().unwrap();
        assert_eq!(&*name.path, path);
        assert!(name.display.ends_with("bl\u{fffd}ue"));
    }
}
