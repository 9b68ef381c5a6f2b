//! The command line: flags, environment and configuration file become a [`Command`].
//!
//! `table` declares each flag once; everything else loops over it. [`parse()`] is all that
//! `main` needs; it is pure but for reading the configuration file, so tests hand it arguments and
//! environment of their own.

mod arguments;
mod commands;
mod completions;
mod config_file;
mod difference;
pub mod duration;
mod environment;
mod error;
mod flags;
mod help;
mod man;
mod parse;
mod print_config;
mod reference;
mod settings;
mod table;
mod validate;
mod values;

pub use difference::{changed_settings, copy_settings, is_setting};
pub use error::{EX_CONFIG, Error, Source};
pub use flags::default_config;
pub use parse::{Command, Help, Invocation, Shell, parse};

#[cfg(test)]
mod tests;
