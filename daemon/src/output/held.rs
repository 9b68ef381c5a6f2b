//! Where a message of the queue is.

use super::{Identity, Message};
use crate::spool::{Disk, Kept, Spool};
use std::io;

/// A message in memory, on disk, or both.
#[derive(Debug)]
pub(super) enum Held {
    /// Lost with the process.
    InMemory(Message),
    /// In the spool. A copy is in memory while it is about to be sent.
    OnDisk { kept: Kept, copy: Option<Box<Message>> },
}

impl Held {
    pub fn in_memory(message: Message) -> Held {
        Held::InMemory(message)
    }

    pub fn on_disk(kept: Kept) -> Held {
        Held::OnDisk { kept, copy: None }
    }

    pub fn is_on_disk(&self) -> bool {
        matches!(self, Held::OnDisk { .. })
    }

    pub fn identity(&self) -> Identity {
        match self {
            Held::InMemory(message) => message.identity,
            Held::OnDisk { kept, .. } => kept.identity,
        }
    }

    pub fn rows(&self) -> u32 {
        match self {
            Held::InMemory(message) => message.rows,
            Held::OnDisk { kept, .. } => kept.rows,
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Held::InMemory(message) => message.bytes.len(),
            Held::OnDisk { kept, .. } => kept.bytes_len as usize,
        }
    }

    /// The message, if it is in memory.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Held::InMemory(message) => Some(message),
            Held::OnDisk { copy, .. } => copy.as_deref(),
        }
    }

    /// Where it lies, for one on disk.
    pub fn kept(&self) -> Option<&Kept> {
        match self {
            Held::InMemory(_) => None,
            Held::OnDisk { kept, .. } => Some(kept),
        }
    }

    /// Where it is to be read from, if it is not in memory.
    pub fn unloaded(&self) -> Option<&Kept> {
        match self {
            Held::OnDisk { kept, copy: None } => Some(kept),
            _ => None,
        }
    }

    /// Gives a message on disk its copy in memory.
    pub fn load(&mut self, message: Message) {
        if let Held::OnDisk { copy, .. } = self {
            *copy = Some(Box::new(message));
        }
    }

    /// Forgets the copy of a message on disk; returns its length.
    pub fn unload(&mut self) -> usize {
        match self {
            Held::OnDisk { copy, .. } => copy.take().map_or(0, |message| message.bytes.len()),
            Held::InMemory(_) => 0,
        }
    }

    /// Brings a message in memory to the disk; the copy in memory stays.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save<D: Disk>(&mut self, spool: &mut Spool<D>) -> io::Result<()> {
        if let Held::InMemory(message) = self {
            let kept = spool.append(message)?;
            let empty = Vec::new();
            let copy = Message {
                bytes: std::mem::replace(&mut message.bytes, empty),
                ..message.clone()
            };
            *self = Held::OnDisk {
                kept,
                copy: Some(Box::new(copy)),
            };
        }
        Ok(())
    }

    /// Where it lies, for one on disk.
    pub fn into_kept(self) -> Option<Kept> {
        match self {
            Held::InMemory(_) => None,
            Held::OnDisk { kept, .. } => Some(kept),
        }
    }
}
