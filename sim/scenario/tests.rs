//! Scenario files, good and bad. Every bad one gives one error; the snapshot shows them as people see them.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use gateway::env::Signal;
use gateway::policy::{HARDENED, Readiness};
use miette::{GraphicalReportHandler, GraphicalTheme};

use super::keys::{self, Key, Shape, VERBS};
use super::supervisor_keys::KINDS;
use super::*;
use crate::timeline::Platform;
use crate::verdict::Expected;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("case.toml"), text)
}

#[track_caller]
fn good(text: &str) -> Scenario {
    parse(text).unwrap_or_else(|error| panic!("{}\n{text}", render(&error)))
}

/// An error as people see it, without colours.
pub(super) fn render(error: &ScenarioError) -> String {
    let mut out = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_wrap_lines(false)
        .render_report(&mut out, error)
        .expect("writing into a string");
    out
}

/// A step of ann's, after whatever `step` says, in a file that is fine otherwise.
fn step(step: &str) -> String {
    format!("name = \"x\"\n[senders.ann]\n[[steps]]\n{step}\n")
}

/// A file that is fine but for `table`.
fn table(table: &str) -> String {
    format!("name = \"x\"\n{table}\n")
}

const BAD_FILES: &[(&str, &str)] = &[
    ("empty file", ""),
    ("only a comment", "# later\n"),
    ("not TOML", "name = \"x\n"),
    ("a key twice", "name = \"x\"\nname = \"y\"\n"),
    ("no name", "about = \"why\"\n"),
    ("empty name", "name = \" \"\n"),
    ("name of the wrong type", "name = 5\n"),
    ("unknown key", "name = \"x\"\nstepps = []\n"),
    ("misspelt name", "naem = \"x\"\n"),
    ("table for a list", "name = \"x\"\n[steps]\nat = \"1s\"\n"),
    ("value for a table", "name = \"x\"\ngateway = 5\n"),
];

