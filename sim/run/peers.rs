//! Rude peers in a run: how they enter the world, what steps do to them, and whether they were ever there.

use std::io;

use gateway::env::{Env, ExitCode};
use indexmap::IndexMap;
use tokio::sync::mpsc;

use super::stage::{CLIENTS_MACHINE, GATEWAY_MACHINE};
use crate::actors::rude::{self, PeerKind, PeersCommand, PeersSettings, WitnessSettings};
use crate::scenario::{PeersSetup, Scenario, Verb};
use crate::timeline::{Event, Fact, Source};
use crate::world::World;

/// The groups' ears: what the script tells them goes in here.
pub(super) type Groups = IndexMap<String, mpsc::UnboundedSender<PeersCommand>>;

/// How many processes they need.
pub(super) fn processes(scenario: &Scenario) -> usize {
    usize::from(!scenario.peers.is_empty())
}

/// Brings all groups in, in one process: an address each would cost the world at every step.
pub(super) fn enter(world: &World, scenario: &Scenario) -> io::Result<Groups> {
    let mut groups = Groups::new();
    let mut parts = Vec::new();
    for (name, setup) in &scenario.peers {
        let (tell, told) = mpsc::unbounded_channel();
        if !is_let_in_by_a_step(scenario, name) {
            arrive_when_it_listens(world, scenario.gateway.port, tell.clone());
        }
        parts.push((settings(scenario, name, setup), told));
        groups.insert(name.clone(), tell);
    }
    if parts.is_empty() {
        return Ok(groups);
    }
    let recorder = world.recorder().clone();
    let witnesses = witnesses(scenario);
    world.start_actor(CLIENTS_MACHINE, "peers", move |env: Env| {
        Box::pin(async move {
            for settings in witnesses {
                drop(env.spawn("witness", rude::watch(env.clone(), recorder.clone(), settings)));
            }
            for (settings, told) in parts {
                drop(env.spawn("peers", rude::run(env.clone(), recorder.clone(), settings, told)));
            }
            std::future::pending::<ExitCode>().await
        })
    })?;
    Ok(groups)
}

fn is_let_in_by_a_step(scenario: &Scenario, name: &str) -> bool {
    scenario.steps.iter().any(|step| matches!(&step.verb, Verb::PeersArrive { peers } if peers == name))
}

fn arrive_when_it_listens(world: &World, port: u16, tell: mpsc::UnboundedSender<PeersCommand>) {
    let listens = world.recorder().nth_event(1, move |event| {
        matches!(&event.fact, Fact::PortBound { machine, port: bound, .. }
            if machine == GATEWAY_MACHINE && *bound == port)
    });
    drop(world.spawn(async move {
        if listens.await.is_ok() {
            // The group listens as long as the world lives.
            let _ = tell.send(PeersCommand::Arrive);
        }
    }));
}

fn settings(scenario: &Scenario, name: &str, setup: &PeersSetup) -> PeersSettings {
    PeersSettings {
        name: name.to_string(),
        kind: setup.kind,
        count: setup.count,
        arrive: setup.arrive.min..=setup.arrive.max,
        returns: setup.returns.map(|returns| returns.min..=returns.max),
        joins: setup.joins.clone(),
        port: scenario.gateway.port,
        token: scenario.gateway.token.clone(),
    }
}

/// One for each conversation that is followed by peers that do not read.
fn witnesses(scenario: &Scenario) -> Vec<WitnessSettings> {
    let mut senders: Vec<_> = never_reading(scenario).map(|(_, sender)| sender.to_string()).collect();
    senders.sort();
    senders.dedup();
    let witness = |sender| WitnessSettings {
        sender,
        port: scenario.gateway.port,
        token: scenario.gateway.token.clone(),
    };
    senders.into_iter().map(witness).collect()
}

/// The groups that follow a conversation and do not read it, each with its sender.
pub(super) fn never_reading(scenario: &Scenario) -> impl Iterator<Item = (&str, &str)> {
    let reads_nothing = |setup: &&PeersSetup| setup.kind == PeerKind::NeverReads;
    scenario.peers.iter().filter_map(move |(name, setup)| {
        Some((name.as_str(), Some(setup).filter(reads_nothing)?.joins.as_deref()?))
    })
}

/// Tells a group to do something that only those can do who are connected.
pub(super) fn tell(world: &World, groups: &Groups, name: &str, command: PeersCommand) -> Result<(), String> {
    let tell = groups.get(name).ok_or_else(|| format!("there are no peers {name}"))?;
    if command != PeersCommand::Arrive && world.recorder().with_events(|events| connected(events, name)) == 0
    {
        return Err(format!("none of the peers {name} was connected at that moment"));
    }
    tell.send(command).map_err(|_| format!("the peers {name} are gone"))
}

/// How many peers of a group are connected after all these events.
fn connected(events: &[Event], name: &str) -> usize {
    let of_group = |event: &&Event| matches!(&event.source, Source::Peers(group) if group == name);
    events.iter().filter(of_group).fold(0, |connected: usize, event| match event.fact {
        Fact::PeerConnected { .. } => connected + 1,
        Fact::PeerEnded { .. } => connected.saturating_sub(1),
        _ => connected,
    })
}

/// Groups of which nobody ever came as far as its kind goes: a run without them is no evidence about them.
pub(super) fn never_came(scenario: &Scenario, events: &[Event]) -> Vec<String> {
    let came = |name: &String| {
        let is_one = |event: &Event| {
            matches!(&event.source, Source::Peers(group) if group == name)
                && matches!(event.fact, Fact::PeerConnected { .. })
        };
        events.iter().any(is_one)
    };
    let missing = scenario.peers.keys().filter(|name| !came(name));
    missing.map(|name| format!("none of the peers {name} ever came as far as its kind goes")).collect()
}
