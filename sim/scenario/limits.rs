//! What is too much: bounds that keep a valid scenario from running for hours or filling the memory.
//!
//! Bounds of single numbers stand in `keys`; here are those of the file and those that several keys share: the
//! messages of all steps, the probes of a whole run, the starts of a service that is never given up. Each is far
//! beyond what a scenario needs to show anything, and near what a minute can simulate.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;

use super::error::{Problem, Read};
use super::keys::{MOST_MESSAGES, MOST_TOOLS};
use super::matrix::Axis;
use super::peers_keys::MOST_PEERS;
use super::table::Table;
use super::{CronSetup, PeersSetup, ProgramSetup, ProviderSetup, SenderSetup, Step, Supervisor, Verb};
use crate::timeline::MessageId;

/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;
const MOST_SENDERS: usize = 1_000;
const MOST_STEPS: usize = 1_000;
/// The cells of a matrix, and the values of one of its axes.
const MOST_CELLS: usize = 1_000;
const MOST_VALUES: usize = 64;
/// The longest name of a sender, an axis or a value, in characters.
pub(super) const LONGEST_NAME: usize = 32;
/// All texts that are sent, in bytes: a conversation's history goes to the model with every message.
const MOST_TEXT: u64 = 8 << 20;
/// The tokens that the model may have to write in all.
const MOST_TOKENS: u64 = 1_000_000;
/// How often the prober or the intruder may ask in one run.
const MOST_PROBES: u128 = 1_000_000;
/// How many programs a machine may have beside the gateway.
const MOST_PROGRAMS: usize = 100;
/// How many scheduled jobs there may be, and how often each may run.
const MOST_JOBS: usize = 100;
const MOST_CRON_RUNS: u128 = 2_000;
const SHORTEST_CRON: Duration = Duration::from_secs(1);
/// How often a service may be started in one run.
const MOST_STARTS: u128 = 100_000;

/// Reads a file that is not longer than a scenario may be; whatever is read, it ends.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// There are not too many senders.
pub(super) fn senders(file: &Table<'_>, senders: &IndexMap<String, SenderSetup>) -> Read<()> {
    at_most(MOST_SENDERS, senders.len(), "senders", file)
}

/// There are not too many programs.
pub(super) fn programs(file: &Table<'_>, programs: &IndexMap<String, ProgramSetup>) -> Read<()> {
    at_most(MOST_PROGRAMS, programs.len(), "programs", file)
}

/// The steps are not too many, each counted as often as it is done.
pub(super) fn number_of_steps(file: &Table<'_>, found: usize) -> Read<()> {
    at_most(MOST_STEPS, found, "steps", file)
}

/// What the steps send and start is not too much.
pub(super) fn steps(file: &Table<'_>, steps: &[Step], provider: &ProviderSetup) -> Read<()> {
    let (mut messages, mut answers, mut bytes, mut tools) = (0, 0, 0, 0);
    for step in steps {
        match &step.verb {
            Verb::Send { text, count, spawns, .. } => {
                messages += u64::from(*count);
                // Each subagent's work is one, and what is said of it another.
                answers += u64::from(*count) * (1 + 2 * u64::from(*spawns));
                bytes += text.len() as u64 * u64::from(*count);
            }
            Verb::RunTool { count, .. } => tools += u64::from(*count),
            Verb::AskForRestart(ask) => tools += u64::from(ask.count),
            _ => {}
        }
    }
    let tokens = answers * u64::from(provider.tokens);
    let refuse = |what: &str, most: u64, help: &str| {
        Err(Problem::at(
            file.span_of_key("steps").unwrap_or_default(),
            format!("the steps do too much: {what}"),
        )
        .label(format!("at most {most} in all"))
        .help(help))
    };
    if messages > MOST_MESSAGES {
        return refuse(&format!("{messages} messages"), MOST_MESSAGES, "lower `count`, or leave out steps.");
    }
    if tools > MOST_TOOLS {
        return refuse(
            &format!("{tools} command-line tools"),
            MOST_TOOLS,
            "lower `count`, or leave out steps.",
        );
    }
    if bytes > MOST_TEXT {
        return refuse(&format!("{bytes} bytes of text"), MOST_TEXT, "lower `count`, or shorten `text`.");
    }
    if tokens > MOST_TOKENS {
        let what = format!("{messages} messages, to be answered with {} tokens each", provider.tokens);
        return refuse(&what, MOST_TOKENS, "lower `count`, or the provider's `tokens`.");
    }
    Ok(())
}

