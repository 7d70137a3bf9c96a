//! The tables of `docs/scenario-language.md`, made from the lists that the reader obeys.
//!
//! The prose around them is written by hand; what stands between a `<!-- generated: NAME -->` and the next
//! `<!-- end -->` is written here, when the tests are run with `UPDATE_DOCS=1`, and compared otherwise.

use std::fmt::Write;
use std::path::Path;

use gateway::config::OnInterruption;
use gateway::policy::{self, Policies};

use super::keys::{self, Key, Need, STEP, Shape, VERBS};
use super::peers::PeerKind;
use super::peers_keys::PEERS;
use super::platforms_keys::{FEISHU, TELEGRAM};
use super::programs::{PROGRAM, ProgramEnd};
use super::setup::{Channel, Choice, ProviderBehaviour, SenderKind, policy_names};
use super::supervisor::{ContainerRestartWhen, KillWhom, RestartWhen, SupervisorKind, UnitRestart};
use super::supervisor_keys::{KIND, KINDS};
use super::{
    About, CrashDeath, CrashMoment, EVENTS, FATES, LockOwner, Machine, ProviderOutage, Target, events,
    expect, policies,
};
use crate::actors::platform::{Block, Outage};
use crate::oracle;
use crate::world::disk::Errno;

/// Compares the file at `path`, from the root of the project, with what `make` makes of it; with `UPDATE_DOCS=1`
/// it is written instead.
pub(super) fn kept_up_to_date(path: &str, make: impl FnOnce(&str) -> String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let written = std::fs::read_to_string(&file).expect("a readable file");
    let made = make(&written);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&file, made).expect("a writable file");
    } else if let Some(line) = first_difference(&written, &made) {
        panic!(
            "{path} is out of date from line {line} on; write it anew: UPDATE_DOCS=1 cargo test up_to_date"
        );
    }
}

fn first_difference(written: &str, made: &str) -> Option<usize> {
    if written == made {
        return None;
    }
    let same = written.lines().zip(made.lines()).take_while(|(written, made)| written == made).count();
    Some(same + 1)
}

#[test]
fn the_language_reference_is_up_to_date() {
    kept_up_to_date("docs/scenario-language.md", with_tables);
}

#[test]
fn a_table_replaces_what_stood_between_its_marks() {
    let made = with_tables("a\n<!-- generated: fates -->\nstale\n<!-- end -->\nb\n");
    assert!(made.starts_with("a\n<!-- generated: fates -->\n\n| Fate |"), "{made}");
    assert!(made.ends_with("\n<!-- end -->\nb\n") && !made.contains("stale"), "{made}");
}

/// `written` with every table made anew.
fn with_tables(written: &str) -> String {
    const END: &str = "<!-- end -->";
    let mut made = String::new();
    let mut rest = written;
    while let Some((before, from)) = rest.split_once("<!-- generated: ") {
        let (name, after) = from.split_once(" -->").expect("the mark of a table ends with `-->`");
        let (_, after) = after.split_once(END).expect("a table ends with `<!-- end -->`");
        let _ = write!(made, "{before}<!-- generated: {name} -->\n\n{}\n{END}", table(name));
        rest = after;
    }
    made + rest
}

