//! Who talks to a gateway, and what it does by itself: senders and their messages, rude peers, onlookers, jobs, programs.

use toml::{Table, Value};

use super::cast::{Cast, one_of, section, table_of};
use super::dice::{Dice, Die};
use super::faults::doing;
use super::setup::Pace;
use super::themes::{Theme, Themes};
use crate::search::Draft;

const NAMES: [&str; 5] = ["ann", "bob", "cleo", "dan", "eve"];
/// Who is there and says nothing, until some trouble has it speak for the first time.
pub(super) const NEWCOMER: &str = "fay";
const TEXTS: [&str; 4] = ["hello", "and another thing", "is anybody there?", "once more"];

/// Draws all of them into `draft`.
pub(super) fn draw(dice: &Dice, themes: &Themes, pace: Pace, draft: &mut Draft, words: &mut Vec<String>) {
    senders(&dice.of("senders"), themes, draft, words);
    peers(&dice.of("peers"), themes, pace, draft, words);
    onlookers(&dice.of("onlookers"), draft, words);
    jobs(&dice.of("jobs"), themes, draft, words);
    let runs_programs = programs(&dice.of("programs"), themes, draft, words);
    hooks(&dice.of("hooks"), themes, draft, words);
    load(&dice.of("load"), themes, pace, runs_programs, draft, words);
}

fn senders(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) {
    // A swarm: this world may know one channel only, or one kind of sender.
    let percent = if themes.has(Theme::Platforms) { 75 } else { 25 };
    let mut channels: Vec<_> = ["telegram", "feishu"].into_iter().filter(|_| die.chance(percent)).collect();
    if channels.is_empty() || die.chance(60) {
        channels.push("webchat");
    }
    let kinds = ["retrying", "never-reads", "never-closes", "leaves"];
    let kinds: Vec<_> = kinds.into_iter().filter(|_| die.chance(25)).collect();
    let count = die.between(1, if themes.has(Theme::Queues) { 5 } else { 4 }) as usize;
    let mut on_webchat: Vec<&str> = Vec::new();
    for name in NAMES.into_iter().take(count) {
        let mut sender = Table::new();
        let channel = *die.pick(&channels);
        let mut said = channel.to_string();
        if channel == "webchat" {
            if !kinds.is_empty() && die.chance(60) {
                said = (*die.pick(&kinds)).to_string();
                sender.insert("kind".into(), Value::from(said.as_str()));
            }
            if !on_webchat.is_empty() && themes.chance(die, Theme::Queues, 40, 8) {
                let host = *die.pick(&on_webchat);
                sender.insert("joins".into(), Value::from(host));
                said = format!("{said}, with {host}");
            } else {
                on_webchat.push(name);
            }
        } else {
            sender.insert("channel".into(), Value::from(channel));
            if die.chance(20) {
                sender.insert("account".into(), Value::from("second"));
            }
        }
        words.push(format!("{name} ({said})"));
        section(draft, "senders").insert(name.into(), Value::Table(sender));
    }
    if themes.has(Theme::Store) {
        section(draft, "senders").insert(NEWCOMER.into(), Value::Table(Table::new()));
    }
}

const RUDE: [&str; 13] = [
    "never-answers-close",
    "bare",
    "half-upgrade",
    "drips-request",
    "keep-alive",
    "keep-alive-half",
    "speaks-tls",
    "never-connects",
    "never-reads",
    "drips-frame",
    "half-closes",
    "pipelines",
    "resets",
];

fn peers(die: &Die, themes: &Themes, pace: Pace, draft: &mut Draft, words: &mut Vec<String>) {
    let host = Cast::of(draft).on_webchat.first().cloned();
    let groups = if themes.has(Theme::Peers) { die.between(1, 3) } else { u64::from(die.chance(10)) };
    for name in ["rude", "odd", "lost"].into_iter().take(groups as usize) {
        // Who does not read matters where there is much to read.
        let kind = match pace {
            Pace::Wordy if name == "rude" => "never-reads",
            _ => *die.pick(&RUDE),
        };
        let count = die.between(1, 8) as i64;
        let mut setup = table_of(&[("kind", kind.into()), ("count", count.into())]);
        if die.chance(40) {
            setup.insert("returns".into(), Value::from(die.time(100, 10_000)));
        }
        if kind == "never-reads"
            && let Some(host) = &host
        {
            setup.insert("joins".into(), Value::from(host.as_str()));
        }
        section(draft, "peers").insert(name.into(), Value::Table(setup));
        words.push(format!("{count} {kind}"));
    }
}

fn onlookers(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    if die.chance(30) {
        section(draft, "probe").insert("every".into(), Value::from("1s"));
        words.push("a prober".into());
    }
    if die.chance(15) {
        section(draft, "intruder").insert("every".into(), Value::from("3s"));
        words.push("an intruder".into());
    }
}