/// There are not too many peers, those included that steps bring once more.
pub(super) fn peers(file: &Table<'_>, steps: &[Step], peers: &IndexMap<String, PeersSetup>) -> Read<()> {
    let waves = |name: &String| {
        let brings = |step: &&Step| matches!(&step.verb, Verb::PeersArrive { peers } if peers == name);
        steps.iter().filter(brings).count().max(1) as u64
    };
    let all: u64 = peers.iter().map(|(name, setup)| u64::from(setup.count) * waves(name)).sum();
    if all <= MOST_PEERS {
        return Ok(());
    }
    Err(Problem::at(file.span_of_key("peers").unwrap_or_default(), format!("there are {all} peers"))
        .label(format!("at most {MOST_PEERS}, all groups together and each as often as a step lets it in"))
        .help("lower `count`: whatever goes wrong with a thousand goes wrong with hundreds."))
}

/// A matrix has not too many cells.
pub(super) fn cells(axes: &[Axis<'_>], span: Range<usize>) -> Read<()> {
    let cells = axes.iter().fold(1_usize, |cells, axis| cells.saturating_mul(axis.values.len()));
    if cells <= MOST_CELLS {
        return Ok(());
    }
    Err(Problem::at(span, format!("the matrix has {cells} cells"))
        .label(format!("at most {MOST_CELLS}"))
        .help("leave out values, or make two files of it."))
}

/// An axis has some values, and not too many.
pub(super) fn axis_values(axis: &str, found: usize, span: Range<usize>) -> Read<()> {
    match found {
        0 => Err(Problem::at(span, format!("the axis `{axis}` has no values"))
            .label("no cell could be made")
            .help("list some, as in `[\"a\", \"b\"]`, or leave the axis out.")),
        1..=MOST_VALUES => Ok(()),
        _ => Err(Problem::at(span, format!("the axis `{axis}` has {found} values"))
            .label(format!("at most {MOST_VALUES}"))
            .help("leave some out, or make two files of it.")),
    }
}

fn at_most(most: usize, found: usize, what: &str, file: &Table<'_>) -> Read<()> {
    if found <= most {
        return Ok(());
    }
    Err(Problem::at(file.span_of_key(what).unwrap_or_default(), format!("there are {found} {what}"))
        .label(format!("at most {most}"))
        .help("a scenario that shows one thing needs few; many runs are made with `--seeds`."))
}

/// Somebody who asks at intervals does not ask too often.
pub(super) fn probes(table: &Table<'_>, every: Duration, storm_limit: Duration) -> Read<()> {
    // Onlookers stay for a minute after the storm.
    let longest = storm_limit + Duration::from_secs(60);
    let asked = longest.as_millis() / every.as_millis().max(1);
    if asked <= MOST_PROBES {
        return Ok(());
    }
    Err(Problem::at(table.span_of("every"), format!("this may ask {asked} times in one run"))
        .label(format!("at most {MOST_PROBES} times"))
        .help("make the interval longer, or lower `storm-limit` at the top of the file."))
}

/// A scheduled job does not run too often.
pub(super) fn scheduled(table: &Table<'_>, every: Duration, run: Duration) -> Read<()> {
    if every < SHORTEST_CRON {
        return Err(Problem::at(table.span_of("every"), "this job would run more than once a second")
            .label("at least a second")
            .help("make the interval longer, as in `every = \"1s\"`."));
    }
    let runs = run.as_millis() / every.as_millis().max(1);
    if runs <= MOST_CRON_RUNS {
        return Ok(());
    }
    Err(Problem::at(table.span_of("every"), format!("this job may run {runs} times"))
        .label(format!("at most {MOST_CRON_RUNS} times in one run"))
        .help("make the interval longer, or lower `storm-limit` or `settle` at the top of the file."))
}

/// There are not too many scheduled jobs.
pub(super) fn jobs(file: &Table<'_>, jobs: &IndexMap<String, CronSetup>) -> Read<()> {
    at_most(MOST_JOBS, jobs.len(), "cron", file)
}

/// A service that fails at every start is given up, or takes long enough for each.
pub(super) fn starts(table: &Table<'_>, supervisor: &Supervisor, run: Duration) -> Read<()> {
    let (key, slowest) = match supervisor {
        Supervisor::Systemd(unit) => {
            let burst = u128::from(unit.start_limit_burst);
            let counted = unit.start_limit_interval.as_micros().checked_div(burst).unwrap_or(0);
            ("restart-delay", unit.restart_delay.as_micros().max(counted))
        }
        Supervisor::Launchd(job) => ("throttle", job.throttle.as_micros()),
        Supervisor::Unsupported(plain) => ("restart-delay", plain.restart_delay.as_micros()),
        // A container is restarted more and more slowly, and a task a number of times.
        Supervisor::Container(_) | Supervisor::TaskScheduler(_) | Supervisor::None => return Ok(()),
    };
    match run.as_micros().checked_div(slowest) {
        Some(starts) if starts <= MOST_STARTS => Ok(()),
        starts => {
            let times = starts.map_or("without end".into(), |starts| format!("{starts} times"));
            let span = table.span_of_key(key).unwrap_or_else(|| table.span_of(key));
            let or_given_up = match supervisor {
                Supervisor::Systemd(_) => {
                    ", or let `start-limit-burst` and `start-limit-interval` give it up"
                }
                _ => "",
            };
            Err(Problem::at(span, format!("a service that cannot start would be started {times} in one run"))
                .label(format!("at most {MOST_STARTS} times"))
                .help(format!("raise `{key}`{or_given_up}.")))
        }
    }
}

/// A text that looks as if it were some message's would be taken for it.
pub(super) fn no_mark(text: &str) -> Result<(), String> {
    match MessageId::marked_in(text).first() {
        None => Ok(()),
        Some(message) => Err(format!("`{}` is the mark of a message", message.mark())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Scenario;
    use super::*;

    fn complaint(text: &str) -> Option<String> {
        Scenario::parse(Path::new("case.toml"), text).err().map(|error| error.to_string())
    }

    fn sends(count: u32, rest: &str) -> String {
        let step = |count| {
            format!("[[steps]]\nat = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"x\"\ncount = {count}\n")
        };
        format!("name = \"x\"\n[senders.ann]\n{rest}\n{}{}", step(count), step(1))
    }

    #[test]
    fn the_steps_share_one_bound_for_messages_and_tokens() {
        assert_eq!(complaint(&sends(9_999, "")), None);
        let too_many = "the steps do too much: 10001 messages";
        assert_eq!(complaint(&sends(10_000, "")).as_deref(), Some(too_many));
        assert_eq!(complaint(&sends(99, "[provider]\ntokens = 10000")), None);
        assert!(complaint(&sends(100, "[provider]\ntokens = 10000")).is_some());
    }

    #[test]
    fn the_steps_share_one_bound_for_tools() {
        let step =
            "[[steps]]\nat = \"1s\"\ndo = \"run-tool\"\nsession-of = \"ann\"\nlabel = \"x\"\ncount = 60\n";
        let file = |steps: usize| complaint(&format!("name = \"x\"\n[senders.ann]\n{}", step.repeat(steps)));
        assert_eq!(file(1), None);
        assert_eq!(file(2).as_deref(), Some("the steps do too much: 120 command-line tools"));
    }

    #[test]
    fn a_service_that_cannot_start_is_given_up_or_slow() {
        let unit = |unit: &str| complaint(&format!("name = \"x\"\n[gateway.supervisor]\n{unit}"));
        assert_eq!(unit("restart-delay = \"0s\""), None);
        assert_eq!(unit("restart-delay = \"100ms\"\nstart-limit-burst = 0"), None);
        assert_eq!(
            unit("restart-delay = \"0s\"\nstart-limit-burst = 0").as_deref(),
            Some("a service that cannot start would be started without end in one run")
        );
        assert_eq!(
            unit("restart-delay = \"1ms\"\nstart-limit-interval = \"0s\"").as_deref(),
            Some("a service that cannot start would be started 1800000 times in one run")
        );
        assert!(unit("restart-delay = \"0s\"\nstart-limit-interval = \"1ms\"").is_some());
        assert_eq!(unit("kind = \"launchd\"\nthrottle = \"100ms\""), None);
        assert!(unit("kind = \"launchd\"\nthrottle = \"1ms\"").is_some());
        assert!(unit("kind = \"unsupported\"\nrestart-delay = \"1ms\"").is_some());
    }

    #[test]
    fn onlookers_ask_a_bounded_number_of_times() {
        let probe = |limit: &str| {
            complaint(&format!("name = \"x\"\nstorm-limit = \"{limit}\"\n[probe]\nevery = \"1ms\"\n"))
        };
        assert_eq!(probe("10m"), None);
        assert!(probe("1h").is_some());
    }

    #[test]
    fn a_file_that_does_not_end_is_refused() {
        let endless = read_file(Path::new("/dev/zero")).expect_err("endless");
        assert_eq!(endless.to_string(), "it is longer than 1 MiB");
    }
}
