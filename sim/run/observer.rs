//! The observer of the disk: what anybody who looks into the state directory would find.
//!
//! It knows one file of the gateway's (`sessions.json`, which must parse), that lock files end in `.lock`, and that
//! a notice says it is one; otherwise only that messages carry marks: whatever format the gateway keeps them in,
//! their text is somewhere.

use std::path::Path;

use serde_json::Value;

use super::stage::{GATEWAY_MACHINE, STATE_DIR, Stage};
use crate::actors::REPLY_PREFIX;
use crate::timeline::{Fact, GATEWAY_PROGRAM, MessageId, STORE_FILE, Source, StateSeen};

const LOCK_EXTENSION: &str = "lock";
/// What stands in a line that is a notice to a sender.
const NOTICE_ROLE: &str = "\"notice\"";

/// Looks at the state directory each time a gateway process has died.
pub(super) fn watch(stage: &Stage) {
    let stage = stage.clone();
    let recorder = stage.world.recorder().clone();
    stage.world.clone().spawn(async move {
        let is_death =
            |fact: &Fact| matches!(fact, Fact::ProcessExited { program, .. } if program == GATEWAY_PROGRAM);
        // The wait ends with the world.
        while recorder.nth_event(1, move |event| is_death(&event.fact)).await.is_ok() {
            observe(&stage);
        }
    });
}

/// Looks at the state directory now.
pub(super) fn observe(stage: &Stage) {
    let files = stage.disk().read_all_under(Path::new(STATE_DIR));
    let mut seen = StateSeen::default();
    for (path, bytes) in &files {
        if path.file_name().is_some_and(|name| name == STORE_FILE) {
            let parsed = serde_json::from_slice::<serde_json::Map<String, Value>>(bytes);
            seen.store = Some(parsed.map_err(|error| error.to_string()).map(|sessions| {
                seen.sessions.extend(sessions.into_iter().map(|(key, _)| key));
            }));
        }
        if path.extension().is_some_and(|extension| extension == LOCK_EXTENSION)
            && let Ok(inside) = path.strip_prefix(STATE_DIR)
        {
            seen.locks.insert(inside.display().to_string());
        }
        let text = String::from_utf8_lossy(bytes);
        seen.mentioned.extend(MessageId::marked_in(&text));
        for reply in text.split(REPLY_PREFIX).skip(1).filter(|reply| reply.starts_with('[')) {
            seen.answered.extend(MessageId::marked_in(reply).into_iter().next());
        }
        for line in text.lines().filter(|line| line.contains(NOTICE_ROLE)) {
            seen.noticed.extend(MessageId::marked_in(line));
        }
    }
    stage.world.recorder().record(Source::Machine(GATEWAY_MACHINE.to_string()), Fact::State(seen));
}
