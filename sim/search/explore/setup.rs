//! What holds a gateway up, and what it works with: supervisor, settings, provider, network, disk, platforms.

use toml::{Table, Value};

use super::cast::{section, table_of};
use super::dice::{Dice, Die};
use super::themes::{Theme, Themes};
use super::weights::Weights;
use crate::search::Draft;

/// How long the model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Seconds at most: there may be many messages.
    Quick,
    /// Minutes, or for ever: whatever waits for one turn waits long.
    Long,
    /// Every answer is long, in bytes.
    Wordy,
}

/// Draws all of it into `draft`, and says how long the model takes.
pub(super) fn draw(
    dice: &Dice,
    themes: &Themes,
    weights: &Weights,
    draft: &mut Draft,
    words: &mut Vec<String>,
) -> Pace {
    supervisor(&dice.of("supervisor"), themes, weights, draft, words);
    gateway(&dice.of("gateway"), themes, draft, words);
    platforms(&dice.of("platforms"), themes, draft);
    latencies(&dice.of("latencies"), themes, draft, words);
    provider(&dice.of("provider"), themes, draft, words)
}

fn supervisor(die: &Die, themes: &Themes, weights: &Weights, draft: &mut Draft, words: &mut Vec<String>) {
    let kinds = ["systemd", "launchd", "container", "unsupported", "task-scheduler", "none"];
    // Only a unit of systemd shares a signal with its programs, and only a job of launchd is gone once it was booted out.
    let share = |kind: &str| match kind {
        "systemd" if themes.has(Theme::Programs) => 3,
        "launchd" if themes.has(Theme::Supervision) => 3,
        _ => 1,
    };
    let kinds = kinds.map(|kind| (kind, share(kind) * weights.of_supervisor(kind)));
    let kind = die.weighted(&kinds).unwrap_or("systemd");
    let mut setup = table_of(&[("kind", kind.into())]);
    let mut set = |key: &str, value: Value| drop(setup.insert(key.into(), value));
    let is_special = themes.has(Theme::Supervision);
    match kind {
        "systemd" => {
            set("restart", (*die.pick(&["always", "on-failure"])).into());
            set("stop-timeout", (*die.pick(&["10s", "30s", "90s"])).into());
            set("restart-delay", (*die.pick(&["200ms", "1s", "5s"])).into());
            if themes.chance(die, Theme::Programs, 70, 10) {
                set("kill-mode", "control-group".into());
            }
            if themes.chance(die, Theme::Supervision, 60, 15) {
                set("start-limit-burst", 0.into());
            }
        }
        "launchd" => {
            if is_special || die.chance(30) {
                set("throttle", "1s".into());
            }
            set("exit-timeout", (*die.pick(&["10s", "20s", "60s"])).into());
        }
        // Without, a run that failed is not tried again.
        "task-scheduler" => {
            set("restart-count", (*die.pick(&[0, 10])).into());
            if is_special || die.chance(50) {
                set("lingers", die.instant(1_000, 8_000).into());
            }
        }
        "container" => set("stop-timeout", (*die.pick(&["10s", "30s", "60s"])).into()),
        _ => {}
    }
    section(draft, "gateway").insert("supervisor".into(), Value::Table(setup));
    words.push(kind.to_string());
    let mut policies = Table::new();
    // What an operator may choose as well.
    if die.chance(if is_special || themes.has(Theme::Restarts) { 25 } else { 8 }) {
        policies.insert("restart-mode".into(), "in-process".into());
        words.push("restarts in place".into());
    } else if kind == "unsupported" && die.chance(30) {
        policies.insert("successor".into(), "ask-manager".into());
        words.push("whose manager is asked".into());
    }
    if !policies.is_empty() {
        section(draft, "gateway").insert("policies".into(), Value::Table(policies));
    }
}

