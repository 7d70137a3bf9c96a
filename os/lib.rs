//! The doors on tokio and the operating system.