const BAD_TABLES: &[(&str, &str)] = &[
    ("key of another spelling", "storm_limit = \"5m\""),
    ("port out of bounds", "[gateway]\nport = 70000"),
    ("duration without quotes", "[gateway]\ndrain-budget = 300"),
    ("duration without unit", "[gateway]\ndrain-budget = \"300\""),
    ("unknown unit", "settle = \"5 parsecs\""),
    ("too fine", "settle = \"10us\""),
    ("too long", "settle = \"5000 days\""),
    ("paths are not configurable", "[gateway]\nstate-dir = \"/tmp\""),
    ("unknown supervisor", "[gateway]\nsupervisor = { kind = \"runit\" }"),
    ("restart without supervisor", "[gateway]\nsupervisor = { kind = \"none\", restart = \"always\" }"),
    ("key of another supervisor", "[gateway]\nsupervisor = { kind = \"systemd\", throttle = \"1s\" }"),
    ("key of other supervisors", "[gateway]\nsupervisor = { kind = \"launchd\", stop-timeout = \"1s\" }"),
    ("key of no supervisor", "[gateway]\nsupervisor = { kind = \"container\", throtle = \"1s\" }"),
    ("throttle of no length", "[gateway]\nsupervisor = { kind = \"launchd\", throttle = \"0s\" }"),
    (
        "word of another supervisor",
        "[gateway]\nsupervisor = { kind = \"systemd\", restart = \"unless-stopped\" }",
    ),
    ("a supervisor that is a word", "[gateway]\nsupervisor = \"launchd\""),
    (
        "settings that replace a section",
        "[gateway]\nsettings = { gateway = { reload = { mode = \"hot\" } } }",
    ),
    ("exit status out of bounds", "[gateway.supervisor]\nprevent-restart-on = [78, 300]"),
    ("unknown policy", "[gateway.policies]\nstop-drian = \"skip\""),
    ("unknown value of a policy", "[gateway]\npolicies = { stop-drain = \"skipp\" }"),
    ("policy of the wrong type", "[gateway]\npolicies = { stop-drain = true }"),
    ("unknown behaviour", "[provider]\nbehaviour = \"answer\""),
    ("no tokens", "[provider]\ntokens = 0"),
    ("unknown channel", "[senders.ann]\nchannel = \"signal\""),
    ("name that cannot be marked", "[senders.\"ann#1\"]\nkind = \"patient\""),
    ("name of somebody else", "[senders.intruder]"),
    ("name of the tools", "[senders.tool]"),
    ("name that fills the line", "[senders.an-uncommonly-long-name-for-a-sender]"),
    ("restarts without end", "[gateway.supervisor]\nrestart-delay = \"0s\"\nstart-limit-burst = 0"),
    ("unknown kind of sender", "[senders.ann]\nkind = \"never-read\""),
    ("unknown kind of peer", "[peers.tabs]\nkind = \"never-answers\""),
    ("peers of no kind", "[peers.tabs]\ncount = 3"),
    ("no peers", "[peers.tabs]\nkind = \"bare\"\ncount = 0"),
    ("too many peers", "[peers.a]\nkind = \"bare\"\ncount = 600\n[peers.b]\nkind = \"bare\"\ncount = 600"),
    ("account on webchat", "[senders.ann]\naccount = \"first\""),
    ("account without a name", "[senders.ann]\nchannel = \"feishu\"\naccount = \"\""),
    ("kind on a platform", "[senders.ann]\nchannel = \"telegram\"\nkind = \"leaves\""),
    ("joining a platform", "[senders.ann]\nchannel = \"telegram\"\n[senders.bob]\njoins = \"ann\""),
    ("unknown platform", "[platforms.signal]\nlatency = \"1s\""),
    ("peers that join nobody", "[peers.tabs]\nkind = \"never-reads\"\njoins = \"bob\"\n[senders.ann]"),
    ("peers that cannot join", "[peers.tabs]\nkind = \"bare\"\njoins = \"ann\"\n[senders.ann]"),
    ("peers called like the witness", "[peers.witness]\nkind = \"bare\""),
    ("peers called like a sender", "[peers.ann]\nkind = \"bare\"\n[senders.ann]"),
    ("range backwards", "[network]\nlatency = \"5ms..1ms\""),
    ("half a range", "[network]\nlatency = \"5ms..\""),
    ("probe without interval", "[probe]"),
    ("no interval", "[probe]\nevery = \"0s\""),
    ("unknown profile", "[expect]\noutcomes = { hardend = \"pass\" }"),
    ("unknown outcome", "[expect]\noutcomes = { hardened = \"passes\" }"),
    ("fails without saying what", "[expect]\noutcomes = { hardened = \"fail\" }"),
    ("unknown invariant", "[expect]\noutcomes = { hardened = \"fail: no-duplicate, no-silent-drops\" }"),
    ("no profile", "[expect]\noutcomes = {}"),
    ("not a message", "[expect]\nfates = { ann = \"replied\" }"),
    ("message of nobody", "[expect]\nfates = { \"ann#1\" = \"replied\" }"),
];

