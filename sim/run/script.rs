//! The script: each step waits for its moment and is played; what never had its moment is said.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::cast::Senders;
use super::near_misses;
use super::peers::{self, Groups};
use super::platforms::{self, Platforms};
use super::stage::Stage;
use crate::actors::provider::Mood;
use crate::actors::rude::PeersCommand;
use crate::actors::webchat::SenderCommand;
use crate::scenario::{Anchor, Crash, DiskTrouble, DurationRange, Hold, Scenario, Step, Verb, When};
use crate::timeline::words::ordinal;
use crate::timeline::{Errand, Event, Fact, Source};
use crate::world::World;
use crate::world::disk::path_matches;

/// Whom a script can tell what to do, beside the gateway.
pub(super) struct Cast {
    pub(super) senders: Senders,
    pub(super) provider: Mood,
    pub(super) groups: Groups,
    pub(super) platforms: Option<Platforms>,
}

/// A script that is being played.
pub(super) struct Script {
    world: World,
    began: Instant,
    steps: Vec<Armed>,
    told_to_send: Rc<RefCell<BTreeMap<String, u32>>>,
}

/// What came of a script.
pub(super) struct Storm {
    /// Steps that never happened, in words.
    pub(super) unplayed: Vec<String>,
    /// How many messages each sender was told to send.
    pub(super) told_to_send: BTreeMap<String, u32>,
}

/// How far a step has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Played {
    /// Its moment has not come.
    Waiting,
    /// It had its moment, and waits to meet something, without which it is no evidence: what is true till then.
    Begun(&'static str),
    /// It had its moment.
    Done,
    /// It had its moment and could not be done, for a reason.
    Failed(String),
}

/// What a step says of itself while it is being played.
pub(super) struct Progress(Rc<RefCell<Played>>);

impl Progress {
    /// The step waits to meet something; `without` says of it, in a few words, that it did not.
    pub(super) fn begun(&self, without: &'static str) {
        self.0.replace(Played::Begun(without));
    }

    /// The step has met what it waited for.
    pub(super) fn done(&self) {
        self.0.replace(Played::Done);
    }
}

/// A step on its way.
struct Armed {
    step: Step,
    /// What a platform calls the conversation that its events are to be of.
    chat: Option<String>,
    played: Rc<RefCell<Played>>,
    task: JoinHandle<()>,
}

/// A step's moment, drawn and subscribed to before anything happens.
enum Moment {
    At(Instant),
    After(oneshot::Receiver<()>, Duration),
}

impl Script {
    /// Arms every step. Anchors count the events of the world from its beginning.
    pub(super) fn begin(stage: &Stage, scenario: &Scenario, cast: Cast) -> Self {
        let Cast { senders, provider, groups, platforms } = cast;
        let began = Instant::now();
        let told_to_send = Rc::<RefCell<BTreeMap<String, u32>>>::default();
        let groups = Rc::new(groups);
        let chats = Rc::new(platforms::chats(scenario));
        let steps = scenario.steps.iter().map(|step| {
            let moment = moment(&stage.world, began, &step.when, &chats);
            let drawn = draw_numbers(&stage.world, &step.verb);
            let played = Rc::new(RefCell::new(Played::Waiting));
            let player = Player {
                stage: stage.clone(),
                sender: sender_of(&step.verb).and_then(|name| senders.get(name)).cloned(),
                groups: groups.clone(),
                platforms: platforms.clone(),
                provider: provider.clone(),
                port: scenario.gateway.port,
                verb: step.verb.clone(),
                drawn,
                told_to_send: told_to_send.clone(),
                progress: Progress(played.clone()),
            };
            let outcome = played.clone();
            let task = stage.world.spawn(async move {
                if moment.comes().await {
                    // It has begun: whatever cuts it off now, its moment did come.
                    outcome.replace(Played::Done);
                    if let Err(why) = player.play().await {
                        outcome.replace(Played::Failed(why));
                    }
                }
            });
            Armed { step: step.clone(), chat: chat_of(&step.when, &chats), played, task }
        });
        Self { world: stage.world.clone(), began, steps: steps.collect(), told_to_send }
    }

