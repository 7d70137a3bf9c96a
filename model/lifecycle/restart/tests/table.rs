//! The tables of `docs/restart.md`, made from what the coordinator does.
//!
//! The prose around them is written by hand; what stands between a `<!-- generated: NAME -->` and the next
//! `<!-- end -->` is written here, when the tests are run with `UPDATE_DOCS=1`, and compared otherwise.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/restart.md");

type Reach = fn() -> Life;
type Ask = fn(&mut Life) -> Decision;

#[test]
#[expect(clippy::disallowed_methods, reason = "the documentation is a file of this repository")]
fn the_description_of_restarts_is_up_to_date() {
    let written = std::fs::read_to_string(Path::new(FILE)).expect("a readable file");
    let made = with_tables(&written);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(FILE, made).expect("a writable file");
    } else {
        assert!(written == made, "docs/restart.md is out of date: UPDATE_DOCS=1 cargo test up_to_date");
    }
}

fn with_tables(written: &str) -> String {
    const END: &str = "<!-- end -->";
    let mut made = String::new();
    let mut rest = written;
    while let Some((before, from)) = rest.split_once("<!-- generated: ") {
        let (name, after) = from.split_once(" -->").expect("the mark of a table ends with `-->`");
        let (_, after) = after.split_once(END).expect("a table ends with `<!-- end -->`");
        let table = match name {
            "requests" => of_requests(),
            "history" => of_history(),
            _ => panic!("there is no table called {name}"),
        };
        let _ = write!(made, "{before}<!-- generated: {name} -->\n\n{table}\n{END}");
        rest = after;
    }
    made + rest
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = row(head.iter().map(ToString::to_string));
    let _ = writeln!(text, "|{}", " --- |".repeat(head.len()));
    rows.into_iter().for_each(|cells| text.push_str(&row(cells)));
    text
}

/// Where a request can find the coordinator, the work in hand never ending where there is any.
const PLACES: &[(&str, Reach)] = &[
    ("the server is not up yet, work in hand", || {
        Life::starting(RestartPolicy::default(), Settings::default()).busy()
    }),
    ("nothing asked, nothing in hand", Life::new),
    ("nothing asked, work in hand", || Life::new().busy()),
    ("10 s after a restart in place", || {
        let mut life = Life::new();
        let action = life.ask(Mode::Plain).action;
        life.take(action);
        life.next_generation();
        life.endings();
        life.now += 10;
        life
    }),
    ("scheduled in 50 s", || {
        let mut life = Life::new();
        life.request(Request::new(Source::CommandLine, Mode::Plain).after(secs(50)));
        life
    }),
    ("deferred for 1 min, plain", || {
        let mut life = Life::new().busy();
        life.ask(Mode::Plain);
        life.now += 60;
        life
    }),
    ("new work held off for 5 s, safe", || {
        let mut life = Life::new().busy();
        life.ask(Mode::Safe);
        life.now += 305;
        life
    }),
    ("ordered, nobody took the order yet", || {
        let mut life = Life::new();
        life.ask(Mode::Plain);
        life
    }),
    ("draining, 5 min left", || {
        let mut life = Life::new();
        let action = life.ask(Mode::Plain).action;
        life.take(action);
        life
    }),
    ("stopping", || {
        let mut life = Life::new();
        life.coordinator.stop_requested();
        life
    }),
];

const KINDS: &[(&str, Ask)] = &[
    ("plain, config edit", |life| {
        life.request(Request::new(Source::ConfigWatcher { paths: Vec::new() }, Mode::Plain))
    }),
    ("safe", |life| life.ask(Mode::Safe)),
    ("force", |life| life.ask(Mode::Force)),
    ("wait 10 s", |life| life.ask(Mode::Wait(Patience::AtMost(secs(10))))),
    ("wait 0 (no limit)", |life| life.ask(Mode::Wait(Patience::Unlimited))),
    ("signal", |life| {
        let answer = life.signal();
        match answer.heard {
            Heard::Asked(decision) => decision,
            Heard::Own(_) | Heard::Ignored(_) => Decision {
                request: id(0, 0),
                status: Status::Scheduled { due: at(life.now) },
                cooldown: Duration::ZERO,
                action: None,
            },
        }
    }),
];