const BAD_STEPS: &[(&str, &str)] = &[
    ("negative time", "at = \"-5s\"\ndo = \"signal\"\nsignal = \"SIGTERM\""),
    ("neither time nor event", "do = \"kill\""),
    ("both time and event", "at = \"1s\"\non = \"run.started\"\ndo = \"kill\""),
    ("anchor keys with a time", "at = \"1s\"\nafter = \"1s\"\ndo = \"kill\""),
    ("after the storm", "at = \"1s..11m\"\ndo = \"kill\""),
    ("misspelt event", "on = \"run.start\"\ndo = \"kill\""),
    ("not an event's name", "on = \"soon\"\ndo = \"kill\""),
    ("an event by another name", "on = \"gateway.started\"\ndo = \"kill\""),
    ("an event that nobody has, of a family", "on = \"cron.fired\"\ndo = \"kill\""),
    ("an event after the last step", "on = \"run.ended\"\ndo = \"kill\""),
    ("zeroth event", "on = \"run.started\"\nnth = 0\ndo = \"kill\""),
    ("event without a sender", "on = \"process.started\"\nof = \"ann\"\ndo = \"kill\""),
    ("too long after", "on = \"run.started\"\nafter = \"11m\"\ndo = \"kill\""),
    ("message with a mark", "at = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"as in [bob#1]\""),
    ("too many", "at = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hi\"\ncount = 1000000000"),
    ("event of nobody", "on = \"run.started\"\nof = \"bob\"\ndo = \"kill\""),
    ("no verb", "at = \"1s\""),
    ("verb of the wrong type", "at = \"1s\"\ndo = [\"kill\"]"),
    ("unknown verb", "at = \"1s\"\ndo = \"power-los\""),
    ("a verb by another name", "at = \"1s\"\ndo = \"restart\""),
    ("a signal as a verb", "at = \"1s\"\ndo = \"SIGTERM\""),
    ("times without an event", "at = \"1s\"\ntimes = 3\ndo = \"kill\""),
    (
        "a fault of nobody's machine",
        "at = \"1s\"\ndo = \"name-unknown\"\nmachine = \"platforms\"\nfor = \"1s\"",
    ),
    ("unknown key in a step", "at = \"1s\"\ndo = \"signal\"\nsignl = \"SIGTERM\""),
    ("key of another verb", "at = \"1s\"\ndo = \"kill\"\nsignal = \"SIGTERM\""),
    ("from as a filter", "on = \"run.started\"\nfrom = \"ann\"\ndo = \"kill\""),
    ("key missing", "at = \"1s\"\ndo = \"freeze\""),
    ("unknown signal", "at = \"1s\"\ndo = \"signal\"\nsignal = \"SIGKILL\""),
    ("unknown sender", "at = \"1s\"\ndo = \"send\"\nfrom = \"anne\"\ntext = \"hi\""),
    ("undeclared sender", "at = \"1s\"\ndo = \"abort\"\nfrom = \"zoe\""),
    ("platform without users", "at = \"1s\"\ndo = \"platform-down\"\nplatform = \"telegram\"\nfor = \"1s\""),
    ("user of no platform", "at = \"1s\"\ndo = \"platform-blocks\"\nsender = \"ann\""),
    ("no platforms", "at = \"1s\"\ndo = \"partition\"\nbetween = [\"platforms\", \"gateway\"]\nfor = \"1s\""),
    ("unknown machine", "at = \"1s\"\ndo = \"partition\"\nbetween = [\"client\", \"gateway\"]\nfor = \"1s\""),
    ("one machine", "at = \"1s\"\ndo = \"partition\"\nbetween = [\"gateway\", \"gateway\"]\nfor = \"1s\""),
    ("file outside", "at = \"1s\"\ndo = \"corrupt-state\"\nfile = \"../etc/passwd\"\ntext = \"\""),
    ("nobody to ask", "at = \"1s\"\ndo = \"service-stop\"\n[gateway]\nsupervisor = { kind = \"none\" }"),
    (
        "message that is not sent",
        "at = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hi\"\n[expect.fates]\n\"ann#2\" = \"told\"",
    ),
    (
        "unknown fate",
        "at = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hi\"\n[expect.fates]\n\"ann#1\" = [\"told\", \"reply\"]",
    ),
    ("path of no disk event", "on = \"run.started\"\npath = \"*.jsonl\"\ndo = \"kill\""),
    ("path with a time", "at = \"1s\"\npath = \"*.jsonl\"\ndo = \"kill\""),
    ("path that no file has", "on = \"disk.append\"\npath = \"../*\"\ndo = \"kill\""),
    ("file as a filter", "on = \"disk.append\"\nfile = \"*.jsonl\"\ndo = \"kill\""),
    ("unknown process", "at = \"1s\"\ndo = \"kill\"\nprocess = \"squater\""),
    ("fault without end", "at = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\""),
    ("unknown error", "at = \"1s\"\ndo = \"disk-fault\"\nerror = \"ENOSPACE\"\nfor = \"1s\""),
    (
        "unknown operation",
        "at = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\nfor = \"1s\"\noperation = \"apend\"",
    ),
    ("no calls", "at = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\noperation = \"append\"\ncalls = 0"),
    ("negative bytes", "at = \"1s\"\ndo = \"crash-at\"\noperation = \"append\"\ntorn = -1"),
    ("torn sync", "at = \"1s\"\ndo = \"crash-at\"\noperation = \"sync-file\"\ntorn = 5"),
    ("torn anything", "at = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\ncalls = 1\ntorn = 5"),
    (
        "torn and whole",
        "at = \"1s\"\ndo = \"crash-at\"\noperation = \"append\"\ntorn = 5\nmoment = \"after\"",
    ),
    ("power that stays", "at = \"1s\"\ndo = \"crash-at\"\noff-for = \"5s\""),
    ("calls backwards", "at = \"1s\"\ndo = \"crash-at\"\nfrom-call = \"20..1\""),
    ("calls from nothing", "at = \"1s\"\ndo = \"crash-at\"\nfrom-call = \"0..9\""),
    ("calls without end", "at = \"1s\"\ndo = \"crash-at\"\nfrom-call = \"3..\""),
    ("jump to nowhere", "at = \"1s\"\ndo = \"clock-jump\"\nby = \"-1h\"\ndirection = \"back\""),
    ("jump aside", "at = \"1s\"\ndo = \"clock-jump\"\nby = \"1h\"\ndirection = \"backward\""),
    ("lock outside", "at = \"1s\"\ndo = \"squat-lock\"\nfor = \"1m\"\nfile = \"../x.lock\""),
    ("squatter without time", "at = \"1s\"\ndo = \"squat-lock\""),
    (
        "two locks",
        "at = \"1s\"\ndo = \"leave-lock\"\nowner = \"dead\"\nfile = \"x.lock\"\ntranscript-of = \"ann\"",
    ),
    ("transcript of nobody", "at = \"1s\"\ndo = \"leave-lock\"\nowner = \"dead\"\ntranscript-of = \"bob\""),
    ("unknown owner", "at = \"1s\"\ndo = \"leave-lock\"\nowner = \"alive\""),
    ("events of a group that is none", "on = \"peer.ended\"\nof = \"ann\"\ndo = \"kill\""),
    ("peers without a group", "at = \"1s\"\ndo = \"peers-reset\""),
    ("unknown peers", "at = \"1s\"\ndo = \"peers-leave\"\npeers = \"tab\"\n[peers.tabs]\nkind = \"bare\""),
    ("undeclared peers", "at = \"1s\"\ndo = \"peers-arrive\"\npeers = \"tabs\""),
    ("a wait that is none", "at = \"1s\"\ndo = \"ask-for-restart\"\nmode = \"safe\"\nwait = \"10s\""),
    ("a wait of no length", "at = \"1s\"\ndo = \"ask-for-restart\"\nmode = \"wait\""),
    ("an edit of nothing", "at = \"1s\"\ndo = \"write-config\""),
    ("an edit without settings", "at = \"1s\"\ndo = \"write-config\"\nset = {}"),
    ("a setting without a name", "at = \"1s\"\ndo = \"write-config\"\nset = { \"gateway.\" = 1 }"),
    ("two edits", "at = \"1s\"\ndo = \"write-config\"\ntext = \"{}\"\nset = { \"gateway.port\" = 1 }"),
    ("no fate", "at = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hi\"\n[expect.fates]\n\"ann#1\" = []"),
];

#[test]
fn every_bad_file_has_one_clear_error() {
    let files = BAD_FILES.iter().map(|(case, text)| (*case, (*text).to_string()));
    let tables = BAD_TABLES.iter().map(|(case, text)| (*case, table(text)));
    let steps = BAD_STEPS.iter().map(|(case, text)| (*case, step(text)));
    let mut shown = String::new();
    for (case, text) in files.chain(tables).chain(steps) {
        let error = parse(&text).expect_err(case);
        let _ = writeln!(shown, "== {case}\n{}", render(&error));
    }
    insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("scenario_errors", shown);
    });
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Scenario::read(&folder.path().join("nowhere.toml")).expect_err("missing");
    assert!(render(&missing).contains("there is no such file"), "{missing}");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"name = \"\xff\"").expect("write");
    let binary = Scenario::read(&binary).expect_err("binary");
    assert!(binary.to_string().contains("byte 8 is not UTF-8"), "{binary}");
    assert!(Scenario::read(folder.path()).is_err());
}

