//! The verbs that trouble disk, locks and clock, with their keys: a part of `keys`.

use gateway::env::FsOp;

use super::Choice;
use super::Machine;
use super::keys::Need::{Default, Optional, Required};
use super::keys::{Key, Need, Shape, VerbKeys, key, verb};
use super::trouble::{CrashDeath, CrashMoment, Direction, LockOwner, Target};
use crate::actors::provider::Outage as ProviderOutage;
use crate::world::disk::Errno;

/// The most calls or bytes that a key can count.
const MANY: u64 = 1_000_000;

/// The lock that stands in everybody's way: the session store's.
const STORE_LOCK: &str = "agents/main/sessions/sessions.json.lock";

pub(super) const PROCESS: Key = key(
    "process",
    Shape::Choice(Target::meanings),
    Default("gateway"),
    "Which process of the gateway's machine",
);

const OPERATION: Key = key(
    "operation",
    Shape::Choice(FsOp::meanings),
    Optional,
    "Only this operation counts; without it, every one",
);

const FROM_CALL: Key = key(
    "from-call",
    Shape::WholeRange(1, MANY),
    Default("1"),
    "The first matching call that counts, from 1 on",
);

const fn files(need: Need) -> Key {
    key("file", Shape::Text, need, "Only files that match this [pattern](#files-and-patterns) count")
}

const LOCK_FILE: Key =
    key("file", Shape::Text, Default(STORE_LOCK), "The lock file, inside the state folder");

const TRANSCRIPT_OF: Key = key(
    "transcript-of",
    Shape::Sender,
    Optional,
    "Instead of `file`: the lock of this sender's transcript, whose name the session store knows",
);

pub(super) const DISK_FAULT: VerbKeys = verb(
    "disk-fault",
    &[
        key("error", Shape::Choice(Errno::meanings), Required, "What the calls fail with"),
        OPERATION,
        files(Default("*")),
        FROM_CALL,
        key("calls", Shape::Whole(1, MANY), Optional, "So many calls fail; without it, all until the end"),
        key(
            "torn",
            Shape::Whole(0, MANY),
            Optional,
            "So many bytes still reach the file; only with `operation = \"append\"` or `\"write\"`",
        ),
        key("for", Shape::Range, Optional, "How long; without it, until the `calls` have failed"),
    ],
    "The disk of the gateway's machine fails, for every process on it. When it never hit anything, the run is \
     inconclusive",
);

pub(super) const CRASH_AT: VerbKeys = verb(
    "crash-at",
    &[
        OPERATION,
        files(Default("*")),
        FROM_CALL,
        key("moment", Shape::Choice(CrashMoment::meanings), Default("before"), "How far the operation comes"),
        key(
            "torn",
            Shape::Whole(0, MANY),
            Optional,
            "Instead of `moment`: so many bytes still reach the file; only with `operation = \"append\"` or \
             `\"write\"`",
        ),
        key("death", Shape::Choice(CrashDeath::meanings), Default("kill"), "What it dies of"),
        key("off-for", Shape::Range, Default("5s"), "After a power loss: how long until the power is back"),
    ],
    "A gateway process dies inside a disk operation, where `kill` comes only after all it does at one go. From \
     the step's moment on, the first call that fits is the point; when none comes, the run is inconclusive",
);

pub(super) const CLOCK_JUMP: VerbKeys = verb(
    "clock-jump",
    &[
        key("by", Shape::Range, Required, "How far"),
        key("direction", Shape::Choice(Direction::meanings), Required, "Where to"),
    ],
    "The wall clock of the gateway's machine jumps, and stays there; time itself goes on as before",
);

pub(super) const SQUAT_LOCK: VerbKeys = verb(
    "squat-lock",
    &[
        LOCK_FILE,
        TRANSCRIPT_OF,
        key("for", Shape::Range, Required, "How long the squatter keeps it"),
        key("patience", Shape::Range, Default("1m"), "How long it tries to get it, every 50 ms"),
    ],
    "A foreign process of the gateway's machine takes a lock file, in the way of OpenClaw 2026.3.2 (exclusive \
     creation, then pid, time and start time; no lease), keeps it and gives it back. The end of the storm makes \
     it give back at once",
);

pub(super) const SQUAT_PORT: VerbKeys = verb(
    "squat-port",
    &[
        key("for", Shape::Range, Required, "How long the squatter keeps it"),
        key("patience", Shape::Range, Default("1m"), "How long it tries to get it, every 50 ms"),
    ],
    "A foreign process of the gateway's machine listens on the gateway's port, takes every connection and never says a \
     word. It tries until the port is free, so let it come before the gateway's start, or when that is down. The end of \
     the storm makes it give back at once",
);

pub(super) const SUSPEND: VerbKeys = verb(
    "suspend",
    &[key("for", Shape::Range, Required, "How long it sleeps")],
    "The gateway's machine sleeps, as a laptop does whose lid is closed: none of its processes runs, and no packet reaches \
     it or leaves it. When it wakes up, whatever is overdue happens at once, and its clock is right. Its supervisor \
     counts on meanwhile; what it starts then waits",
);

pub(super) const NAME_UNKNOWN: VerbKeys = verb(
    "name-unknown",
    &[
        key("machine", Shape::Choice(Machine::meanings), Required, "Whose name"),
        key("for", Shape::Range, Required, "How long"),
    ],
    "The name of a machine cannot be looked up for a while: no name server answers. Connections that are there stay",
);

pub(super) const PROVIDER_DOWN: VerbKeys = verb(
    "provider-down",
    &[
        key(
            "how",
            Shape::Choice(ProviderOutage::meanings),
            Default("refuses"),
            "In which way it is not there",
        ),
        key("for", Shape::Range, Required, "How long"),
    ],
    "The model provider is not there for a while",
);

pub(super) const PROVIDER_SLOW: VerbKeys = verb(
    "provider-slow",
    &[
        key("by", Shape::Duration, Required, "How much longer each first token takes"),
        key("for", Shape::Range, Required, "How long it is slow"),
    ],
    "The model provider takes longer to begin its answers: to requests that come meanwhile",
);

pub(super) const LEAVE_LOCK: VerbKeys = verb(
    "leave-lock",
    &[
        LOCK_FILE,
        TRANSCRIPT_OF,
        key("owner", Shape::Choice(LockOwner::meanings), Required, "Whom it names"),
        key(
            "age",
            Shape::Range,
            Default("0s"),
            "How long ago it was made, by its own words and by the file's time",
        ),
    ],
    "A lock file is there that nobody holds, durable, as an accident in the past may have left it. Where there \
     is one already, it cannot be done",
);