    /// Plays until every step is done, or until the limit; says which steps never happened and what the senders
    /// were told to send.
    pub(super) async fn storm(self, limit: Duration) -> Storm {
        let deadline = self.began + limit;
        let mut unplayed = Vec::new();
        for Armed { step, chat, played, mut task } in self.steps {
            let in_time = timeout_at(deadline, &mut task).await.is_ok();
            if !in_time && *played.borrow() == Played::Waiting {
                // Its moment may yet come, while the world calms down; nothing is done to the gateway then.
                task.abort();
            }
            if step.is_repeat {
                continue;
            }
            let what = describe(&step);
            match &*played.borrow() {
                Played::Waiting if in_time => {}
                Played::Waiting => {
                    let (moment, limit) = (moment_words(&step.when), humantime::format_duration(limit));
                    let near =
                        self.world.recorder().with_events(|events| near_miss(events, &step, chat.as_deref()));
                    unplayed.push(format!(
                        "{what} never happened: its moment, {moment}, did not come within {limit}{near}"
                    ));
                }
                Played::Failed(why) => unplayed.push(format!("{what} could not be done: {why}")),
                Played::Begun(without) => {
                    let near =
                        self.world.recorder().with_events(|events| near_misses::of_calls(events, &step.verb));
                    let near = near.map_or_else(String::new, |near| format!("; {near}"));
                    unplayed.push(format!("{what} {without}{near}"));
                }
                Played::Done => {}
            }
        }
        Storm { unplayed, told_to_send: self.told_to_send.take() }
    }
}

/// What came close to the moment of a step, in words that follow others.
fn near_miss(events: &[Event], step: &Step, chat: Option<&str>) -> String {
    match &step.when {
        When::At(_) => String::new(),
        When::On(anchor) => format!("; {}", near_misses::of_anchor(events, anchor, chat)),
    }
}

fn chat_of(when: &When, chats: &BTreeMap<String, String>) -> Option<String> {
    match when {
        When::At(_) => None,
        When::On(anchor) => anchor.of.as_ref().and_then(|of| chats.get(of)).cloned(),
    }
}

fn describe(step: &Step) -> String {
    format!("the step \"{}\" (line {})", step.label, step.line)
}

/// The moment of a step in words: `run.started of ann, then 1s..5s`.
fn moment_words(when: &When) -> String {
    let Anchor { event, nth, of, path, after } = match when {
        When::At(range) => return range.to_string(),
        When::On(anchor) => anchor,
    };
    let mut words = event.clone();
    if *nth > 1 {
        words.push_str(&format!(" for the {} time", ordinal(*nth)));
    }
    words.extend(of.iter().map(|of| format!(" of {of}")));
    words.extend(path.iter().map(|path| format!(" on {path}")));
    if !after.max.is_zero() {
        words.push_str(&format!(", then {after}"));
    }
    words
}

fn moment(world: &World, began: Instant, when: &When, chats: &Rc<BTreeMap<String, String>>) -> Moment {
    match when {
        When::At(range) => Moment::At(began + draw(world, range)),
        When::On(Anchor { event, nth, of, path, after }) => {
            let (event, of, path) = (event.clone(), of.clone(), path.clone());
            let chat = of.as_ref().and_then(|of| chats.get(of)).cloned();
            let matches = move |happened: &Event| {
                happened.fact.name() == event
                    && of.as_ref().is_none_or(|of| is_of(happened, of, chat.as_deref()))
                    && path.as_ref().is_none_or(|path| is_on(happened, path))
            };
            Moment::After(nth_event(world, *nth, matches), draw(world, after))
        }
    }
}

/// Resolves when the `nth` event that `matches` has been recorded since the world began: the first start lies
/// before the script.
fn nth_event(world: &World, nth: u32, matches: impl Fn(&Event) -> bool + 'static) -> oneshot::Receiver<()> {
    let seen = world.recorder().with_events(|events| events.iter().filter(|event| matches(event)).count());
    match u32::try_from(seen) {
        Ok(seen) if seen < nth => world.recorder().nth_event(nth - seen, matches),
        _ => {
            let (wake, moment) = oneshot::channel();
            // Its receiver is right here.
            let _ = wake.send(());
            moment
        }
    }
}

