//! Two processes in a simulated world: an actor, and the scripted peer it meets.

use std::time::Duration;

use gateway::env::{Env, ExitCode};
use tokio::time::sleep;

use crate::actors::GATEWAY_HOST;
use crate::timeline::{DeathCause, Event, EventHash, Fact, Recorder, Source};
use crate::world::{World, WorldSettings};

/// The port of the scripted gateway.
pub(super) const PORT: u16 = 18789;
/// The machine that the actor under test runs on.
pub(super) const ACTOR_HOST: &str = "actor";

/// Runs `peer` on the gateway's machine and `actor` on another one for so long. What the actor recorded, a line
/// for each event.
///
/// # Panics
/// When one of the two panicked.
pub(super) fn play<F, G>(
    length: Duration,
    peer: impl FnOnce(Env) -> F + 'static,
    actor: impl FnOnce(Env, Recorder) -> G + 'static,
) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
{
    play_hashed(length, peer, actor).0
}

/// As [`play`], with the hash over everything that happened.
pub(super) fn play_hashed<F, G>(
    length: Duration,
    peer: impl FnOnce(Env) -> F + 'static,
    actor: impl FnOnce(Env, Recorder) -> G + 'static,
) -> (Vec<String>, EventHash)
where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
{
    World::run(WorldSettings::seeded(7), async |world| {
        for machine in [GATEWAY_HOST, ACTOR_HOST] {
            world.add_machine(machine).expect("two names");
        }
        let recorder = world.recorder().clone();
        world
            .start_process(GATEWAY_HOST, "scripted peer", |env| {
                Box::pin(async move {
                    peer(env).await;
                    ExitCode::CLEAN
                })
            })
            .expect("room for a process");
        world
            .start_actor(ACTOR_HOST, "actor", |env| {
                Box::pin(async move {
                    actor(env, recorder).await;
                    ExitCode::CLEAN
                })
            })
            .expect("room for a process");
        sleep(length).await;
        world.recorder().with_events(|events| {
            let panicked =
                |e: &Event| matches!(e.fact, Fact::ProcessExited { cause: DeathCause::Panicked, .. });
            assert!(!events.iter().any(panicked), "a process panicked: {events:#?}");
            (events.iter().filter_map(line).collect(), world.recorder().hash())
        })
    })
}

/// An actor's event in one line; `None` when it is not an actor's.
fn line(event: &Event) -> Option<String> {
    if !matches!(
        event.source,
        Source::Operator
            | Source::Sender(_)
            | Source::Provider
            | Source::Prober
            | Source::Peers(_)
            | Source::Platform(_)
    ) {
        return None;
    }
    let name = event.fact.name();
    let what = match &event.fact {
        Fact::SenderDisconnected { how } | Fact::SenderConnectFailed { how } => how.clone(),
        Fact::MessageSent { message, text, attempt, .. } => format!("{message} ({attempt}) {text}"),
        Fact::MessageRefused { message, reason } => format!("{message} {reason}"),
        Fact::ReplyReceived { message, text, via } => format!("{message} {via:?} {text}"),
        Fact::NoticeReceived { message, text, via } => {
            let about = message.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!("{about} {via:?} {text}")
        }
        Fact::ProviderRequested { message, request } => format!("{message} request {request}"),
        Fact::ProviderAnswered { message, request, tokens } => {
            format!("{message} request {request} {tokens} tokens")
        }
        Fact::ProviderStopped { message, request, how } => format!("{message} request {request} {how}"),
        Fact::ReadySeen { ready, asked_at } => format!("{asked_at:?} {ready:?}"),
        Fact::IntruderAnswered { request, refused } => {
            format!("{request}: {}", if *refused { "refused" } else { "LET IN" })
        }
        Fact::PeerConnected { peer, place } => format!("{peer} {place}"),
        Fact::PeerTurnedAway { peer, how } => format!("{peer} {how}"),
        Fact::PeerEnded { peer, place, how } => format!("{peer} {place}: {how}"),
        Fact::ConversationHeard { sender, bytes } => format!("{sender} {}", bytes / 65_536),
        Fact::BotConnected { account, .. } | Fact::PollConflict { account, .. } => account.clone(),
        Fact::BotDisconnected { account, how, .. } => format!("{account} {how}"),
        Fact::UpdateHandedOut { message, key, times } => format!("{message} {key} ({times})"),
        Fact::SendTaken { send, to, again, .. } => {
            format!("{send} to {to}{}", if *again { " again" } else { "" })
        }
        Fact::SendAnswered { send } => send.to_string(),
        Fact::SendUnanswered { send, cut } => format!("{send} {}", if *cut { "cut" } else { "given up" }),
        Fact::SendRefused { to, why, .. } => format!("to {to}: {why}"),
        Fact::Injected { what, .. } | Fact::Remarked { what } => what.clone(),
        Fact::RestartReported { request, ending, .. } => format!("request {request} {}", ending.word()),
        fact => fact.message().map(ToString::to_string).unwrap_or_default(),
    };
    Some(format!("{name} {what}").trim_end().to_owned())
}
