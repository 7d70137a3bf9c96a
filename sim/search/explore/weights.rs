//! The weights of the draws: what has been reached rarely weighs more.

use std::collections::BTreeMap;

use super::Coverage;

/// How often each choice came to something, by which the next draws are weighed. Empty: all weigh the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Runs in which a fault befell a phase of life under a supervisor.
    reached: BTreeMap<(String, String, String), u64>,
}

/// What was never reached weighs so much, and half of it for each time that it was doubled.
const RAREST: u64 = 8;

impl Weights {
    /// Notes that `fault` befell `phase` under `supervisor` so many times.
    pub(super) fn note(&mut self, phase: &str, fault: &str, supervisor: &str, times: u64) {
        let key = (phase.to_string(), fault.to_string(), supervisor.to_string());
        *self.reached.entry(key).or_default() += times;
    }

    /// Notes what a run reached.
    pub(super) fn learn(&mut self, coverage: &Coverage) {
        for cell in coverage.cells.keys() {
            self.note(&cell.phase, &cell.fault, &cell.supervisor, 1);
        }
    }

    /// Of a phase to aim at.
    pub(super) fn of_aim(&self, phase: &str, fault: &str, supervisor: &str) -> u64 {
        self.weight(|key| key == (phase, fault, supervisor), 1)
    }

    /// Of a fault.
    pub(super) fn of_fault(&self, fault: &str) -> u64 {
        self.weight(|(_, known, _)| known == fault, 8)
    }

    /// Of a supervisor.
    pub(super) fn of_supervisor(&self, supervisor: &str) -> u64 {
        let by_kind = if supervisor == "systemd" { 2 } else { 1 };
        self.weight(|(.., known)| known == supervisor, 64) * by_kind
    }

    /// From [`RAREST`] down to 1, by how often it was reached, in units of `often`.
    fn weight(&self, is_it: impl Fn((&str, &str, &str)) -> bool, often: u64) -> u64 {
        let matching =
            self.reached.iter().filter(|((phase, fault, supervisor), _)| is_it((phase, fault, supervisor)));
        let times: u64 = matching.map(|(_, times)| times).sum();
        (RAREST >> (times / often + 1).ilog2().min(RAREST.ilog2())).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_often_weighs_less() {
        let mut weights = Weights::default();
        assert_eq!(weights.of_aim("idle", "kill", "systemd"), RAREST);
        weights.note("idle", "kill", "systemd", 1);
        assert_eq!(weights.of_aim("idle", "kill", "systemd"), RAREST / 2);
        weights.note("idle", "kill", "systemd", 1_000);
        assert_eq!(weights.of_aim("idle", "kill", "systemd"), 1);
        assert_eq!(weights.of_aim("down", "kill", "systemd"), RAREST);
    }
}