fn table(name: &str) -> String {
    match name {
        "file" => of_keys(keys::FILE),
        "gateway" => of_keys(keys::GATEWAY),
        "provider" => of_keys(keys::PROVIDER),
        "sender" => of_keys(keys::SENDER),
        "telegram" => of_keys(TELEGRAM),
        "feishu" => of_keys(FEISHU),
        "outages" => of_words("how", &Outage::meanings()),
        "blocks" => of_words("how", &Block::meanings()),
        "peers" => of_keys(PEERS),
        "peer-kinds" => of_words("kind", &PeerKind::meanings()),
        "programs" => of_keys(PROGRAM),
        "program-ends" => of_words("end", &ProgramEnd::meanings()),
        "network" => of_keys(keys::NETWORK),
        "cron" => of_keys(keys::CRON),
        "interruptions" => of_words("on-interruption", &OnInterruption::meanings()),
        "disk" => of_keys(keys::DISK),
        "probe" => of_keys(keys::PROBE),
        "intruder" => of_keys(keys::INTRUDER),
        "expect" => of_keys(keys::EXPECT),
        "cells" => of_keys(keys::CELLS),
        "step" => of_keys(STEP),
        "verbs" => of_verbs(),
        "supervisors" => of_supervisors(),
        "supervisor-kinds" => of_words("kind", &SupervisorKind::meanings()),
        "container-restarts" => of_words("restart", &ContainerRestartWhen::meanings()),
        "kill-modes" => of_words("kill-mode", &KillWhom::meanings()),
        "restarts" => of_words("restart", &RestartWhen::meanings()),
        "unit-restarts" => of_words("restart", &UnitRestart::meanings()),
        "provider-outages" => of_words("how", &ProviderOutage::meanings()),
        "behaviours" => of_words("behaviour", &ProviderBehaviour::meanings()),
        "channels" => of_words("channel", &Channel::meanings()),
        "sender-kinds" => of_words("kind", &SenderKind::meanings()),
        "signals" => of_words("signal", &gateway::env::Signal::meanings()),
        "processes" => of_words("process", &Target::meanings()),
        "errors" => of_words("error", &Errno::meanings()),
        "operations" => of_words("operation", &gateway::env::FsOp::meanings()),
        "crash-moments" => of_words("moment", &CrashMoment::meanings()),
        "crash-deaths" => of_words("death", &CrashDeath::meanings()),
        "lock-owners" => of_words("owner", &LockOwner::meanings()),
        "machines" => of_words("Machine", &Machine::meanings()),
        "seen-events" => of_events(false),
        "said-events" => of_events(true),
        "fates" => of_fates(),
        "invariants" => of_invariants(),
        "profiles" => of_profiles(policy::profile_names()),
        "planted" => of_profiles(policy::planted_names()),
        "policies" => of_policies(),
        _ => panic!("there is no table called {name}"),
    }
}

fn rows<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

fn of_keys(keys: &[Key]) -> String {
    let row = |key: &Key| [code(key.name), value(&key.shape), default(key), key.doc.into()];
    rows(["Key", "Value", "Default", "Meaning"], keys.iter().map(row))
}

fn default(key: &Key) -> String {
    match key.need {
        Need::Required => "required".into(),
        Need::Optional => "none".into(),
        Need::Default(_) => code(key.sample()),
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::Text => "text".into(),
        Shape::Whole(min, max) => format!("whole number, {min} to {max}"),
        Shape::WholeRange(min, max) => {
            format!("whole number, {min} to {max}, or a range such as `\"1..20\"`")
        }
        Shape::Duration => "duration".into(),
        Shape::Period => "duration, not zero".into(),
        Shape::Range => "duration or range".into(),
        Shape::Choice(words) if words().len() > 6 => "a word, see below".into(),
        Shape::Choice(words) => {
            words().iter().map(|(word, _)| code(format!("\"{word}\""))).collect::<Vec<_>>().join(", ")
        }
        Shape::Statuses => "list of exit statuses".into(),
        Shape::TwoMachines => "list of two machines".into(),
        Shape::Event => "an event's name".into(),
        Shape::Sender => "a sender's name".into(),
        Shape::Peers => "the name of a group of peers".into(),
        Shape::Table(_) => "table".into(),
        Shape::Named(_) => "tables by name".into(),
        Shape::Supervisor => "table".into(),
        Shape::Steps => "list of tables".into(),
        Shape::Policies => "table: policy = choice".into(),
        Shape::Settings => "table: setting = value".into(),
        Shape::Outcomes => "table: profile = outcome".into(),
        Shape::Fates => "table: message = fate, or a list of fates".into(),
        Shape::Axes => "lists, or tables, by name".into(),
        Shape::Places => "table: axis = value, or a list of values".into(),
        Shape::Cells => "list of tables".into(),
    }
}

