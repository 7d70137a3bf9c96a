//! Watches the configuration file by looking at it, and asks for a restart when an edit needs one.
//!
//! When to look, when a write is over and what an edit asks for is decided in [`restart`](super::restart); this is the
//! looking. What is configured about restarts (`gateway.reload`) is in force at once. No part of this gateway begins anew
//! without the others, so that everything else takes a restart.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::restart::{ConfigWatch, Look, Mode, News, Request, Sighting, Source};
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
                Look::Read => {
                    let config = read(&gateway, &path);
                    let reload = config.as_ref().map(|config| config.gateway.reload.clone());
                    let content = config.and_then(|config| config.source).map(|(_, content)| content);
                    if let Some(reload) = reload {
                        gateway.restarts.reconfigure(&gateway, &reload);
                        if reload.mode == ReloadMode::Off {
                            return end(&gateway);
                        }
                    }
                    follow(&gateway, watch.read(content));
                }
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
fn read(gateway: &Gateway, path: &Path) -> Option<Config> {
    let config = Config::load(gateway.env.fs(), path).inspect_err(|error| {
        tracing::warn!(name: "config.invalid", %error, "the edit is not followed, what is in force stays");
    });
    config.ok()
}

/// An edit has switched the watch off. What it asked for before is not wanted either.
fn end(gateway: &Gateway) {
    let paths = "gateway.reload.mode";
    tracing::info!(name: "config.changed", paths, effect = "none", "edits are not followed until the next start");
    gateway.restarts.edit_reverted();
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
    let needs_restart = plan.with_a_restart();
    let paths = [&needs_restart[..], &plan.none].concat().join(", ");
    let effect = if needs_restart.is_empty() { "at once" } else { "restart" };
    tracing::info!(name: "config.changed", paths, effect, "the configuration was edited");
    if !needs_restart.is_empty() {
        let key = needs_restart.join(" ");
        let source = Source::ConfigWatcher { paths: needs_restart };
        let request = Request::new(source, Mode::Plain).because("the configuration was edited").keyed(key);
        // A refusal is logged where it is decided, and the next edit asks again.
        let _ = gateway.restarts.request(request);
    }
}
