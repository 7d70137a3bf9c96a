//! The gateway daemon.

fn main() {}
