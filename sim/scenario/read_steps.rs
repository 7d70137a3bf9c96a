//! Reading `[[steps]]`: each has a time or an anchor, and a verb that brings keys of its own.
//!
//! Steps refer to senders, to the supervisor and to the storm's end, all of which have been read before; a step
//! that could never do anything is refused here rather than found out in a run.

use std::time::Duration;

use gateway::env::{FsOp, Signal};
use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Read};
use super::keys::{self, STEP, VERBS, VerbKeys};
use super::read_peers;
use super::read_platforms;
use super::read_restarts;
use super::read_trouble::{self, pattern, state_file};
use super::table::{
    Input, Table, choice, duration, entries, in_file_order, range, some_range, some_text, text, whole,
    wrong_type,
};
use super::{
    About, Anchor, Choice, GatewaySetup, Machine, PeersSetup, RestartAsk, SenderSetup, Step, Supervisor,
    Target, Verb, When, events, limits, other_words,
};

/// What steps may refer to.
pub(super) struct World<'a> {
    /// The text of the whole file, for line numbers.
    pub(super) source: &'a str,
    pub(super) senders: &'a IndexMap<String, SenderSetup>,
    pub(super) peers: &'a IndexMap<String, PeersSetup>,
    pub(super) gateway: &'a GatewaySetup,
    pub(super) storm_limit: Duration,
}

/// Reads all steps of the file.
pub(super) fn steps(file: &Table<'_>, world: &World<'_>) -> Read<Vec<Step>> {
    let Some(value) = file.value("steps") else { return Ok(Vec::new()) };
    let Some(steps) = value.get_ref().as_array() else {
        return Err(wrong_type("steps", value.get_ref(), value.span(), "a list of steps", "[]")
            .help("begin each step with a line `[[steps]]`, in double brackets."));
    };
    let mut all = Vec::new();
    for value in steps {
        all.extend(step(value, world)?);
        // Whoever says more than that with `times` meant something else.
        limits::number_of_steps(file, all.len())?;
    }
    Ok(all)
}

/// The step as often as it is done.
fn step(value: &Spanned<DeValue<'_>>, world: &World<'_>) -> Read<Vec<Step>> {
    let entries = entries(value, "steps")?;
    let verb_keys = verb_keys(value, entries)?;
    let table = Table::open("this step", value.span(), entries, STEP.iter().chain(verb_keys.keys))?;
    let when = when(&table, world)?;
    let verb = verb(&table, verb_keys.word, world)?;
    let label = table.optional("name", some_text)?.unwrap_or_else(|| label(&verb, verb_keys.word));
    let line = 1 + world.source[..value.span().start].matches('\n').count();
    let first = Step { label, when, verb, line, is_repeat: false };
    let times: u32 = table.get("times", whole)?;
    Ok((0..times).map(|further| first.again(further)).collect())
}

/// Finds the verb first, since it decides which keys the step may have.
fn verb_keys(value: &Spanned<DeValue<'_>>, entries: &DeTable<'_>) -> Read<&'static VerbKeys> {
    let all_keys = || STEP.iter().chain(VERBS.iter().flat_map(|verb| verb.keys)).map(|key| key.name);
    for (name, _) in in_file_order(entries) {
        if !all_keys().any(|known| known == name.get_ref().as_ref()) {
            let mut known: Vec<_> = all_keys().collect();
            known.sort_unstable();
            known.dedup();
            return Err(Problem::at(name.span(), format!("unknown key `{name}` in this step"))
                .label("there is no such key")
                .choices(name.get_ref(), known));
        }
    }
    let Some(value_of_do) = entries.get("do") else {
        return Err(Problem::at(value.span(), "this step has no `do`")
            .label("what is to be done?")
            .help(format!("add `do = ...`; the verbs are {}.", super::error::list(keys::verb_words()))));
    };
    let Some(word) = value_of_do.get_ref().as_str() else {
        return Err(wrong_type(
            "do",
            value_of_do.get_ref(),
            value_of_do.span(),
            "a verb in quotes",
            "\"send\"",
        ));
    };
    let Some(verb_keys) = VERBS.iter().find(|verb| verb.word == word) else {
        let problem = Problem::at(value_of_do.span(), format!("unknown verb `{word}`"))
            .label("nobody knows how to do this");
        return Err(match other_words::for_verb(word) {
            Some(help) => problem.help(help),
            None => problem.choices(word, keys::verb_words()),
        });
    };
    let is_known = |name: &str| STEP.iter().chain(verb_keys.keys).any(|key| key.name == name);
    for (name, _) in in_file_order(entries) {
        if !is_known(name.get_ref()) {
            return Err(foreign_key(name.get_ref(), name.span(), verb_keys));
        }
    }
    Ok(verb_keys)
}