/// Whether an event is a sender's or a group's, or about one of its messages. Log records name its session, which ends with
/// its name, or with what its platform calls their conversation, its `chat`.
pub(super) fn is_of(event: &Event, sender: &str, chat: Option<&str>) -> bool {
    let is_source = matches!(&event.source, Source::Sender(name) | Source::Peers(name) if name == sender);
    let is_session = match &event.fact {
        Fact::Log { record, .. } => {
            record.field("session").and_then(|session| session.rsplit(':').next())
                == Some(chat.unwrap_or(sender))
        }
        _ => false,
    };
    is_source || is_session || event.fact.message().is_some_and(|message| message.sender == sender)
}

/// Whether an event is an operation on a file that matches a pattern.
pub(super) fn is_on(event: &Event, pattern: &str) -> bool {
    matches!(&event.fact, Fact::Disk { path, .. } if path_matches(pattern, path))
}

fn draw(world: &World, range: &DurationRange) -> Duration {
    world.rng("script").with(|rng| range.draw(rng))
}

/// What the seed decides of a step: how long it lasts or how far it goes, and which call it is about.
#[derive(Clone, Copy)]
struct Drawn {
    lasting: Duration,
    patience: Duration,
    from_call: u32,
}

/// Drawn before anything happens, so that no event shifts the draws.
fn draw_numbers(world: &World, verb: &Verb) -> Drawn {
    let lasting = match verb {
        Verb::Send { spawns: 1.., child_takes, .. } => Some(child_takes),
        Verb::Freeze { lasting, .. }
        | Verb::PortLingers { lasting }
        | Verb::Partition { lasting, .. }
        | Verb::Suspend { lasting }
        | Verb::NameUnknown { lasting, .. }
        | Verb::SquatPort { lasting, .. }
        | Verb::PowerLoss { off_for: lasting } => Some(lasting),
        Verb::ProviderTrouble(trouble) => Some(trouble.lasting()),
        Verb::DiskFault(trouble) => trouble.lasting.as_ref(),
        Verb::CrashAt(crash) => Some(&crash.off_for),
        Verb::ClockJump { by, .. } => Some(by),
        Verb::SquatLock(squat) => Some(&squat.lasting),
        Verb::LeaveLock(left) => Some(&left.age),
        Verb::EditConfig(edit) => edit.half_first.as_ref(),
        Verb::PlatformTrouble(trouble) => match trouble.hold() {
            Hold::For(lasting) => Some(lasting),
            Hold::Open => None,
        },
        _ => None,
    };
    let patience = match verb {
        Verb::SquatLock(squat) => Some(&squat.patience),
        Verb::SquatPort { patience, .. } => Some(patience),
        _ => None,
    };
    let drawn = |range: Option<&DurationRange>| range.map_or(Duration::ZERO, |range| draw(world, range));
    let (lasting, patience) = (drawn(lasting), drawn(patience));
    let from_call = match verb {
        Verb::DiskFault(DiskTrouble { calls, .. }) | Verb::CrashAt(Crash { calls, .. }) => {
            world.rng("script").with(|rng| calls.from_call.draw(rng))
        }
        verb => {
            platforms::counted_from(verb).map_or(1, |range| world.rng("script").with(|rng| range.draw(rng)))
        }
    };
    Drawn { lasting, patience, from_call }
}

impl Moment {
    /// Waits for the moment; `false` when the world ends first.
    async fn comes(self) -> bool {
        match self {
            Self::At(instant) => sleep_until(instant).await,
            Self::After(event, after) => {
                if event.await.is_err() {
                    return false;
                }
                if !after.is_zero() {
                    sleep(after).await;
                }
            }
        }
        true
    }
}

fn sender_of(verb: &Verb) -> Option<&str> {
    match verb {
        Verb::Send { from, .. } | Verb::Abort { from } => Some(from),
        _ => None,
    }
}

/// Plays one step.
struct Player {
    stage: Stage,
    /// Held for as long as the step may need it: a sender whose last step is over may leave.
    sender: Option<mpsc::UnboundedSender<SenderCommand>>,
    groups: Rc<Groups>,
    platforms: Option<Platforms>,
    provider: Mood,
    port: u16,
    verb: Verb,
    drawn: Drawn,
    told_to_send: Rc<RefCell<BTreeMap<String, u32>>>,
    progress: Progress,
}

