//! The present instant of a world, read once.
//!
//! A paused clock stands still while tasks run and moves only when the runtime parks, yet every question to it costs a
//! look for the runtime and a lock. Who runs the tasks [holds](hold) the instant for as long as they run; everybody
//! asks [`now`]. Outside of that it is tokio's clock. Knows no world.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static HELD: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The present instant on tokio's clock.
pub(crate) fn now() -> Instant {
    HELD.get().unwrap_or_else(Instant::now)
}

/// Does `work`, during which the clock must not move: it must be paused, and `work` must not park the runtime.
pub(crate) fn hold(work: impl FnOnce()) {
    /// Lets go also when `work` panics.
    struct LetGo;

    impl Drop for LetGo {
        fn drop(&mut self) {
            HELD.set(None);
        }
    }

    HELD.set(Some(Instant::now()));
    let _let_go = LetGo;
    work();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_held_for_the_time_of_the_work() {
        let began = Instant::now();
        hold(|| assert_eq!(now(), began));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(now() - began, Duration::from_secs(1));
        hold(|| assert_eq!(now() - began, Duration::from_secs(1)));
    }

    #[test]
    fn nothing_is_held_after_a_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let _inside = runtime.as_ref().expect("needs nothing").enter();
        assert!(std::panic::catch_unwind(|| hold(|| panic!("in between"))).is_err());
        assert_eq!(HELD.get(), None);
    }
}
