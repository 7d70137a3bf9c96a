//! The floor: the workload's conversations on plain paused tokio, as channels and timers.
//!
//! The same messages at the same instants, the same pauses of the model, the same pieces of each answer, and a timer
//! for every packet on its way; senders, the gateway's lanes and the provider are one task each. Nothing else: no
//! HTTP, WebSocket or JSON, no files, locks or log records, no supervisor and no restart, and nobody judges. What a
//! simulated life costs beyond this is the life. It knows `send` steps at fixed instants.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gatesim::scenario::Scenario;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::umbrella::{Sends, sends_of};

/// What travels: so many bytes are of no interest here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packet {
    Message,
    Acknowledgement,
    Piece,
    LastPiece,
}

/// Plays `scenario` for `duration` of virtual time; how many answers arrived.
///
/// # Errors
/// A scenario with steps that the floor does not know.
pub(super) fn play(scenario: &Scenario, duration: Duration) -> turmoil::Result<u32> {
    let sends: Vec<Vec<Sends>> =
        scenario.senders.keys().map(|sender| sends_of(scenario, sender)).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let answers = Rc::new(Cell::new(0));
    runtime.block_on(LocalSet::new().run_until(async {
        let latency = scenario.network.latency.min;
        for sends in sends {
            let (to_gateway, from_sender) = wire(latency);
            let (to_sender, from_gateway) = wire(latency);
            let (to_provider, from_lane) = wire(latency);
            let (to_lane, from_provider) = wire(latency);
            spawn_local(send(sends, to_gateway));
            spawn_local(count_answers(from_gateway, answers.clone()));
            spawn_local(lane(from_sender, to_sender, to_provider, from_provider));
            let (first, pause) = (scenario.provider.first_token.min, scenario.provider.token_interval);
            spawn_local(answer(from_lane, to_lane, first, pause, scenario.provider.tokens));
        }
        sleep(duration).await;
    }));
    Ok(answers.get())
}

/// One direction of a connection: every packet arrives after the delay of the link.
fn wire(latency: Duration) -> (UnboundedSender<Packet>, UnboundedReceiver<Packet>) {
    let (near, mut written) = unbounded_channel();
    let (deliver, far) = unbounded_channel();
    spawn_local(async move {
        while let Some(packet) = written.recv().await {
            sleep(latency).await;
            // Who has left hears nothing any more.
            let _ = deliver.send(packet);
        }
    });
    (near, far)
}

async fn send(sends: Vec<Sends>, to_gateway: UnboundedSender<Packet>) {
    let began = Instant::now();
    for sends in sends {
        for number in 0..sends.count {
            sleep_until(began + sends.at + sends.every * number).await;
            let _ = to_gateway.send(Packet::Message);
        }
    }
}

async fn count_answers(mut from_gateway: UnboundedReceiver<Packet>, answers: Rc<Cell<u32>>) {
    while let Some(packet) = from_gateway.recv().await {
        answers.set(answers.get() + u32::from(packet == Packet::LastPiece));
    }
}

/// One conversation: each message is acknowledged, and the model asked about one after the other.
async fn lane(
    mut from_sender: UnboundedReceiver<Packet>,
    to_sender: UnboundedSender<Packet>,
    to_provider: UnboundedSender<Packet>,
    mut from_provider: UnboundedReceiver<Packet>,
) {
    while let Some(message) = from_sender.recv().await {
        let _ = to_sender.send(Packet::Acknowledgement);
        let _ = to_provider.send(message);
        while let Some(piece) = from_provider.recv().await {
            let _ = to_sender.send(piece);
            if piece == Packet::LastPiece {
                break;
            }
        }
    }
}

async fn answer(
    mut from_lane: UnboundedReceiver<Packet>,
    to_lane: UnboundedSender<Packet>,
    first: Duration,
    pause: Duration,
    pieces: u32,
) {
    while from_lane.recv().await.is_some() {
        sleep(first).await;
        for _ in 1..pieces {
            let _ = to_lane.send(Packet::Piece);
            sleep(pause).await;
        }
        let _ = to_lane.send(Packet::LastPiece);
    }
}
