//! The peer: a scenario inside `turmoil::Sim`, the umbrella crate that pays for every host at every tick.
//!
//! The same gateway, the same provider and senders, the same script and the same disk as in the benchmark's own
//! runs; only network and clock are turmoil's, through its public API. The umbrella gets a little less to do: it
//! takes no log records, records no disk operations and judges nothing. It knows `send` and `signal` steps at
//! fixed instants, which is all that the benchmark's scenario contains.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gatesim::actors::GATEWAY_HOST;
use gatesim::actors::provider::DEFAULT_PORT;
use gatesim::actors::provider::{self, ProviderSettings};
use gatesim::actors::webchat::{self, SenderCommand, WebchatSettings};
use gatesim::scenario::{Scenario, Supervisor, SystemdUnit, Target, Verb, When};
use gatesim::timeline::{Event, GATEWAY_PROGRAM, Recorder};
use gateway::Launch;
use gateway::env::{ExitCode, Signal};
use gateway::policy::{HARDENED, Policies};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

mod doors;
mod process;
mod sockets;

use process::Machine;

const PROVIDER_HOST: &str = "provider";
const CONFIG_FILE: &str = "/etc/gateway/config.json";
const STATE_DIR: &str = "/var/lib/gateway";

/// How many hosts the umbrella is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// One for each machine of the scenario, which is also one for each process: gateway, provider, clients.
    PerMachine,
    /// As before, but every sender has a host of its own, as turmoil's examples lay clients out.
    PerSender,
}

/// Plays `scenario` for `duration` of simulated time at turmoil's default tick of 1 ms; what happened in it.
///
/// # Errors
/// Whatever ends turmoil's run early, and a scenario that the umbrella cannot play.
pub(super) fn play(
    scenario: &Scenario,
    duration: Duration,
    seed: u64,
    hosts: Hosts,
) -> turmoil::Result<Vec<Event>> {
    let Supervisor::Systemd(unit) = &scenario.gateway.supervisor else {
        return Err("the umbrella supervises like systemd or not at all".into());
    };
    let mut sim = turmoil::Builder::new()
        .simulation_duration(duration * 2)
        .min_message_latency(scenario.network.latency.min)
        .max_message_latency(scenario.network.latency.max)
        .rng_seed(seed)
        .build();
    let recorder = Recorder::new();
    let machine = |name: &str| Machine::new(name, seed, recorder.clone());

    let gateway = machine(GATEWAY_HOST);
    install(&gateway, scenario, unit)?;
    let policies = scenario.gateway.policies_under(HARDENED).unwrap_or_default();
    sim.client(GATEWAY_HOST, supervise(gateway, unit.clone(), policies, signals(scenario)?));

    let (settings, heard) = (provider_settings(scenario), recorder.clone());
    let provider = machine(PROVIDER_HOST);
    sim.client(PROVIDER_HOST, async move {
        provider::run(provider.new_process("provider").env(), heard, settings).await;
        Ok(())
    });

    let mut clients = senders(scenario, &recorder)?;
    if hosts == Hosts::PerSender {
        for client in clients.drain(..) {
            let name = client.settings.name.clone();
            sim.client(name.as_str(), live(machine(&name), vec![client]));
        }
    } else {
        sim.client("clients", live(machine("clients"), clients));
    }

    while sim.elapsed() < duration {
        sim.step()?;
    }
    let events = recorder.take_events();
    drop(sim);
    Ok(events)
}

/// Puts the configuration on the gateway's disk.
fn install(machine: &Machine, scenario: &Scenario, unit: &SystemdUnit) -> std::io::Result<()> {
    let gateway = &scenario.gateway;
    let config = json!({
        "gateway": {
            "port": gateway.port,
            "auth": {"token": gateway.token},
            "stateDir": STATE_DIR,
            "drainBudgetMs": gateway.drain_budget.as_millis() as u64,
            "stopTimeoutMs": unit.stop_timeout.as_millis() as u64,
        },
        "model": {"baseUrl": format!("http://{PROVIDER_HOST}:{DEFAULT_PORT}/v1"), "name": "sim"},
    });
    machine.disk().preload(Path::new(CONFIG_FILE), config.to_string().as_bytes())
}

