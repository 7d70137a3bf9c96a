//! The judgement: what to do about a lock file that is in the way, decided from facts alone.
//!
//! Nothing here reads a clock or a file. How long a lock has stood unchanged is what this process watched itself, by
//! its monotonic clock: no wall-clock time takes part, so no jump of it can break a live holder's lock.

use std::fmt;
use std::time::Duration;

use super::payload::Sight;
use crate::env::Liveness;
use crate::policy::{InstanceLock, StoreLock};

/// How long a holder that follows the protocol may be silent.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// A lock file without a readable payload is left alone this long: its owner may be another program that is
/// between creating it and writing its name (OpenClaw 2026.5.3-1 uses the same grace).
pub(super) const PAYLOAD_GRACE: Duration = Duration::from_secs(5);

/// How one kind of lock is held and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// What its holder promises: to renew it in time and to look before writing. `None` promises nothing, and the
    /// holder is respected for as long as it lives.
    pub(super) lease: Option<Duration>,
    /// Whether a holder that broke such a promise is taken over although it lives.
    pub(super) breaks_the_silent: bool,
    /// Planted: whether a holder is taken over that lives and promised nothing.
    pub(super) breaks_the_living: bool,
    /// Whether an abandoned lock is taken over at all.
    pub(super) breaks_the_abandoned: bool,
    /// Whether the holder looks before it writes.
    pub(super) looks_before_writing: bool,
    /// How long a lock has to stand unchanged that may name a stranger: nobody can tell whether the process is the one
    /// that was meant, and it does not run our program.
    pub(super) stranger_grace: Duration,
}

impl Rules {
    /// The lock on the state directory. Whoever lives is respected, however frozen: it is not fenced.
    pub(crate) const fn instance(policy: InstanceLock) -> Self {
        Self {
            lease: None,
            breaks_the_silent: false,
            breaks_the_living: matches!(policy, InstanceLock::BreaksTheLiving),
            breaks_the_abandoned: !matches!(policy, InstanceLock::NeverStale),
            looks_before_writing: false,
            // Nobody but a gateway ever takes it; and should it be one by another name, it has the port.
            stranger_grace: Duration::ZERO,
        }
    }

    /// The lock on the session store.
    pub(crate) const fn store(policy: StoreLock) -> Self {
        Self {
            lease: Some(LEASE),
            breaks_the_silent: !matches!(policy, StoreLock::RespectsTheSilent),
            breaks_the_living: false,
            breaks_the_abandoned: true,
            looks_before_writing: !matches!(policy, StoreLock::WritesWithoutLooking),
            // As long as other programs that share the store give each other (OpenClaw 2026.3.2: 30 s).
            stranger_grace: LEASE,
        }
    }
}

/// Whose name stands in a lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A lock that this life holds.
    Ours,
    /// This process's id, on a lock that this life does not hold.
    OurPid,
    /// Somebody else's.
    Others,
}

/// Everything a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) sight: &'a Sight,
    pub(super) whose: Whose,
    /// What the machine says of the named process; `Unknown` when none is named.
    pub(super) liveness: Liveness,
    /// Whether that process is known to run another program than ours.
    pub(super) runs_another: bool,
    /// How long this process has watched the file unchanged.
    pub(super) unchanged_for: Duration,
}

/// What to do about a lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Its holder lives.
    Held,
    /// Nobody holds it any more, or has the right to.
    Stale(Staleness),
    /// It cannot be told yet.
    Wait,
}

/// Why a lock may be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Staleness {
    /// Nothing was ever written into it.
    Blank,
    /// What stands in it names nobody.
    Garbage,
    /// Its owner is dead, or its pid is another process's by now.
    OwnerDead,
    /// Our own pid, and not our lock: of a predecessor or of an earlier life of this process.
    Orphan,
    /// Its owner lives and has not renewed it for longer than it promised (openclaw/openclaw#89673).
    Silent,
    /// Its pid is the pid of another program, and nothing says that the owner was one.
    Stranger,
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "no payload",
            Self::Garbage => "its payload names nobody",
            Self::OwnerDead => "its owner is dead",
            Self::Orphan => "orphan with our own pid",
            Self::Silent => "its owner lives and has been silent for too long",
            Self::Stranger => "its pid runs another program",
        })
    }
}

