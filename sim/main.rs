//! The gatesim command.

fn main() {}