/// A key that some other verb has.
fn foreign_key(name: &str, span: std::ops::Range<usize>, verb: &VerbKeys) -> Box<Problem> {
    let having: Vec<_> =
        VERBS.iter().filter(|v| v.keys.iter().any(|key| key.name == name)).map(|v| v.word).collect();
    let problem = Problem::at(span, format!("`{name}` is not a key of `do = \"{}\"`", verb.word))
        .label(format!("this belongs to {}", super::error::list(having)));
    match (name, verb.keys) {
        ("file", _) => problem.help("to wait for an operation on one file only, write `path`."),
        ("from", _) => problem.help("to wait for an event of one sender only, write `of`."),
        (_, []) => problem.help(format!("leave it out: `{}` needs nothing but a time.", verb.word)),
        (_, keys) => problem.help(format!(
            "`{}` has {}.",
            verb.word,
            super::error::list(keys.iter().map(|key| key.name))
        )),
    }
}

fn when(table: &Table<'_>, world: &World<'_>) -> Read<When> {
    match (table.span_of_key("at"), table.span_of_key("on")) {
        (Some(_), Some(on)) => Err(Problem::at(on, "this step has both `at` and `on`")
            .label("a step is done at a time or after an event, not both")
            .help("keep one of the two; `after` delays a step that waits for an event.")),
        (None, None) => Err(Problem::at(table.span_of("at"), "this step says neither `at` nor `on`")
            .label("when?")
            .help("add `at = \"5s\"`, or an event to wait for, as in `on = \"run.started\"`.")),
        (Some(_), None) => {
            for name in ["nth", "of", "path", "after", "times"] {
                if let Some(span) = table.span_of_key(name) {
                    return Err(Problem::at(span, format!("`{name}` has no meaning in a step with `at`"))
                        .label("this goes with `on`")
                        .help("leave it out, or wait for an event with `on` instead of `at`."));
                }
            }
            let at = table.get("at", range)?;
            if at.max > world.storm_limit {
                let limit = humantime::format_duration(world.storm_limit);
                return Err(Problem::at(table.span_of("at"), "this step may never be done")
                    .label(format!("steps that have not fired by {limit} never fire"))
                    .help("do it earlier, or raise `storm-limit` at the top of the file."));
            }
            Ok(When::At(at))
        }
        (None, Some(_)) => Ok(When::On(anchor(table, world)?)),
    }
}

fn anchor(table: &Table<'_>, world: &World<'_>) -> Read<Anchor> {
    let event = table.get("on", event)?;
    let of = match (table.span_of_key("of"), events::about(&event)) {
        (None, _) => None,
        (Some(_), About::Sender) => Some(sender(table, "of", world)?),
        (Some(_), About::Peers) => Some(read_peers::group_named(table, "of", world)?),
        (Some(span), About::Nobody) => {
            return Err(Problem::at(span, format!("`of` can never be met by `{event}`"))
                .label("these events do not name a sender")
                .help("leave it out, or wait for an event of a sender, such as `run.started`."));
        }
    };
    let path = match table.span_of_key("path") {
        Some(span) if !events::has_path(&event) => {
            return Err(Problem::at(span, format!("`path` can never be met by `{event}`"))
                .label("these events do not name a file")
                .help("leave it out, or wait for an operation of the disk, such as `disk.append`."));
        }
        _ => table.optional("path", pattern)?,
    };
    let after = table.get("after", range)?;
    if after.max > world.storm_limit {
        let limit = humantime::format_duration(world.storm_limit);
        return Err(Problem::at(table.span_of("after"), "this step may never be done")
            .label(format!("steps that have not fired by {limit} never fire"))
            .help("wait less, or raise `storm-limit` at the top of the file."));
    }
    Ok(Anchor { event, nth: table.get("nth", whole)?, of, path, after })
}

fn event(input: &Input<'_>) -> Read<String> {
    let name = text(input)?;
    if events::is_too_late(&name) {
        return Err(Problem::at(input.span.clone(), format!("nothing is done any more at `{name}`"))
            .label("by then the last step is over")
            .help("wait for something that happens before, or use `at`; `settle` says how long the run goes on."));
    }
    let Err(events::NotAnEvent { close, family }) = events::check(&name) else { return Ok(name) };
    let problem = Problem::at(input.span.clone(), format!("unknown event `{name}`"));
    Err(match (close, &family[..]) {
        (Some(close), _) => problem
            .label("no event has this name")
            .help(format!("did you mean `{close}`? `--timeline` shows the events of a run.")),
        (None, []) => problem
            .label("no event has this name, and none begins like it")
            .help("as in `run.started` or `message.accepted`; `gatesim events` lists all of them."),
        (None, family) => problem
            .label("no event has this name")
            .help(format!("those that begin like it are {}.", super::error::list(family.iter().copied()))),
    })
}