impl Player {
    async fn play(self) -> Result<(), String> {
        let (stage, port, progress) = (&self.stage, self.port, &self.progress);
        let Drawn { lasting, patience, from_call } = self.drawn;
        match &self.verb {
            Verb::Send { from, text, count, every, spawns: 0, .. } => {
                self.send(from, text, *count, *every).await
            }
            Verb::Send { from, text, count, every, spawns, .. } => {
                let errand = Errand { spawns: *spawns, takes: lasting };
                self.send(from, &format!("{text} {}", errand.mark()), *count, *every).await
            }
            Verb::Abort { from } => self.tell(from, SenderCommand::Abort),
            Verb::Signal { signal, process } => stage.signal(*process, port, *signal),
            Verb::Kill { process } => stage.kill(*process, port),
            Verb::Freeze { process, .. } => stage.freeze(*process, port, lasting).await,
            Verb::PortLingers { .. } => stage.linger_ports(lasting),
            Verb::PowerLoss { .. } => stage.power_loss(lasting).await,
            Verb::Partition { between: (a, b), .. } => stage.partition(*a, *b, lasting).await,
            Verb::Suspend { .. } => stage.suspend(lasting).await,
            Verb::NameUnknown { machine, .. } => stage.hide_name(*machine, lasting).await,
            Verb::ServiceStop => stage.service_stop(),
            Verb::ServiceStart => stage.service_start(),
            Verb::ServiceRestart => stage.service_restart(),
            Verb::ReloadService => stage.reload_service(),
            Verb::StartSecondInstance => stage.start_second_instance(),
            Verb::RunTool { session_of, label, count, every } => {
                stage.run_tools(session_of, label, *count, *every).await
            }
            Verb::AskForRestart(ask) => stage.ask_for_restarts(ask).await,
            Verb::EditConfig(edit) => stage.edit_config(edit, lasting).await,
            Verb::CorruptState { file, text } => stage.corrupt_state(file, text),
            Verb::DiskFault(trouble) => stage.disk_fault(trouble, from_call, lasting, progress).await,
            Verb::CrashAt(crash) => stage.crash_at(crash, from_call, lasting, progress).await,
            Verb::ClockJump { direction, .. } => stage.clock_jump(lasting, *direction),
            Verb::SquatLock(squat) => stage.squat_lock(&squat.lock, patience, lasting, progress).await,
            Verb::SquatPort { .. } => stage.squat_port(port, patience, lasting, progress).await,
            Verb::ProviderTrouble(trouble) => stage.trouble_provider(&self.provider, trouble, lasting).await,
            Verb::LeaveLock(left) => stage.leave_lock(&left.lock, left.owner, lasting, port),
            Verb::PlatformTrouble(trouble) => {
                let platforms = self.platforms.as_ref();
                stage.trouble_platform(platforms, trouble, from_call, lasting, progress).await
            }
            Verb::PeersArrive { peers } => self.tell_peers(peers, PeersCommand::Arrive),
            Verb::PeersLeave { peers } => self.tell_peers(peers, PeersCommand::Leave),
            Verb::PeersReset { peers } => self.tell_peers(peers, PeersCommand::Reset),
        }
    }

    async fn send(&self, from: &str, text: &str, count: u32, every: Duration) -> Result<(), String> {
        for number in 0..count {
            if number > 0 {
                sleep(every).await;
            }
            self.tell(from, SenderCommand::Send { text: text.to_string() })?;
            *self.told_to_send.borrow_mut().entry(from.to_string()).or_default() += 1;
        }
        Ok(())
    }

    fn tell_peers(&self, name: &str, command: PeersCommand) -> Result<(), String> {
        peers::tell(&self.stage.world, &self.groups, name, command)
    }

    fn tell(&self, sender: &str, command: SenderCommand) -> Result<(), String> {
        let tell = self.sender.as_ref().ok_or_else(|| format!("there is no sender {sender}"))?;
        tell.send(command).map_err(|_| format!("{sender} has left for good"))
    }
}