/// Judges a lock by facts.
pub(super) fn judge(facts: Facts<'_>, rules: Rules) -> Judgement {
    if !rules.breaks_the_abandoned {
        return Judgement::Held;
    }
    let out_of_grace = facts.unchanged_for >= PAYLOAD_GRACE;
    let payload = match facts.sight {
        Sight::Says(payload) => payload,
        Sight::Blank if out_of_grace => return Judgement::Stale(Staleness::Blank),
        Sight::Garbage if out_of_grace => return Judgement::Stale(Staleness::Garbage),
        Sight::Blank | Sight::Garbage | Sight::NotReadNow(_) => return Judgement::Wait,
    };
    if rules.breaks_the_living {
        return Judgement::Stale(Staleness::Silent);
    }
    let is_silent = payload
        .lease()
        .is_some_and(|lease| rules.breaks_the_silent && facts.unchanged_for >= lease.max(LEASE));
    match (facts.whose, facts.liveness) {
        (Whose::Ours, _) => Judgement::Held,
        (_, Liveness::Dead) => Judgement::Stale(Staleness::OwnerDead),
        (Whose::OurPid, _) => Judgement::Stale(Staleness::Orphan),
        (Whose::Others, _) if is_silent => Judgement::Stale(Staleness::Silent),
        (Whose::Others, Liveness::Unknown)
            if facts.runs_another && facts.unchanged_for >= rules.stranger_grace =>
        {
            Judgement::Stale(Staleness::Stranger)
        }
        (Whose::Others, _) => Judgement::Held,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::payload::Payload;
    use super::*;
    use crate::env::{Pid, StartTime};

    const NOW: Duration = Duration::ZERO;
    const A_DAY: Duration = Duration::from_secs(86_400);
    const ALMOST: Duration = Duration::from_millis(1);

    fn store() -> Rules {
        Rules::store(StoreLock::Leased)
    }

    fn payload(lease_ms: Option<u64>) -> Sight {
        Sight::Says(Payload {
            pid: Pid(7),
            created_at: "2026-03-02T00:00:00Z".into(),
            start_time: Some(StartTime(1)),
            owner_id: "a".into(),
            generation: "g".into(),
            lease_ms,
            renewal: 0,
        })
    }

    fn leased() -> Sight {
        payload(Some(30_000))
    }

    #[track_caller]
    fn check(
        rules: Rules,
        sight: &Sight,
        whose: Whose,
        liveness: Liveness,
        unchanged_for: Duration,
        expected: Judgement,
    ) {
        let facts = Facts { sight, whose, liveness, runs_another: false, unchanged_for };
        assert_eq!(judge(facts, rules), expected);
    }

    use Judgement::{Held, Stale, Wait};
    use Liveness::{Alive, Dead, Unknown};
    use Whose::{Others, OurPid, Ours};

    #[test]
    fn a_crash_between_creation_and_payload_is_out_of_the_way_after_the_grace() {
        check(store(), &Sight::Blank, Others, Unknown, NOW, Wait);
        check(store(), &Sight::Blank, Others, Unknown, PAYLOAD_GRACE - ALMOST, Wait);
        check(store(), &Sight::Blank, Others, Unknown, PAYLOAD_GRACE, Stale(Staleness::Blank));
    }

    #[test]
    fn a_payload_that_names_nobody_is_treated_like_none() {
        check(store(), &Sight::Garbage, Others, Unknown, PAYLOAD_GRACE - ALMOST, Wait);
        check(store(), &Sight::Garbage, Others, Unknown, PAYLOAD_GRACE, Stale(Staleness::Garbage));
    }

    #[test]
    fn a_lock_that_cannot_be_read_just_now_is_never_broken() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Other, io::ErrorKind::PermissionDenied] {
            check(store(), &Sight::NotReadNow(kind), Others, Unknown, A_DAY, Wait);
        }
    }

    #[test]
    fn a_dead_owner_and_one_whose_pid_is_reused_hold_nothing() {
        // A pid with another start time is dead to the process table.
        check(store(), &leased(), Others, Dead, NOW, Stale(Staleness::OwnerDead));
        check(store(), &payload(None), Others, Dead, NOW, Stale(Staleness::OwnerDead));
        check(store(), &leased(), OurPid, Dead, NOW, Stale(Staleness::OwnerDead));
    }

    #[test]
    fn our_own_pid_on_a_lock_that_we_do_not_hold_is_an_orphan() {
        check(store(), &leased(), OurPid, Alive, NOW, Stale(Staleness::Orphan));
        check(store(), &payload(None), OurPid, Unknown, NOW, Stale(Staleness::Orphan));
        check(store(), &leased(), Ours, Alive, A_DAY, Held);
    }

    #[test]
    fn a_pid_that_runs_another_program_is_a_stranger_unless_it_is_known_to_be_the_owner() {
        let instance = || Rules::instance(InstanceLock::Verified);
        let check = |rules, liveness, runs_another, unchanged_for, expected| {
            let (sight, whose) = (&payload(None), Others);
            let facts = Facts { sight, whose, liveness, runs_another, unchanged_for };
            assert_eq!(judge(facts, rules), expected);
        };
        check(instance(), Unknown, true, NOW, Stale(Staleness::Stranger));
        check(instance(), Unknown, false, A_DAY, Held);
        check(instance(), Alive, true, A_DAY, Held);
        check(store(), Unknown, true, LEASE - ALMOST, Held);
        check(store(), Unknown, true, LEASE, Stale(Staleness::Stranger));
        check(store(), Unknown, false, A_DAY, Held);
        check(store(), Alive, true, A_DAY, Held);
    }

    #[test]
    fn a_live_owner_is_respected_until_it_breaks_its_promise() {
        for liveness in [Alive, Unknown] {
            check(store(), &leased(), Others, liveness, NOW, Held);
            check(store(), &leased(), Others, liveness, LEASE - ALMOST, Held);
            check(store(), &leased(), Others, liveness, LEASE, Stale(Staleness::Silent));
        }
    }

    #[test]
    fn a_longer_promise_counts_and_a_shorter_one_does_not() {
        check(store(), &payload(Some(60_000)), Others, Alive, LEASE, Held);
        check(store(), &payload(Some(60_000)), Others, Alive, 2 * LEASE, Stale(Staleness::Silent));
        check(store(), &payload(Some(1)), Others, Alive, LEASE - ALMOST, Held);
    }

    #[test]
    fn who_promised_nothing_is_respected_for_as_long_as_it_lives() {
        check(store(), &payload(None), Others, Alive, A_DAY, Held);
        check(Rules::instance(InstanceLock::Verified), &leased(), Others, Alive, A_DAY, Held);
        check(Rules::store(StoreLock::RespectsTheSilent), &leased(), Others, Alive, A_DAY, Held);
    }

    #[test]
    fn the_planted_instance_lock_is_never_stale() {
        let rules = Rules::instance(InstanceLock::NeverStale);
        check(rules, &leased(), Others, Dead, A_DAY, Held);
        check(rules, &Sight::Blank, Others, Unknown, A_DAY, Held);
        check(
            Rules::instance(InstanceLock::Verified),
            &leased(),
            Others,
            Dead,
            NOW,
            Stale(Staleness::OwnerDead),
        );
    }
}
