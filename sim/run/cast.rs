//! The cast: everybody who is not the gateway enters the world as processes of their own.

use std::future::Future;
use std::io;
use std::time::Duration;

use gateway::env::{Env, ExitCode};
use indexmap::IndexMap;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::stage::{CLIENTS_MACHINE, PROVIDER_MACHINE, PROVIDER_PORT};
use crate::actors::intruder::{self, IntruderSettings};
use crate::actors::prober::{self, ProberSettings};
use crate::actors::provider::{self, Mood, ProviderSettings};
use crate::actors::webchat::{self, SenderCommand, WebchatSettings};
use crate::scenario::{Channel, Scenario, SenderSetup};
use crate::timeline::{Fact, Recorder};
use crate::world::World;

/// The senders' ears: what the script tells them goes in here.
pub(super) type Senders = IndexMap<String, mpsc::UnboundedSender<SenderCommand>>;

/// Brings everybody in.
///
/// The senders' ears, and what the script can do to the provider.
pub(super) fn enter(world: &World, scenario: &Scenario) -> io::Result<(Senders, Mood)> {
    let recorder = world.recorder().clone();
    let settings = provider_settings(scenario);
    let mood = settings.mood.clone();
    world.start_actor(PROVIDER_MACHINE, "provider", move |env| {
        Box::pin(async move {
            provider::run(env, recorder, settings).await;
            ExitCode::CLEAN
        })
    })?;
    let senders = enter_senders(world, scenario)?;
    let port = scenario.gateway.port;
    if let Some(every) = scenario.probe {
        let recorder = world.recorder().clone();
        world.start_actor(CLIENTS_MACHINE, "prober", move |env| {
            Box::pin(async move {
                let calm = calm(recorder.clone());
                onlooker(calm, prober::run(env, recorder, ProberSettings { port, every })).await
            })
        })?;
    }
    if let Some(every) = scenario.intruder {
        let recorder = world.recorder().clone();
        world.start_actor(CLIENTS_MACHINE, "intruder", move |env| {
            Box::pin(async move {
                let calm = calm(recorder.clone());
                onlooker(calm, intruder::run(env, recorder, IntruderSettings { port, every })).await
            })
        })?;
    }
    Ok((senders, mood))
}

/// How long onlookers stay after the storm: long enough to see the gateway up again, and not all of the calm.
const ONLOOKERS_STAY: Duration = Duration::from_secs(60);

/// Resolves when the storm is over and onlookers have seen enough.
fn calm(recorder: Recorder) -> impl Future<Output = ()> {
    let settling = recorder.nth_event(1, |event| event.fact == Fact::SettleBegan);
    async move {
        // The storm ends, or the world does.
        let _ = settling.await;
        sleep(ONLOOKERS_STAY).await;
    }
}

async fn onlooker(calm: impl Future<Output = ()>, look: impl Future<Output = ()>) -> ExitCode {
    tokio::select! {
        biased;
        () = calm => {}
        () = look => {}
    }
    ExitCode::CLEAN
}

/// All senders share one process, as tabs share a browser: an address each would cost the world at every step.
fn enter_senders(world: &World, scenario: &Scenario) -> io::Result<Senders> {
    let mut senders = Senders::new();
    let mut parts = Vec::new();
    for (name, setup) in scenario.senders.iter().filter(|(_, setup)| setup.channel == Channel::Webchat) {
        let (tell, told) = mpsc::unbounded_channel();
        senders.insert(name.clone(), tell);
        parts.push((webchat_settings(scenario, name, setup), told));
    }
    let recorder = world.recorder().clone();
    world.start_actor(CLIENTS_MACHINE, "senders", move |env: Env| {
        Box::pin(async move {
            for (settings, told) in parts {
                let sender = webchat::run(env.clone(), recorder.clone(), settings, told);
                drop(env.spawn("sender", sender));
            }
            std::future::pending().await
        })
    })?;
    Ok(senders)
}

fn provider_settings(scenario: &Scenario) -> ProviderSettings {
    let setup = &scenario.provider;
    ProviderSettings {
        port: PROVIDER_PORT,
        first_token: setup.first_token.min..=setup.first_token.max,
        tokens: setup.tokens,
        token_interval: setup.token_interval,
        behaviour: setup.behaviour,
        fail_first: setup.fail_first,
        mood: Mood::default(),
    }
}

fn webchat_settings(scenario: &Scenario, name: &str, setup: &SenderSetup) -> WebchatSettings {
    let joins = |other: &SenderSetup| other.joins.as_deref() == Some(name);
    WebchatSettings {
        name: name.to_string(),
        conversation_of: setup.joins.as_deref().unwrap_or(name).to_string(),
        is_shared: setup.joins.is_some() || scenario.senders.values().any(joins),
        kind: setup.kind,
        port: scenario.gateway.port,
        token: setup.token.clone().unwrap_or_else(|| scenario.gateway.token.clone()),
    }
}
