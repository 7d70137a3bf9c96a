//! One step of a shutdown: named, limited, and reported whatever becomes of it.
//!
//! A step that fails, hangs or panics is over when it is, and whoever comes after it goes on. (A daemon whose panics
//! end the process ends there.) What a step does is not known here.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    TimedOut,
}

/// Does the work of the step called `name`, for at most `limit`; `None`: for ever.
pub(crate) async fn step<E: Display>(
    name: &'static str,
    limit: Option<Duration>,
    work: impl Future<Output = Result<(), E>>,
) -> Outcome {
    let began = Instant::now();
    let work = AssertUnwindSafe(work).catch_unwind();
    let worked = match limit {
        Some(limit) => timeout(limit, work).await.ok(),
        None => Some(work.await),
    };
    let took_ms = began.elapsed().as_millis() as u64;
    match worked {
        Some(Ok(Ok(()))) => {
            tracing::debug!(name: "shutdown.step", step = name, took_ms, "done");
            Outcome::Done
        }
        Some(Ok(Err(error))) => {
            tracing::warn!(name: "shutdown.step-failed", step = name, took_ms, %error, "going on without it");
            Outcome::Failed
        }
        Some(Err(_)) => {
            let error = "it panicked";
            tracing::warn!(name: "shutdown.step-failed", step = name, took_ms, error, "going on without it");
            Outcome::Failed
        }
        None => {
            tracing::warn!(name: "shutdown.step-timed-out", step = name, took_ms, "going on without it");
            Outcome::TimedOut
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tracing_test::traced_test;

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(1));

    #[traced_test]
    #[tokio::test(start_paused = true)]
    async fn a_step_is_over_whatever_becomes_of_it() {
        let began = Instant::now();
        assert_eq!(step("good", LIMIT, ready(Ok::<_, String>(()))).await, Outcome::Done);
        assert_eq!(step("bad", LIMIT, ready(Err("no"))).await, Outcome::Failed);
        let panics = async { panic!("out of its mind") };
        assert_eq!(step::<String>("mad", LIMIT, panics).await, Outcome::Failed);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(step::<String>("slow", LIMIT, pending()).await, Outcome::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        for step in ["good", "bad", "mad", "slow"] {
            assert!(logs_contain(&format!("step=\"{step}\"")), "{step}");
        }
    }
}
