//! Randomness by label.

/// The door to randomness.
pub trait Random {
    /// The next number of the stream named `label`. Streams are independent of each other.
    fn next_u64(&self, label: &'static str) -> u64;
}