fn of_requests() -> String {
    let head: Vec<&str> =
        ["Where it stands"].into_iter().chain(KINDS.iter().map(|(name, _)| *name)).collect();
    let rows = PLACES.iter().map(|(place, reach)| {
        let cells = KINDS.iter().map(|(_, ask)| cell(reach(), *ask));
        [place.to_string()].into_iter().chain(cells).collect()
    });
    table(&head, rows)
}

/// What a request is answered, and what follows.
fn cell(mut life: Life, ask: Ask) -> String {
    let before = life.coordinator.state(at(life.now));
    let decision = ask(&mut life);
    if decision.request == id(0, 0) {
        return "is the order's own: the drain begins".to_string();
    }
    let answer = match decision.status {
        Status::Scheduled { .. } => "scheduled",
        Status::Deferred { .. } => "deferred",
        Status::Coalesced { .. } => "joins",
        Status::Over => return "has its outcome".into(),
        Status::Refused(why) => return format!("refused: {why}"),
    };
    let asked_at = life.now;
    let under_way = matches!(before, State::Ordered | State::Draining);
    let follows = match decision.action {
        Some(Action::ShortenDrain { deadline }) => {
            format!("{} left", words(deadline.since(at(asked_at))))
        }
        _ if under_way => return answer.to_string(),
        Some(Action::Restart(order)) => ordered_after(Duration::ZERO, order),
        None => outcome(&mut life, decision.request, asked_at),
    };
    format!("{answer}; {follows}")
}

fn outcome(life: &mut Life, request: RequestId, asked_at: u64) -> String {
    let mut next = life.up().map(|action| (life.now, action));
    let latest = asked_at + 24 * 3_600;
    while next.is_none() && life.coordinator.next_wake().is_some_and(|wake| wake <= at(latest)) {
        let wake = life.coordinator.next_wake().expect("it was looked at").since(at(0)).as_secs();
        next = life.wait(wake);
        if life.coordinator.untold().iter().any(|outcome| outcome.of.request == request) {
            return format!("given up after {}", words(secs(wake - asked_at)));
        }
    }
    match next {
        Some((when, action)) => ordered_after(secs(when - asked_at), ordered(Some(action))),
        None => "ordered when it ends".to_string(),
    }
}

fn ordered_after(wait: Duration, order: Order) -> String {
    let when =
        if wait.is_zero() { "ordered at once".to_string() } else { format!("ordered after {}", words(wait)) };
    match order.manner {
        Manner::Idle | Manner::Direct => when,
        Manner::DrainAndMark => format!("{when}, drains and marks"),
        Manner::Forced => format!("{when}, drains 15 s and marks"),
    }
}

fn words(wait: Duration) -> String {
    humantime::format_duration(wait).to_string().replace("m", " min").replace("s", " s")
}

/// What each version of history chose otherwise than is right.
fn of_history() -> String {
    let choices = |name| serde_json::to_value(restart_policy(name).expect("a listed set")).expect("JSON");
    let right = choices("hardened");
    // Of some versions nothing is known about restarts.
    let is_known = |name: &&str| crate::policy::restart_policy(name) != Some(RestartPolicy::default());
    let versions: Vec<&str> = crate::policy::profile_names().filter(is_known).collect();
    let values: Vec<Value> = versions.iter().map(|name| choices(name)).collect();
    let head: Vec<&str> = ["Choice", "`hardened`"].into_iter().chain(versions).collect();
    let word = |value: &Value| format!("`{}`", value.as_str().unwrap_or_default());
    let rows = right.as_object().expect("an object").iter().map(|(choice, right)| {
        let other =
            |value: &Value| if value[choice] == *right { String::new() } else { word(&value[choice]) };
        [choice.clone(), word(right)].into_iter().chain(values.iter().map(other)).collect()
    });
    table(&head, rows)
}