fn of_supervisors() -> String {
    let mut text = of_keys(&[KIND]);
    for of in KINDS.iter().filter(|of| !of.keys.is_empty()) {
        let _ = write!(text, "\n#### `kind = \"{}\"`\n\n{}", of.kind.word(), of_keys(of.keys));
    }
    text
}

fn of_verbs() -> String {
    let mut text = String::new();
    for verb in VERBS {
        let _ = write!(text, "#### `{}`\n\n{}.\n\n", verb.word, verb.doc);
        if !verb.keys.is_empty() {
            let _ = writeln!(text, "{}", of_keys(verb.keys));
        }
    }
    text.trim_end().to_string() + "\n"
}

fn of_words(key: &str, words: &[(&str, &str)]) -> String {
    let head = if key.starts_with(char::is_uppercase) { key.to_string() } else { code(key) };
    rows([&head, "Meaning"], words.iter().map(|(word, meaning)| [code(word), (*meaning).to_string()]))
}

/// What the gateway says of itself, or what is seen from outside.
fn of_events(said: bool) -> String {
    let chosen = EVENTS.iter().filter(|(_, _, meaning)| meaning.starts_with(events::SAID) == said);
    let row = |(name, about, meaning): &(&str, About, &str)| {
        let of = match about {
            About::Sender => "yes",
            About::Peers => "a group",
            About::Nobody => "",
        };
        [code(name), of.to_string(), meaning.strip_prefix(events::SAID).unwrap_or(meaning).to_string()]
    };
    rows(["Event", "`of`", "It happens when"], chosen.map(row))
}

fn of_fates() -> String {
    let fates = FATES.iter().zip(expect::FATE_MEANINGS);
    rows(["Fate", "Meaning"], fates.map(|(fate, meaning)| [code(fate), meaning.to_string()]))
}

fn of_invariants() -> String {
    let row = |oracle: Box<dyn oracle::Oracle>| [code(oracle.invariant()), oracle.sentence().to_string()];
    rows(["Invariant", "What must hold"], oracle::all().into_iter().map(row))
}

/// Profiles with the choices in which they differ from `hardened`.
fn of_profiles(names: impl Iterator<Item = &'static str>) -> String {
    let row = |name: &'static str| {
        let policies = policy::profile(name).expect("a profile");
        let differences: Vec<_> = super::setup::differences(&policies)
            .into_iter()
            .map(|(policy, choice)| code(format!("{policy} = \"{choice}\"")))
            .collect();
        let differences = if differences.is_empty() { "nothing".into() } else { differences.join(", ") };
        [code(name), differences]
    };
    rows(["Profile", "Differs from `hardened` in"], names.map(row))
}

fn of_policies() -> String {
    let policies = policies::all();
    assert_eq!(policies.len(), policy_names().len());
    let row = |policy: &policies::Policy| {
        let choice = |choice: &policies::PolicyChoice| {
            let default = if choice.is_default { " (hardened)" } else { "" };
            format!("`{}`{default}: {}", choice.word, choice.meaning)
        };
        let choices: Vec<_> = policy.choices.iter().map(choice).collect();
        [code(&policy.name), policy.meaning.clone(), choices.join("<br>")]
    };
    rows(["Policy", "Decides", "Choices"], policies.iter().map(row))
}

#[test]
fn differences_from_hardened_name_policies_and_choices() {
    assert_eq!(super::setup::differences(&Policies::default()), []);
    let skipped = policy::profile("planted:recovery-skipped").expect("a profile");
    assert_eq!(super::setup::differences(&skipped), [("recovery".to_string(), "skip".to_string())]);
}
