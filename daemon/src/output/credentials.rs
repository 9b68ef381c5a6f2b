//! Files with credentials, of which what was read last is kept: a pipe says it once, and a running daemon
//! waits for none.

use crate::{
    setting_error::SettingError,
    settings_file::{self, Unread, When},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
};

/// The files, for whoever reads them in the output. Clones are the same.
#[derive(Clone, Default)]
pub struct Credentials(Rc<State>);

#[derive(Default)]
struct State {
    is_running: Cell<bool>,
    read: RefCell<BTreeMap<PathBuf, String>>,
}

/// Without what they hold.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// The start is over: from now on, no pipe is waited for.
    pub(super) fn run(&self) {
        self.0.is_running.set(true);
    }

    /// What is in the file now; or what was in it before, when it cannot be read again.
    ///
    /// # Errors
    /// When it cannot be read, with its name.
    pub(super) fn read(&self, path: &Path, bytes_max: u64) -> Result<String, SettingError> {
        let name = path.display();
        let mut before = self.0.read.borrow_mut();
        let when = match self.0.is_running.get() || before.contains_key(path) {
            true => When::Running,
            false => When::Start,
        };
        match (settings_file::read(path, bytes_max, when), before.get(path)) {
            (Ok(text), _) => {
                before.insert(path.to_owned(), text.clone());
                Ok(text)
            }
            (Err(kind @ Unread::Kind), Some(text)) => {
                log::warn!("{name}: {kind}; what was read before stays in force");
                Ok(text.clone())
            }
            (Err(error), _) => Err(SettingError::from(error).of(name)),
        }
    }
}
