//! The simulated world behind the gateway's doors.

pub mod disk;
pub mod supervisor;