fn verb(table: &Table<'_>, word: &str, world: &World<'_>) -> Read<Verb> {
    let from = || sender(table, "from", world);
    Ok(match word {
        "send" => Verb::Send {
            from: from()?,
            text: table.get("text", message)?,
            count: table.get("count", whole)?,
            every: table.get("every", duration)?,
            spawns: table.get("spawns", whole)?,
            child_takes: table.get("child-takes", range)?,
        },
        "abort" => Verb::Abort { from: from()? },
        "signal" => {
            Verb::Signal { signal: table.get("signal", signal)?, process: table.get("process", choice)? }
        }
        "kill" => Verb::Kill { process: table.get("process", choice)? },
        "freeze" => {
            Verb::Freeze { process: table.get("process", choice)?, lasting: table.get("for", some_range)? }
        }
        "port-lingers" => Verb::PortLingers { lasting: table.get("for", some_range)? },
        "power-loss" => Verb::PowerLoss { off_for: table.get("off-for", range)? },
        "partition" => Verb::Partition {
            between: read_platforms::there(table, world, table.get("between", two_machines)?)?,
            lasting: table.get("for", some_range)?,
        },
        "service-stop" => supervised(table, word, world, Verb::ServiceStop)?,
        "service-start" => supervised(table, word, world, Verb::ServiceStart)?,
        "service-restart" => supervised(table, word, world, Verb::ServiceRestart)?,
        "reload-service" => manager_asked(table, word, world, Verb::ReloadService)?,
        "start-second-instance" => Verb::StartSecondInstance,
        "run-tool" => Verb::RunTool {
            session_of: sender(table, "session-of", world)?,
            label: table.get("label", label_text)?,
            count: table.get("count", whole)?,
            every: table.get("every", duration)?,
        },
        "corrupt-state" => {
            Verb::CorruptState { file: table.get("file", state_file)?, text: table.get("text", text)? }
        }
        _ => match read_trouble::verb(table, word, world)? {
            Some(verb) => verb,
            None => match (read_peers::verb(table, word, world)?, read_restarts::verb(table, word, world)?) {
                (Some(verb), _) | (None, Some(verb)) => verb,
                (None, None) => match read_platforms::verb(table, word, world)? {
                    Some(verb) => verb,
                    None => unreachable!("{word} is in VERBS"),
                },
            },
        },
    })
}

fn label(verb: &Verb, word: &str) -> String {
    match verb {
        Verb::Send { from, count: 1, .. } => format!("{from} sends"),
        Verb::Send { from, count, .. } => format!("{from} sends {count} messages"),
        Verb::Abort { from } => format!("{from} aborts"),
        Verb::Signal { signal, process: Target::Gateway } => signal.name().into(),
        Verb::Signal { signal, process } => format!("{signal} to the {}", process.word()),
        Verb::Kill { process } | Verb::Freeze { process, .. } if *process != Target::Gateway => {
            format!("{word} the {}", process.word())
        }
        Verb::Partition { between: (a, b), .. } => format!("partition {} and {}", a.word(), b.word()),
        Verb::RunTool { session_of, count: 1, .. } => format!("label {session_of}'s session"),
        Verb::RunTool { session_of, count, .. } => format!("label {session_of}'s session {count} times"),
        Verb::AskForRestart(RestartAsk { mode, count: 1, .. }) => format!("ask: {mode}"),
        Verb::AskForRestart(RestartAsk { mode, count, .. }) => format!("ask {count} times: {mode}"),
        Verb::CorruptState { file, .. } => format!("corrupt {file}"),
        Verb::DiskFault(trouble) => format!("{} on {}", trouble.error.name(), trouble.calls.file),
        Verb::CrashAt(crash) => {
            let operation = crash.calls.operation.map_or("anything", FsOp::name);
            format!("crash at {operation} of {}", crash.calls.file)
        }
        Verb::ClockJump { direction, .. } => format!("clock jumps {}", direction.word()),
        Verb::PlatformTrouble(trouble) => trouble.label(),
        Verb::ProviderTrouble(trouble) => trouble.label(),
        Verb::NameUnknown { machine, .. } => format!("the name of {} is unknown", machine.word()),
        Verb::PeersArrive { peers } => format!("{peers} arrive"),
        Verb::PeersLeave { peers } => format!("{peers} leave"),
        Verb::PeersReset { peers } => format!("{peers} reset"),
        _ => word.replace('-', " "),
    }
}

