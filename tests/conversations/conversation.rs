//! A random conversation: who writes what on which channel, how their platforms are, and how the gateway dies.
//!
//! Values are kept as numbers and words so that the shrinker can make them smaller; its text is a scenario file.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

/// Who writes, on which channel.
const SENDERS: [(&str, &str); 4] = [
    ("ann", "kind = \"retrying\""),
    ("tom", "channel = \"telegram\""),
    ("fei", "channel = \"feishu\"\naccount = \"one\""),
    ("fay", "channel = \"feishu\"\naccount = \"two\""),
];

/// Events that a death may follow: moments in the life of a message, of a text and of a process.
const ANCHORS: [&str; 20] = [
    "message.sent",
    "update.handed-out",
    "inbox.recorded",
    "message.accepted",
    "run.started",
    "provider.requested",
    "provider.answered",
    "outbox.queued",
    "send.taken",
    "send.answered",
    "send.refused",
    "delivery.sent",
    "delivery.unknown",
    "reply.received",
    "drain.started",
    "shutdown.started",
    "process.exited",
    "recovery.finished",
    "bot.connected",
    "notice.received",
];

/// One case, and the seed it is run with.
#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) seed: u64,
    first_token_ms: u32,
    latency_ms: u32,
    redeliver_s: u32,
    new_ids: u32,
    sends: Vec<Send>,
    troubles: Vec<(Moment, Trouble)>,
    deaths: Vec<(Moment, Death)>,
}

#[derive(Clone, Debug)]
struct Send {
    at_ms: u32,
    from: usize,
    count: u32,
}