#[test]
fn lines_that_would_flood_a_terminal_are_not_shown() {
    let flood = format!("name = \"x\"\n{} = 1\n", "k".repeat(100_000));
    let error = render(&parse(&flood).expect_err("unknown key"));
    assert!(error.contains("case.toml:2:1: unknown key `kkk") && error.len() < 1_000, "{error}");
    let escape = render(&parse("name = \"x\"\n# \u{1b}[31m\n").expect_err("a control character"));
    assert!(escape.contains("case.toml:2:3: this is not TOML") && !escape.contains('\u{1b}'), "{escape}");
}

#[test]
fn a_name_is_enough() {
    let scenario = good("name = \"x\"");
    assert_eq!(scenario.path, Path::new("case.toml"));
    assert_eq!(
        (scenario.settle, scenario.storm_limit),
        (Duration::from_secs(1200), Duration::from_secs(600))
    );
    assert_eq!(scenario.gateway.port, 18_789);
    assert_eq!(scenario.gateway.token, "sim-token");
    let Supervisor::Systemd(unit) = &scenario.gateway.supervisor else { panic!("systemd") };
    assert_eq!((unit.restart, unit.start_limit_burst), (UnitRestart::Always, 10));
    assert_eq!(unit.prevent_restart_on, [78]);
    assert_eq!(scenario.provider.first_token, DurationRange::exactly(Duration::from_millis(800)));
    assert_eq!(scenario.network.latency.to_string(), "1ms..3ms");
    assert_eq!((scenario.probe, scenario.intruder), (None, None));
    assert_eq!(scenario.expect.under(HARDENED), Expected::Pass);
    assert!(scenario.steps.is_empty() && scenario.senders.is_empty());
}

