//! Search: finding failures that nobody wrote down, and handing them over small.
//!
//! Everything here works on scenario files: a [`Draft`] is one that is changed, a [`Signature`] tells whether the changed
//! one still fails in the same way. How a run is made is handed in.

pub mod bisect;
pub mod bundle;
pub mod defects;
mod draft;
pub mod explore;
pub mod shrink;
mod signature;
pub mod sweep;

pub use draft::Draft;
pub use signature::Signature;

use crate::determinism::Trace;
use crate::scenario::Scenario;
use crate::verdict::RunResult;

/// Makes one run of a scenario under the named profile and a seed.
pub type Run<'a> = &'a (dyn Fn(&Scenario, &str, u64) -> RunResult + Sync);

/// The same, with a trace of all that its world did.
pub type Traced<'a> = &'a (dyn Fn(&Scenario, &str, u64) -> (RunResult, Trace) + Sync);

/// A message whose gateway is killed while the model works on it.
#[cfg(test)]
const KILLED_MID_ANSWER: &str = r#"
name = "killed while it answers"
[senders.ann]
[[steps]]
at = "1s"
do = "send"
from = "ann"
text = "hello"
[[steps]]
on = "provider.requested"
do = "kill"
"#;
