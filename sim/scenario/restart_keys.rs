//! The verbs that ask for restarts and edit the configuration, with their keys: a part of `keys`.

use super::Choice;
use super::keys::Need::{Default, Optional};
use super::keys::{Key, MOST_TOOLS, Shape, VerbKeys, key, verb};
use super::restarts::Urgency;

const HALF_FIRST: Key = key(
    "half-first",
    Shape::Range,
    Optional,
    "So long only the first half of the new contents stands there, as while an editor writes",
);

pub(super) const ASK_FOR_RESTART: VerbKeys = verb(
    "ask-for-restart",
    &[
        key("mode", Shape::Choice(Urgency::meanings), Default("plain"), "How urgently"),
        key(
            "wait",
            Shape::Duration,
            Optional,
            "With `mode = \"wait\"`: how long it waits for work in hand; `\"0s\"` is without limit",
        ),
        key("count", Shape::Whole(1, MOST_TOOLS), Default("1"), "How many command lines, one process each"),
        key("every", Shape::Duration, Default("0ms"), "From one start to the next"),
        key(
            "session-of",
            Shape::Sender,
            Optional,
            "The sender from whose conversation it is asked, as a tool of the model does it: not by the command line then, \
             and with a note that is to be told there when the restart is done",
        ),
    ],
    "Somebody runs the gateway's command line on its machine, `gateway restart --json`, under the same policies. What \
     it answers is `restart.answered`. One that has not ended when the run does makes it inconclusive",
);

pub(super) const WRITE_CONFIG: VerbKeys = verb(
    "write-config",
    &[
        key("text", Shape::Text, Optional, "The new contents"),
        key(
            "set",
            Shape::Settings,
            Optional,
            "Instead of `text`: settings that change, by their dotted paths; the others stay as they are",
        ),
        HALF_FIRST,
    ],
    "Somebody edits the gateway's configuration file",
);

pub(super) const REVERT_CONFIG: VerbKeys = verb(
    "revert-config",
    &[HALF_FIRST],
    "The gateway's configuration file is again what it was when the world began",
);