#[test]
fn further_steps_are_read_as_if_they_stood_at_the_end_of_the_file() {
    let base = "name = \"a\"\n[senders.ann]\n[[steps]]\nat = \"1s\"\ndo = \"kill\"\n";
    let further = "[[steps]]\non = \"run.started\"\nnth = 2\ndo = \"send\"\nfrom = \"ann\"\ntext = \"x\"\n";
    let told = |scenario: &Scenario| {
        let step = |step: &Step| format!("{} {:?} {:?}", step.label, step.when, step.verb);
        scenario.steps.iter().map(step).collect::<Vec<_>>()
    };
    let whole = good(&format!("{base}{further}"));
    assert_eq!(told(&good(base).with_steps(further).expect("is one")), told(&whole));
    let refused = |text: &str| good(base).with_steps(text).expect_err("is refused").to_string();
    assert_eq!(refused(&further.replace("ann", "bob")), "unknown sender `bob`");
    assert_eq!(refused("settle = \"1s\""), "unknown key `settle` in the further steps");
}

#[test]
fn a_whole_scenario_reads_as_written() {
    let scenario = good(
        r#"
name = "SIGTERM while the model is answering"
issue = "openclaw/openclaw#38836"
probe = { every = "1s" }

[gateway]
supervisor = { kind = "systemd", restart = "on-failure", stop-timeout = "20s", prevent-restart-on = [] }
policies = { readiness = "always-ready" }

[senders.zoe]
kind = "retrying"
[senders.ann]

[[steps]]
at = "1s..5s"
do = "send"
from = "ann"
text = "hello"
count = 2

[[steps]]
name = "the stop"
on = "message.accepted"
nth = 2
of = "ann"
after = "5ms"
do = "signal"
signal = "SIGTERM"

[expect]
outcomes = { "openclaw-2026.3.2" = "fail: no-silent-drop, up-at-the-end", hardened = "pass" }
fates = { "ann#2" = ["replied", "told"] }
"#,
    );
    assert_eq!(scenario.senders.keys().collect::<Vec<_>>(), ["zoe", "ann"], "in the order of the file");
    assert_eq!(scenario.senders["zoe"].kind, SenderKind::Retrying);
    let policies = scenario.gateway.policies_under(HARDENED).expect("hardened");
    assert_eq!(policies.readiness, Readiness::AlwaysReady);
    assert_eq!(scenario.probe, Some(Duration::from_secs(1)));

    let [send, stop] = &scenario.steps[..] else { panic!("two steps") };
    assert_eq!((send.label.as_str(), send.line), ("ann sends 2 messages", 14));
    assert_eq!(
        send.when,
        When::At(DurationRange { min: Duration::from_secs(1), max: Duration::from_secs(5) })
    );
    assert_eq!((stop.label.as_str(), stop.line), ("the stop", 21));
    assert_eq!(stop.verb, Verb::Signal { signal: Signal::Terminate, process: Target::Gateway });
    let anchor = Anchor {
        event: "message.accepted".into(),
        nth: 2,
        of: Some("ann".into()),
        path: None,
        after: DurationRange::exactly(Duration::from_millis(5)),
    };
    assert!(!stop.is_repeat);
    assert_eq!(stop.when, When::On(anchor));

    let profiles: Vec<_> = scenario.expect.outcomes.keys().collect();
    assert_eq!(profiles, ["openclaw-2026.3.2", HARDENED]);
    let failing = Expected::Fail(vec!["no-silent-drop".into(), "up-at-the-end".into()]);
    assert_eq!(scenario.expect.under("openclaw-2026.3.2"), failing);
    assert_eq!(scenario.expect.under("planted:always-ready"), Expected::Pass);
    let (message, fates) = scenario.expect.fates.first().expect("a fate");
    assert_eq!((message.to_string().as_str(), fates.len()), ("ann#2", 2));
}

