//! The operating system's randomness.
//!
//! Labels exist so that a simulated world can keep its streams apart; true randomness has nothing to keep apart.

use gateway::env::Random;

/// The door to the randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    ///
    /// When the operating system has no randomness to give: no identifier could be trusted to be unique then.
    fn next_u64(&self, _label: &'static str) -> u64 {
        getrandom::u64().expect("the operating system provides randomness")
    }
}