pub(super) fn sender(table: &Table<'_>, key: &str, world: &World<'_>) -> Read<String> {
    let name = table.get(key, text)?;
    match world.senders.contains_key(&name) {
        true => Ok(name),
        false => Err(unknown_sender(&name, table.span_of(key), world.senders)),
    }
}

/// `name` stands at `span` and is nobody's.
pub(super) fn unknown_sender(
    name: &str,
    span: std::ops::Range<usize>,
    senders: &IndexMap<String, SenderSetup>,
) -> Box<Problem> {
    let problem = Problem::at(span, format!("unknown sender `{name}`")).label("nobody has this name");
    match super::nearest(name, senders.keys().map(String::as_str)) {
        Some(close) => problem.help(format!("did you mean `{close}`?")),
        None => problem.help(format!("declare the sender with `[senders.{name}]`.")),
    }
}

fn supervised(table: &Table<'_>, word: &str, world: &World<'_>, verb: Verb) -> Read<Verb> {
    match world.gateway.supervisor {
        Supervisor::None => {
            Err(Problem::at(table.span_of("do"), format!("`{word}` needs a supervisor, and there is none"))
                .label("nobody is there to be asked")
                .help("signal the process instead, or give `[gateway]` a supervisor."))
        }
        _ => Ok(verb),
    }
}

/// A step for which a program has to ask the service manager.
fn manager_asked(table: &Table<'_>, word: &str, world: &World<'_>, verb: Verb) -> Read<Verb> {
    match world.gateway.supervisor {
        Supervisor::Container(_) | Supervisor::Unsupported(_) => Err(Problem::at(
            table.span_of("do"),
            format!("`{word}` needs a service manager that can be asked"),
        )
        .label("no program of that machine can ask this supervisor")
        .help("write `do = \"service-restart\"`, or take `systemd`, `launchd` or `task-scheduler`.")),
        _ => supervised(table, word, world, verb),
    }
}

/// Reads what a tool writes: one line.
fn label_text(input: &Input<'_>) -> Read<String> {
    let label = asked(input)?;
    match label.chars().any(char::is_control) {
        false => Ok(label),
        true => Err(Problem::at(input.span.clone(), "a label is one line of text")
            .label("this holds a control character")
            .help("leave line breaks and tabs out: the tool refuses such a label.")),
    }
}

/// Reads what a job asks, or what a tool writes: text that says something and holds no mark.
pub(super) fn asked(input: &Input<'_>) -> Read<String> {
    some_text(input)?;
    message(input)
}

/// Reads what a sender says.
fn message(input: &Input<'_>) -> Read<String> {
    let said = text(input)?;
    limits::no_mark(&said).map_err(|why| {
        Problem::at(input.span.clone(), "this text would be taken for another message")
            .label(why)
            .help("leave the mark out: each message gets its own, by which reports recognise it.")
    })?;
    Ok(said)
}

/// Signals that no process can handle are verbs of their own.
fn signal(input: &Input<'_>) -> Read<Signal> {
    choice(input).map_err(|problem| match input.value.as_str() {
        Some("SIGKILL") => problem.help("write `do = \"kill\"`."),
        Some("SIGSTOP") => problem.help("write `do = \"freeze\"`."),
        _ => problem,
    })
}

fn two_machines(input: &Input<'_>) -> Read<(Machine, Machine)> {
    let refuse = |why: &str| {
        Problem::at(input.span.clone(), "`between` has to name two different machines").label(why).help(
            format!(
                "write it as in `between = {}`; the machines are {}.",
                input.key.sample(),
                super::error::list(keys::machine_words())
            ),
        )
    };
    let items: Vec<_> = input.value.as_array().into_iter().flat_map(|items| items.iter()).collect();
    let [a, b] = items[..] else {
        return Err(refuse("this is not a list of two"));
    };
    let machine = |item: &Spanned<DeValue<'_>>| {
        let word = item.get_ref().as_str().ok_or_else(|| refuse("a machine's name is a word in quotes"))?;
        let known = Machine::WORDS.iter().find(|(known, ..)| *known == word);
        known.map(|(_, machine, _)| *machine).ok_or_else(|| {
            Problem::at(item.span(), format!("unknown machine `{word}`"))
                .label("there is no such machine")
                .choices(word, Machine::words())
        })
    };
    match (machine(a)?, machine(b)?) {
        (a, b) if a == b => Err(refuse("a machine cannot be cut off from itself")),
        pair => Ok(pair),
    }
}