/// A value for `key` in TOML: its default or a sample.
fn value_for(key: &Key) -> String {
    match key.shape {
        Shape::Outcomes => r#"{ "planted:always-ready" = "inconclusive" }"#.into(),
        Shape::Policies => r#"{ recovery = "skip" }"#.into(),
        Shape::Steps => "[]".into(),
        Shape::Supervisor => r#"{ kind = "none" }"#.into(),
        Shape::Named(keys) | Shape::Table(keys) => {
            let inner: Vec<_> = keys.iter().map(|key| format!("{} = {}", key.name, value_for(key))).collect();
            match key.shape {
                // Groups of peers have names of their own.
                Shape::Named(_) if key.name == "peers" => format!("{{ tabs = {{ {} }} }}", inner.join(", ")),
                Shape::Named(_) => format!("{{ ann = {{ {} }} }}", inner.join(", ")),
                _ => format!("{{ {} }}", inner.join(", ")),
            }
        }
        _ => key.sample(),
    }
}

#[test]
fn every_documented_key_is_accepted() {
    let send = "steps = [{ at = \"1s\", do = \"send\", from = \"ann\", text = \"hi\" }]";
    for key in keys::FILE {
        let line = format!("{} = {}", key.name, value_for(key));
        let rest = match key.name {
            "name" => String::new(),
            "expect" => format!("name = \"x\"\n{send}\nsenders = {{ ann = {{}} }}"),
            "cron" | "peers" => "name = \"x\"\nsenders = { ann = {} }".into(),
            "matrix" => "name = \"${signal}\"".into(),
            "cells" => continue,
            _ => "name = \"x\"".into(),
        };
        good(&format!("{rest}\n{line}"));
    }
    for key in keys::CELLS.iter().filter(|key| key.name != "when") {
        let line = format!("[[cells]]\nwhen = {{ a = 1 }}\n{} = {}", key.name, value_for(key));
        good(&format!(
            "{}[matrix]\na = [1, 2]\n{line}",
            step("at = \"${a}s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"x\"")
        ));
    }
    for of in KINDS {
        let line = |key: &Key| format!("{} = {}\n", key.name, value_for(key));
        let own: String = of.keys.iter().map(line).collect();
        good(&format!("name = \"x\"\n[gateway.supervisor]\nkind = {:?}\n{own}", of.kind.word()));
    }
    let step = |text: &str| {
        // Only who talks on a platform can be refused something there.
        let ann = if text.contains("platform-") {
            "[senders.ann]\nchannel = \"telegram\""
        } else {
            "[senders.ann]"
        };
        step(text).replace("[senders.ann]", ann) + "[peers.tabs]\nkind = \"bare\"\n"
    };
    for verb in VERBS {
        let line = |key: &Key| format!("{} = {}\n", key.name, value_for(key));
        let is_alone =
            |key: &Key| EITHER_OR.iter().any(|(word, name, _)| (*word, *name) == (verb.word, key.name));
        let own: String = verb.keys.iter().filter(|key| !is_alone(key)).map(line).collect();
        let anchored = keys::STEP.iter().filter(|key| !matches!(key.name, "at" | "do" | "path")).map(line);
        let anchored: String = anchored.collect();
        good(&step(&format!("at = \"1s..5s\"\ndo = {:?}\n{own}", verb.word)));
        good(&step(&format!("do = {:?}\n{anchored}{own}", verb.word)));
        good(&step(&format!("do = {:?}\non = \"disk.append\"\npath = \"*\"\n{own}", verb.word)));
    }
    for (word, key, alone) in EITHER_OR {
        assert!(alone.contains(key));
        good(&step(&format!("at = \"1s\"\ndo = {word:?}\n{alone}")));
    }
}

/// Keys that cannot stand beside all others of their verb, each in a step that can have it.
const EITHER_OR: &[(&str, &str, &str)] = &[
    ("crash-at", "moment", "moment = \"after\""),
    ("crash-at", "off-for", "death = \"power-loss\"\noff-for = \"1s..2s\""),
    ("squat-lock", "transcript-of", "for = \"1m\"\ntranscript-of = \"ann\""),
    ("leave-lock", "transcript-of", "owner = \"nobody\"\ntranscript-of = \"ann\""),
    ("ask-for-restart", "wait", "mode = \"wait\"\nwait = \"10s\""),
    ("write-config", "set", "set = { \"gateway.drainBudgetMs\" = 1000 }"),
];

