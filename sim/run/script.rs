//! The script: each step waits for its moment and is played; what never had its moment is said.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::cast::Senders;
use super::stage::Stage;
use crate::actors::webchat::SenderCommand;
use crate::scenario::{Anchor, DurationRange, Scenario, Step, Verb, When};
use crate::timeline::{Event, Fact, Source};
use crate::world::World;

/// A script that is being played.
pub(super) struct Script {
    began: Instant,
    steps: Vec<(String, Rc<RefCell<Played>>, JoinHandle<()>)>,
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
    /// It had its moment.
    Done,
    /// It had its moment and could not be done, for a reason.
    Failed(String),
}

/// A step's moment, drawn and subscribed to before anything happens.
enum Moment {
    At(Instant),
    After(oneshot::Receiver<()>, Duration),
}

impl Script {
    /// Arms every step. Anchors count the events of the world from its beginning.
    pub(super) fn begin(stage: &Stage, scenario: &Scenario, senders: Senders) -> Self {
        let began = Instant::now();
        let told_to_send = Rc::<RefCell<BTreeMap<String, u32>>>::default();
        let steps = scenario.steps.iter().map(|step| {
            let moment = moment(&stage.world, began, &step.when);
            let lasting = draw_lasting(&stage.world, &step.verb);
            let played = Rc::new(RefCell::new(Played::Waiting));
            let player = Player {
                stage: stage.clone(),
                sender: sender_of(&step.verb).and_then(|name| senders.get(name)).cloned(),
                port: scenario.gateway.port,
                verb: step.verb.clone(),
                lasting,
                told_to_send: told_to_send.clone(),
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
            (describe(step), played, task)
        });
        Self { began, steps: steps.collect(), told_to_send }
    }

    /// Plays until every step is done, or until the limit; says which steps never happened and what the senders
    /// were told to send.
    pub(super) async fn storm(self, limit: Duration) -> Storm {
        let deadline = self.began + limit;
        let mut unplayed = Vec::new();
        for (what, played, task) in self.steps {
            if timeout_at(deadline, task).await.is_err() && *played.borrow() == Played::Waiting {
                unplayed.push(format!("{what} never happened: its moment did not come within {limit:?}"));
                continue;
            }
            if let Played::Failed(why) = &*played.borrow() {
                unplayed.push(format!("{what} could not be done: {why}"));
            }
        }
        Storm { unplayed, told_to_send: self.told_to_send.take() }
    }
}

fn describe(step: &Step) -> String {
    format!("the step \"{}\" (line {})", step.label, step.line)
}

fn moment(world: &World, began: Instant, when: &When) -> Moment {
    match when {
        When::At(range) => Moment::At(began + draw(world, range)),
        When::On(Anchor { event, nth, of, after }) => {
            let (event, of) = (event.clone(), of.clone());
            let matches = move |happened: &Event| {
                happened.fact.name() == event && of.as_ref().is_none_or(|of| is_of(happened, of))
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

/// Whether an event is a sender's, or about one of its messages. Log records name its session, which ends with
/// its name.
fn is_of(event: &Event, sender: &str) -> bool {
    let is_source = matches!(&event.source, Source::Sender(name) if name == sender);
    let is_session = match &event.fact {
        Fact::Log { record, .. } => {
            record.field("session").and_then(|session| session.rsplit(':').next()) == Some(sender)
        }
        _ => false,
    };
    is_source || is_session || event.fact.message().is_some_and(|message| message.sender == sender)
}

fn draw(world: &World, range: &DurationRange) -> Duration {
    world.rng("script").with(|rng| range.draw(rng))
}

/// The duration of a step that lasts, drawn before anything happens so that no event shifts the draws.
fn draw_lasting(world: &World, verb: &Verb) -> Duration {
    match verb {
        Verb::Freeze { lasting } | Verb::Partition { lasting, .. } | Verb::PowerLoss { off_for: lasting } => {
            draw(world, lasting)
        }
        _ => Duration::ZERO,
    }
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
    port: u16,
    verb: Verb,
    lasting: Duration,
    told_to_send: Rc<RefCell<BTreeMap<String, u32>>>,
}

impl Player {
    async fn play(self) -> Result<(), String> {
        let (stage, port) = (&self.stage, self.port);
        match &self.verb {
            Verb::Send { from, text, count, every } => self.send(from, text, *count, *every).await,
            Verb::Abort { from } => self.tell(from, SenderCommand::Abort),
            Verb::Signal(signal) => stage.signal(port, *signal),
            Verb::Kill => stage.kill(port),
            Verb::Freeze { .. } => stage.freeze(port, self.lasting).await,
            Verb::PowerLoss { .. } => stage.power_loss(self.lasting).await,
            Verb::Partition { between: (a, b), .. } => stage.partition(*a, *b, self.lasting).await,
            Verb::ServiceStop => stage.service_stop(),
            Verb::ServiceStart => stage.service_start(),
            Verb::ServiceRestart => stage.service_restart(),
            Verb::StartSecondInstance => stage.start_second_instance(),
            Verb::RunTool { session_of, label, count, every } => {
                stage.run_tools(session_of, label, *count, *every).await
            }
            Verb::WriteConfig { text } => stage.write_config(text),
            Verb::CorruptState { file, text } => stage.corrupt_state(file, text),
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

    fn tell(&self, sender: &str, command: SenderCommand) -> Result<(), String> {
        let tell = self.sender.as_ref().ok_or_else(|| format!("there is no sender {sender}"))?;
        tell.send(command).map_err(|_| format!("{sender} has left for good"))
    }
}
