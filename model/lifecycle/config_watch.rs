//! Watches the configuration file by looking at it, and asks for a restart when an edit needs one.
//!
//! When to look, when a write is over and what an edit asks for is decided in [`restart`](super::restart); this is the
//! looking. No part of this gateway begins anew by itself, so what OpenClaw reloads hot waits for the next start.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::restart::{ConfigWatch, Effect, Look, Mode, News, Request, Sighting, Source};
use crate::config::{Config, ReloadMode};
use crate::env::Task;
use crate::gateway::Gateway;

/// How often the file is looked at while nothing changes.
const POLL: Duration = Duration::from_millis(500);

/// Watches from now on, if that is wanted.
pub(crate) fn start(gateway: &Rc<Gateway>) -> Option<Task<()>> {
    let (path, in_force) = gateway.config.source.clone()?;
    match gateway.config.gateway.reload.mode {
        ReloadMode::Off => None,
        ReloadMode::Restart => {
            Some(gateway.env.spawn("configuration watch", watch(gateway.clone(), path, in_force)))
        }
    }
}

async fn watch(gateway: Rc<Gateway>, path: PathBuf, in_force: Value) {
    let mut watch = ConfigWatch::new(gateway.policies.restart(), in_force);
    // Somebody may have written since it was read: the first look finds out.
    let mut seen = None;
    loop {
        let now = gateway.restarts.now();
        sleep(watch.next_wake().map_or(POLL, |wake| wake.since(now).min(POLL))).await;
        let now = gateway.restarts.now();
        let sighting = sight(&gateway, &path);
        if watch.next_wake().is_none_or(|wake| wake > now) {
            if sighting != seen {
                watch.touched(now);
            }
        } else {
            match watch.seen(now, sighting) {
                Look::Again => {}
                Look::Read => follow(&gateway, watch.read(read(&gateway, &path))),
                Look::Missing => {
                    tracing::warn!(name: "config.missing", file = %path.display(), "what is in force stays");
                }
            }
        }
        seen = sighting;
    }
}

fn sight(gateway: &Gateway, path: &Path) -> Option<Sighting> {
    let stat = gateway.env.fs().stat(path).ok()?;
    Some(Sighting { size: stat.size, modified_ms: stat.modified.epoch_ms() })
}

/// What is in the file, if a start would accept it.
fn read(gateway: &Gateway, path: &Path) -> Option<Value> {
    Config::load(gateway.env.fs(), path)
        .inspect_err(|error| {
            tracing::warn!(name: "config.invalid", %error, "the edit is not followed, what is in force stays");
        })
        .ok()
        .and_then(|config| config.source)
        .map(|(_, content)| content)
}

fn follow(gateway: &Gateway, news: News) {
    if news.withdraw {
        tracing::info!(name: "config.reverted", "a restart is not wanted for it any more");
        gateway.restarts.edit_reverted();
    }
    let plan = news.plan;
    if plan.is_empty() {
        return;
    }
    let paths = [&plan.restart[..], &plan.hot, &plan.none].concat().join(", ");
    let effect = match plan.effect() {
        Effect::None => "none",
        Effect::Hot => "with the next start",
        Effect::Restart => "restart",
    };
    tracing::info!(name: "config.changed", paths, effect, "the configuration was edited");
    if plan.effect() == Effect::Restart {
        let key = plan.restart.join(" ");
        let source = Source::ConfigWatcher { paths: plan.restart };
        let request = Request::new(source, Mode::Plain).because("the configuration was edited").keyed(key);
        // A refusal is logged where it is decided, and the next edit asks again.
        let _ = gateway.restarts.request(request);
    }
}