fn gateway(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) {
    let mut settings = Table::new();
    if themes.chance(die, Theme::Queues, 60, 8) {
        let mode = *die.pick(&["followup", "collect", "steer"]);
        settings.insert("messages.queue.mode".into(), mode.into());
        if die.chance(70) {
            let debounce = *die.pick(&[200_i64, 1_000, 5_000]);
            settings.insert("messages.queue.debounceMs".into(), debounce.into());
        }
        words.push(format!("{mode} mode"));
    }
    if themes.chance(die, Theme::Restarts, 85, 10) {
        settings.insert("gateway.reload.mode".into(), "restart".into());
    }
    let gateway = section(draft, "gateway");
    if die.chance(40) {
        gateway.insert("drain-budget".into(), Value::from(die.time(1_000, 120_000)));
    }
    if themes.chance(die, Theme::Restarts, 65, 20) {
        let limit = if die.chance(50) { die.time(1_000, 120_000) } else { die.instant(15_000, 150_000) };
        gateway.insert("deferral-limit".into(), Value::from(limit));
    }
    if themes.has(Theme::Store) {
        gateway.insert("startup".into(), Value::from("100ms"));
    } else if themes.chance(die, Theme::Conflicts, 40, 15) {
        gateway.insert("startup".into(), Value::from(die.time(10, 5_000)));
    }
    if !settings.is_empty() {
        gateway.insert("settings".into(), Value::Table(settings));
    }
}

fn platforms(die: &Die, themes: &Themes, draft: &mut Draft) {
    if !themes.chance(die, Theme::Platforms, 70, 10) {
        return;
    }
    let mut feishu = Table::new();
    if die.chance(70) {
        feishu.insert("redeliver-after".into(), Value::from(die.time(2_000, 20_000)));
    }
    if die.chance(60) {
        feishu.insert("new-ids".into(), Value::from(*die.pick(&[50_i64, 100])));
    }
    if !feishu.is_empty() {
        section(draft, "platforms").insert("feishu".into(), Value::Table(feishu));
    }
}

fn latencies(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) {
    if die.chance(25) {
        let latency = *die.pick(&["0ms..1ms", "10ms..50ms", "50ms..400ms"]);
        section(draft, "network").insert("latency".into(), Value::from(latency));
        words.push(format!("network {latency}"));
    }
    if themes.chance(die, Theme::Store, 85, 15) {
        let sync = *die.pick(&["0ms", "5ms..20ms", "20ms..200ms", "20ms..200ms"]);
        section(draft, "disk").insert("sync".into(), Value::from(sync));
        words.push(format!("disk {sync}"));
    }
}

fn provider(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) -> Pace {
    let mut setup = Table::new();
    let mut pace = Pace::Quick;
    if themes.chance(die, Theme::Peers, 35, 2) {
        pace = Pace::Wordy;
        setup.insert("tokens".into(), Value::from(die.between(800, 1_200) as i64));
        setup.insert("token-interval".into(), Value::from(*die.pick(&["10ms", "20ms"])));
        section(draft, "gateway").insert("max-buffered".into(), Value::from(65_536));
        words.push("long answers".into());
    } else if themes.chance(die, Theme::Restarts, 50, 8) {
        pace = Pace::Long;
        match die.chance(20) {
            true => drop(setup.insert("behaviour".into(), Value::from("hangs"))),
            false => drop(setup.insert("first-token".into(), Value::from(die.instant(30_000, 400_000)))),
        }
        words.push("a provider that takes long".into());
    } else {
        if die.chance(70) {
            setup.insert("first-token".into(), Value::from(die.time(10, 20_000)));
        }
        if die.chance(40) {
            setup.insert("tokens".into(), Value::from(die.between(1, 60) as i64));
        }
        if die.chance(10) {
            setup.insert("fail-first".into(), Value::from(die.between(1, 6) as i64));
            words.push("a provider that fails at first".to_string());
        }
    }
    if !setup.is_empty() {
        draft.table_mut().insert("provider".into(), Value::Table(setup));
    }
    pace
}
