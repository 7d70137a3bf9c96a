//! Supervisors: pure policies that decide, from what happened and when, what becomes of the service; and the
//! driver that lets one of them act on a machine of the world.

mod service;
pub mod systemd;

pub use service::Service;
pub use systemd::{RestartPolicy, Unit};
