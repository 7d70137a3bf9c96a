//! Taking the time, and the memory, of things that are done again and again.
//!
//! A plain loop with a median: the figures are compared with bars and with each other in one table, which the
//! usual benchmark libraries, made to track one function over time, do not offer. Knows nothing of gateways.

use std::fs;
use std::time::{Duration, Instant};

/// How long `work` takes.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// The middle of the samples; the upper one of two.
///
/// # Panics
/// When there are none.
pub(crate) fn median<T: PartialOrd + Copy>(mut samples: Vec<T>) -> T {
    samples.sort_by(|a, b| a.partial_cmp(b).expect("no sample is NaN"));
    samples[samples.len() / 2]
}

/// The shortest of the samples; zero when there are none.
pub(crate) fn best(samples: &[Duration]) -> Duration {
    samples.iter().min().copied().unwrap_or_default()
}

/// Takes samples until the budget is used up, at least `at_least` of them. `sample` is given its number.
pub(crate) fn samples<T>(budget: Duration, at_least: usize, mut sample: impl FnMut(usize) -> T) -> Vec<T> {
    let started = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < at_least || started.elapsed() < budget {
        taken.push(sample(taken.len()));
    }
    taken
}

/// How much of the machine's memory a process has, in bytes.
pub(crate) struct Resident {
    /// The most it has had so far.
    pub(crate) peak: u64,
    /// What of it are pages of files now: its program's code, for the most part.
    pub(crate) of_files: u64,
}

impl Resident {
    /// Of this process; `None` where the system does not tell.
    pub(crate) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(Self { peak: bytes_of(&status, "VmHWM:")?, of_files: bytes_of(&status, "RssFile:")? })
    }

    /// What this process has taken since `before`, at its peak. Code that was used for the first time is no part of it:
    /// all worlds of a process share it.
    pub(crate) fn taken_since(&self, before: &Self) -> u64 {
        (self.peak - before.peak).saturating_sub(self.of_files.saturating_sub(before.of_files))
    }
}

fn bytes_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// The load average of the last minute, if it tells of other programs: ours alone would make it one.
pub(crate) fn foreign_load() -> Option<f64> {
    let averages = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = averages.split_whitespace().next()?.parse().ok()?;
    Some(load).filter(|load| *load > 1.5)
}