#[derive(Clone, Debug)]
enum Moment {
    At(u32),
    After(&'static str, u32, u32),
}

#[derive(Clone, Debug)]
enum Death {
    Signal(&'static str),
    Kill,
    Freeze(u32),
    PowerLoss(u32),
    CrashAt(&'static str, u32, &'static str),
    ServiceRestart,
}

/// What is wrong with a platform.
#[derive(Clone, Debug)]
enum Trouble {
    Down(&'static str, &'static str, u32),
    Slow(&'static str, u32, u32),
    Limits(&'static str, u32),
    CutsLine(&'static str, u32, u32),
    AcknowledgesLate(&'static str, u32, u32),
    Partition(u32),
}

/// Any conversation.
pub(super) fn conversation() -> impl Strategy<Value = Conversation> {
    let send = (500..20_000u32, 0..SENDERS.len(), 1..4u32);
    let send = send.prop_map(|(at_ms, from, count)| Send { at_ms, from, count });
    (
        any::<u32>().prop_map(u64::from),
        (0..4_000u32, 0..400u32, 1..30u32, prop_oneof![Just(0), Just(100), 0..100u32]),
        vec(send, 1..=6),
        vec((moment(), trouble()), 0..=2),
        vec((moment(), death()), 1..=3),
    )
        .prop_map(
            |(seed, (first_token_ms, latency_ms, redeliver_s, new_ids), sends, troubles, deaths)| {
                Conversation {
                    seed,
                    first_token_ms,
                    latency_ms,
                    redeliver_s,
                    new_ids,
                    sends,
                    troubles,
                    deaths,
                }
            },
        )
}

fn moment() -> impl Strategy<Value = Moment> {
    let after_ms = prop_oneof![2 => Just(0), 2 => 0..100u32, 1 => 0..3_000u32];
    prop_oneof![
        1 => (0..25_000u32).prop_map(Moment::At),
        3 => (prop::sample::select(&ANCHORS[..]), 1..5u32, after_ms)
            .prop_map(|(anchor, nth, after_ms)| Moment::After(anchor, nth, after_ms)),
    ]
}

fn death() -> impl Strategy<Value = Death> {
    let file = prop_oneof![Just("*"), Just("inbox.jsonl*"), Just("outbox.jsonl*"), Just("sessions/*.jsonl")];
    let death = prop_oneof![Just("kill"), Just("power-loss")];
    prop_oneof![
        3 => prop_oneof![Just("SIGTERM"), Just("SIGUSR1"), Just("SIGINT")].prop_map(Death::Signal),
        2 => Just(Death::Kill),
        1 => (1..40_000u32).prop_map(Death::Freeze),
        2 => (1..20_000u32).prop_map(Death::PowerLoss),
        2 => (file, 1..30u32, death).prop_map(|(file, call, death)| Death::CrashAt(file, call, death)),
        1 => Just(Death::ServiceRestart),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let platform = || prop_oneof![Just("telegram"), Just("feishu")];
    let how = prop_oneof![Just("refuses"), Just("fails")];
    let lasting = || 1..60_000u32;
    prop_oneof![
        (platform(), how, lasting()).prop_map(|(platform, how, ms)| Trouble::Down(platform, how, ms)),
        (platform(), 1..12_000u32, lasting()).prop_map(|(platform, by, ms)| Trouble::Slow(platform, by, ms)),
        (platform(), lasting()).prop_map(|(platform, ms)| Trouble::Limits(platform, ms)),
        (platform(), 1..4u32, 1..4u32)
            .prop_map(|(platform, from, sends)| Trouble::CutsLine(platform, from, sends)),
        (platform(), 1..60_000u32, lasting())
            .prop_map(|(platform, by, ms)| Trouble::AcknowledgesLate(platform, by, ms)),
        lasting().prop_map(Trouble::Partition),
    ]
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_token_ms, latency_ms, redeliver_s, new_ids, .. } = self;
        writeln!(f, "name = \"A random conversation, for seed {}\"\n", self.seed)?;
        writeln!(f, "[provider]\nfirst-token = \"{first_token_ms}ms\"\n")?;
        writeln!(f, "[platforms.telegram]\nlatency = \"0ms..{latency_ms}ms\"\n")?;
        writeln!(f, "[platforms.feishu]\nlatency = \"0ms..{latency_ms}ms\"")?;
        writeln!(f, "redeliver-after = \"{redeliver_s}s\"\nnew-ids = {new_ids}")?;
        for (name, talks) in SENDERS {
            writeln!(f, "\n[senders.{name}]\n{talks}")?;
        }
        for Send { at_ms, from, count } in &self.sends {
            let (from, _) = SENDERS[*from];
            writeln!(
                f,
                "\n[[steps]]\nat = \"{at_ms}ms\"\ndo = \"send\"\nfrom = \"{from}\"\ntext = \"hello\""
            )?;
            if *count > 1 {
                writeln!(f, "count = {count}\nevery = \"300ms\"")?;
            }
        }
        self.troubles.iter().try_for_each(|(moment, trouble)| write!(f, "\n[[steps]]\n{moment}{trouble}"))?;
        self.deaths.iter().try_for_each(|(moment, death)| write!(f, "\n[[steps]]\n{moment}{death}"))
    }
}

/// As a failing case is shown.
impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(ms) => writeln!(f, "at = \"{ms}ms\""),
            Self::After(event, nth, ms) => writeln!(f, "on = \"{event}\"\nnth = {nth}\nafter = \"{ms}ms\""),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => writeln!(f, "do = \"signal\"\nsignal = \"{signal}\""),
            Self::Kill => writeln!(f, "do = \"kill\""),
            Self::Freeze(ms) => writeln!(f, "do = \"freeze\"\nfor = \"{ms}ms\""),
            Self::PowerLoss(ms) => writeln!(f, "do = \"power-loss\"\noff-for = \"{ms}ms\""),
            Self::CrashAt(file, call, death) => {
                writeln!(f, "do = \"crash-at\"\nfile = \"{file}\"\nfrom-call = {call}\ndeath = \"{death}\"")
            }
            Self::ServiceRestart => writeln!(f, "do = \"service-restart\""),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(platform, how, ms) => {
                writeln!(
                    f,
                    "do = \"platform-down\"\nplatform = \"{platform}\"\nhow = \"{how}\"\nfor = \"{ms}ms\""
                )
            }
            Self::Slow(platform, by, ms) => {
                writeln!(
                    f,
                    "do = \"platform-slow\"\nplatform = \"{platform}\"\nby = \"{by}ms\"\nfor = \"{ms}ms\""
                )
            }
            Self::Limits(platform, ms) => {
                writeln!(f, "do = \"platform-limits\"\nplatform = \"{platform}\"\nfor = \"{ms}ms\"")
            }
            Self::CutsLine(platform, from, sends) => writeln!(
                f,
                "do = \"platform-cuts-line\"\nplatform = \"{platform}\"\nfrom-send = {from}\nsends = {sends}"
            ),
            Self::AcknowledgesLate(platform, by, ms) => writeln!(
                f,
                "do = \"platform-acknowledges-late\"\nplatform = \"{platform}\"\nby = \"{by}ms\"\nfor = \"{ms}ms\""
            ),
            Self::Partition(ms) => {
                writeln!(f, "do = \"partition\"\nbetween = [\"gateway\", \"platforms\"]\nfor = \"{ms}ms\"")
            }
        }
    }
}
