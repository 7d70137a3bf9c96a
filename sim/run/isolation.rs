//! Isolation: work on a fresh thread, so that neither thread-local state nor a panic outlives it.

use std::any::Any;
use std::thread;

/// Stack of a run's thread in bytes: a world is deep, and the default for threads is a quarter of this.
const STACK_BYTES: usize = 8 << 20;

/// Does `work` on a thread of its own. A panic, or a thread that cannot be had, is the error, in words.
pub(super) fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("world".to_string()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(running) => running
                .join()
                .map_err(|panic| format!("the harness panicked: {}", panic_message(panic.as_ref()))),
            Err(error) => Err(format!("a thread could not be started: {error}")),
        }
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::on_fresh_thread;

    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn nothing_thread_local_is_left_over() {
        let count = || {
            COUNT.with(|count| {
                count.set(count.get() + 1);
                count.get()
            })
        };
        assert_eq!([on_fresh_thread(count), on_fresh_thread(count)], [Ok(1), Ok(1)]);
    }

    #[test]
    fn a_panic_is_an_error_in_words() {
        let outcome = on_fresh_thread(|| -> u32 { panic!("seed {} is unlucky", 2) });
        assert_eq!(outcome, Err("the harness panicked: seed 2 is unlucky".to_string()));
    }
}