fn jobs(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) {
    let hosts = Cast::of(draft).hosts;
    let count = if themes.has(Theme::Jobs) { die.between(1, 8) } else { u64::from(die.chance(10)) };
    let names = ["report", "digest", "backup", "sweep", "index", "review", "poll", "tidy"];
    for name in names.into_iter().take(count as usize) {
        let mut job = table_of(&[("every", (*die.pick(&["1m", "1m", "2m", "5m"])).into())]);
        if die.chance(30) {
            job.insert("on-interruption".into(), Value::from("skip"));
        }
        // A heartbeat, say: it writes into somebody's conversation.
        if let Some(host) = one_of(&hosts, die)
            && die.chance(40)
        {
            job.insert("session-of".into(), Value::from(host));
        }
        section(draft, "cron").insert(name.into(), Value::Table(job));
    }
    if count > 0 {
        words.push(format!("{count} jobs"));
    }
}

/// A program that the model may run. `true`: there is one.
fn programs(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) -> bool {
    if !themes.chance(die, Theme::Programs, 65, 3) {
        return false;
    }
    let takes = table_of(&[("takes", die.instant(2_000, 60_000).into())]);
    section(draft, "programs").insert("build".into(), Value::Table(takes));
    setting(draft, "tools.exec.enabled", true.into());
    words.push("a program to run".into());
    true
}

fn setting(draft: &mut Draft, name: &str, value: Value) {
    let gateway = section(draft, "gateway");
    let settings = gateway.entry("settings").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(settings) = settings {
        settings.insert(name.into(), value);
    }
}

fn hooks(die: &Die, themes: &Themes, draft: &mut Draft, words: &mut Vec<String>) {
    for (hook, program) in [("preStop", "collect"), ("postStart", "notify")] {
        if !themes.chance(die, Theme::Programs, 70, 6) {
            continue;
        }
        let mut setup = Table::new();
        match die.between(0, 9) {
            0..=4 => drop(setup.insert("takes".into(), die.time(10, 5_000).into())),
            5..=7 => drop(setup.insert("end".into(), "hangs".into())),
            8 => drop(setup.insert("status".into(), 3.into())),
            _ => drop(setup.insert("output".into(), 1_000_000.into())),
        }
        section(draft, "programs").insert(program.into(), Value::Table(setup));
        let limited = table_of(&[
            ("command", program.into()),
            ("timeoutMs", Value::from(die.between(500, 5_000) as i64)),
        ]);
        setting(draft, &format!("gateway.hooks.{hook}"), Value::Table(limited));
        words.push(format!("a {hook} hook"));
    }
}

fn load(
    die: &Die,
    themes: &Themes,
    pace: Pace,
    runs_programs: bool,
    draft: &mut Draft,
    words: &mut Vec<String>,
) {
    let cast = Cast::of(draft);
    let mut steps = Vec::new();
    let mut messages = 0;
    let spawning = themes.chance(die, Theme::Subagents, 100, 5);
    let many = if themes.has(Theme::Queues) || themes.has(Theme::Platforms) { 6 } else { 3 };
    for name in cast.senders.iter().filter(|name| *name != NEWCOMER) {
        let last = if pace == Pace::Long { 300_000 } else { 120_000 };
        let begins = if die.chance(70) { die.between(500, 12_000) } else { die.between(12_000, last) };
        let mut instants = vec![begins];
        // Whoever comes back later finds out what has become of a gateway.
        match pace {
            Pace::Quick if die.chance(70) => instants.push(die.between(20_000, 240_000)),
            Pace::Long if die.chance(50) => instants.push(die.between(60_000, 400_000)),
            _ => {}
        }
        for at in instants {
            // Somebody has much to say, and says it at once.
            let bursts = themes.has(Theme::Queues) && !runs_programs && die.chance(20);
            let count = match pace {
                Pace::Quick if bursts => die.between(21, 30) as i64,
                Pace::Quick => die.between(1, die.between(1, many)) as i64,
                Pace::Long | Pace::Wordy => 1,
            };
            messages += count;
            let mut text = (*die.pick(&TEXTS)).to_string();
            if runs_programs && die.chance(70) {
                text.push_str(" [exec build]");
            }
            let mut step = Table::new();
            step.insert("at".into(), Value::from(die.instant(at, at)));
            step.extend(doing("send", &[("from", name.as_str().into()), ("text", text.into())]));
            if count > 1 {
                step.insert("count".into(), Value::from(count));
                let most = if count > 20 { 200 } else { 10_000 };
                step.insert("every".into(), Value::from(die.time(0, most)));
            }
            if spawning && count <= 6 && die.chance(60) {
                step.insert("spawns".into(), Value::from(die.between(1, 2) as i64));
                step.insert("child-takes".into(), Value::from(die.instant(1_000, 120_000)));
            }
            steps.push(Value::Table(step));
        }
    }
    words.push(format!("{messages} messages"));
    draft.table_mut().insert("steps".into(), Value::Array(steps));
    // What is left has to be done before it counts as forgotten.
    if pace == Pace::Long {
        draft.table_mut().insert("settle".into(), Value::from("60m"));
    }
}