#[test]
fn scheduled_jobs_get_their_defaults_and_know_their_senders() {
    let text = "name = \"x\"\n[senders.ann]\n[cron.report]\nevery = \"5m\"\n";
    let report = good(text).cron["report"].clone();
    assert_eq!((report.every.as_secs(), report.text.as_str()), (300, "report"));
    assert_eq!((report.on_interruption.word(), report.session_of), ("retry", None));
    let own =
        good(&format!("{text}on-interruption = \"skip\"\nsession-of = \"ann\"\n")).cron["report"].clone();
    assert_eq!((own.on_interruption.word(), own.session_of.as_deref()), ("skip", Some("ann")));
    let refused = |line: &str| parse(&format!("{text}{line}\n")).map(drop).map_err(|error| render(&error));
    assert!(refused("session-of = \"bob\"").expect_err("nobody").contains("unknown sender `bob`"));
    let often = "name = \"x\"\n[cron.report]\nevery = \"500ms\"\n";
    assert!(render(&parse(often).expect_err("too often")).contains("more than once a second"));
}

#[test]
fn peers_get_their_defaults_and_count_once_for_each_step_that_lets_them_in() {
    let group = "name = \"x\"\n[senders.ann]\n[peers.tabs]\nkind = \"never-reads\"\n";
    let tabs = good(group).peers["tabs"].clone();
    assert_eq!((tabs.kind.word(), tabs.count, tabs.arrive.to_string()), ("never-reads", 1, "0s..1s".into()));
    assert_eq!((tabs.returns, tabs.joins), (None, None));
    let own = "count = 400\narrive = \"5s\"\nreturns = \"0ms\"\njoins = \"ann\"\n";
    let tabs = good(&format!("{group}{own}")).peers["tabs"].clone();
    assert_eq!((tabs.count, tabs.arrive), (400, DurationRange::exactly(Duration::from_secs(5))));
    assert_eq!(
        (tabs.returns, tabs.joins.as_deref()),
        (Some(DurationRange::exactly(Duration::ZERO)), Some("ann"))
    );
    let wave = "[[steps]]\nat = \"1s\"\ndo = \"peers-arrive\"\npeers = \"tabs\"\n";
    let waves = |count: usize| parse(&format!("{group}{own}{}", wave.repeat(count))).map(drop);
    assert!(waves(2).is_ok());
    assert_eq!(waves(3).expect_err("too many").to_string(), "there are 1200 peers");
}

#[test]
fn no_garbage_makes_the_reader_panic() {
    let whole = step("on = \"run.started\"\nafter = \"1s..2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"ä\"");
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        if let Err(error) = parse(&whole[..end]) {
            render(&error);
        }
        if let Err(error) = parse(&format!("{}[\"", &whole[..end])) {
            render(&error);
        }
    }
}

#[test]
fn eight_bots_are_eight_lines() {
    let names = ["ann", "bob", "cyd", "dot", "eve", "fay", "gus", "hal"];
    let lines: String = names
        .iter()
        .map(|name| format!("{name} = {{ channel = \"feishu\", account = \"bot-{name}\" }}\n"))
        .collect();
    let text = format!(
        "name = \"x\"\n[platforms.feishu]\nredeliver-after = \"20s\"\nnew-ids = 30\n[senders]\n{lines}\
         [[steps]]\nat = \"1s\"\ndo = \"platform-cuts-line\"\nplatform = \"feishu\"\nfrom-send = \"1..3\"\n"
    );
    let scenario = good(&text);
    assert_eq!(scenario.senders["hal"].account, "bot-hal");
    assert_eq!(scenario.senders["hal"].channel.platform(), Some(Platform::Feishu));
    assert_eq!(scenario.platforms.feishu.new_ids, 30);
    let Verb::PlatformTrouble(trouble) = &scenario.steps[0].verb else { panic!("{:?}", scenario.steps[0]) };
    assert_eq!((trouble.platform(), trouble.hold()), (Platform::Feishu, Hold::Open));
    assert_eq!(scenario.steps[0].label, "feishu cuts the line");
}