/// Starts the gateway again and again, as the unit says, and sends it the script's signals.
async fn supervise(
    machine: Rc<Machine>,
    unit: SystemdUnit,
    policies: Policies,
    signals: Vec<(Duration, Signal)>,
) -> turmoil::Result {
    let began = Instant::now();
    let target = machine.clone();
    tokio::task::spawn_local(async move {
        for (at, signal) in signals {
            sleep_until(began + at).await;
            target.signal(signal);
        }
    });
    loop {
        let process = machine.new_process(GATEWAY_PROGRAM);
        let launch = Launch { config: PathBuf::from(CONFIG_FILE), policies: policies.clone() };
        let ExitCode(status) = process.live(gateway::run(process.env(), launch)).await;
        if unit.prevent_restart_on.contains(&status) {
            return Err(format!("the gateway ended with status {status}, on which it stays down").into());
        }
        sleep(unit.restart_delay).await;
    }
}

/// A sender and what the script tells it, in order.
struct Client {
    settings: WebchatSettings,
    recorder: Recorder,
    sends: Vec<Sends>,
}

/// Messages that the script tells a sender to send.
pub(super) struct Sends {
    pub(super) at: Duration,
    text: String,
    pub(super) count: u32,
    pub(super) every: Duration,
}

/// Plays senders, all in one process.
async fn live(machine: Rc<Machine>, clients: Vec<Client>) -> turmoil::Result {
    let began = Instant::now();
    let process = machine.new_process("senders");
    for client in clients {
        let (tell, told) = mpsc::unbounded_channel();
        let sender = webchat::run(process.env(), client.recorder, client.settings, told);
        drop(process.env().spawn("sender", sender));
        for sends in client.sends {
            let tell = tell.clone();
            tokio::task::spawn_local(async move {
                for number in 0..sends.count {
                    sleep_until(began + sends.at + sends.every * number).await;
                    // A sender that has left for good hears nothing any more.
                    let _ = tell.send(SenderCommand::Send { text: sends.text.clone() });
                }
            });
        }
    }
    std::future::pending().await
}

fn senders(scenario: &Scenario, recorder: &Recorder) -> turmoil::Result<Vec<Client>> {
    let clients = scenario.senders.iter().map(|(name, setup)| {
        let settings = WebchatSettings {
            is_shared: setup.joins.is_some()
                || scenario.senders.values().any(|other| other.joins.as_ref() == Some(name)),
            name: name.clone(),
            conversation_of: setup.joins.as_ref().unwrap_or(name).clone(),
            kind: setup.kind,
            port: scenario.gateway.port,
            token: setup.token.clone().unwrap_or_else(|| scenario.gateway.token.clone()),
        };
        Ok(Client { settings, recorder: recorder.clone(), sends: sends_of(scenario, name)? })
    });
    clients.collect()
}

/// What the script tells `sender` to send.
///
/// # Errors
/// Steps that are not at fixed instants.
pub(super) fn sends_of(scenario: &Scenario, sender: &str) -> turmoil::Result<Vec<Sends>> {
    let mut sends = Vec::new();
    for step in &scenario.steps {
        if let Verb::Send { from, text, count, every, .. } = &step.verb
            && from == sender
        {
            sends.push(Sends { at: instant(&step.when)?, text: text.clone(), count: *count, every: *every });
        }
    }
    Ok(sends)
}

fn signals(scenario: &Scenario) -> turmoil::Result<Vec<(Duration, Signal)>> {
    let mut signals = Vec::new();
    for step in &scenario.steps {
        match step.verb {
            Verb::Signal { signal, process: Target::Gateway } => signals.push((instant(&step.when)?, signal)),
            Verb::Send { .. } => {}
            _ => return Err(format!("the umbrella cannot play the step {:?}", step.label).into()),
        }
    }
    Ok(signals)
}

fn instant(when: &When) -> turmoil::Result<Duration> {
    match when {
        When::At(range) if range.min == range.max => Ok(range.min),
        _ => Err("the umbrella plays steps at fixed instants only".into()),
    }
}

fn provider_settings(scenario: &Scenario) -> ProviderSettings {
    let setup = &scenario.provider;
    ProviderSettings {
        port: DEFAULT_PORT,
        first_token: setup.first_token.min..=setup.first_token.max,
        tokens: setup.tokens,
        token_interval: setup.token_interval,
        behaviour: setup.behaviour,
        fail_first: setup.fail_first,
        ..ProviderSettings::default()
    }
}
