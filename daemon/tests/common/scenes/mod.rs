//! Sockets of every kind, in namespaces of the sandbox, that hold still.

mod conditions;
mod network;
mod options;
mod states;

use socket2::Socket;

pub use network::Network;
pub use options::{MD5_KEY, set_option};

/// Sockets that stay as they are for as long as this lives, and what could not be made.
#[derive(Default)]
pub struct Scene {
    sockets: Vec<Socket>,
    /// What this kernel does not have.
    pub skipped: Vec<String>,
}

impl Scene {
    fn keep(&mut self, sockets: impl IntoIterator<Item = Socket>) {
        self.sockets.extend(sockets);
    }

    fn skip(&mut self, what: &str, why: impl std::fmt::Display) {
        self.skipped.push(format!("{what}: {why}"));
    }
}

type Make = fn(&Network) -> Scene;

/// Each group of sockets: what a recording of it is named, and what makes it.
pub const GROUPS: [(&str, Make); 4] = [
    ("few", states::few),
    ("states", states::make),
    ("options", options::make),
    ("conditions", conditions::make),
];
