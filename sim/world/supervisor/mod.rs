//! Supervisors: pure policies that decide, from what happened and when, what becomes of the service.

pub mod systemd;
