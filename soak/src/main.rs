//! xtcp2-soak: proves that xtcp2 loses nothing.

fn main() {}
