//! The stage: machines, the gateway's files, its service, and what the operator can do to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Fs, Pid, Signal};
use gateway::policy::Policies;
use gateway::{Launch, Predecessor};
use serde_json::{Value, json};

use tokio::sync::mpsc;

use super::{hooks, service};
use crate::actors::console::Waited;
use crate::actors::platform::PLATFORMS_HOST;
use crate::actors::squatter;
use crate::scenario::{Choice, CronSetup, DurationRange, Machine, Scenario, Target};
use crate::timeline::{Fact, GATEWAY_PROGRAM, Injection, OperatorOrder, Source, TOOL_PROGRAM};
use crate::world::disk::Disk;
use crate::world::supervisor::Service;
use crate::world::{Executable, Main, World};

pub(super) const GATEWAY_MACHINE: &str = "gateway";
pub(super) const CLIENTS_MACHINE: &str = "clients";
pub(super) const PROVIDER_MACHINE: &str = "provider";
pub(super) const PROVIDER_PORT: u16 = 8080;
pub(super) const STATE_DIR: &str = "/var/lib/gateway";
const CONFIG_FILE: &str = "/etc/gateway/config.json";

/// The world's machines and the service on them.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) world: World,
    disk: Disk,
    service: Option<Service>,
    gateway: Executable,
    program: Program,
    original_config: Rc<str>,
    /// The sessions in which senders talk, by sender.
    sessions: Rc<BTreeMap<String, String>>,
    /// The gateway's port, and the token that it asks for.
    pub(super) address: (u16, String),
    /// Who waits for the ends of restarts; `None` where nobody asks for one.
    console: Option<mpsc::UnboundedSender<Waited>>,
    /// Ends what steps began: run in order when the storm is over.
    undo: Rc<RefCell<Vec<Mend>>>,
}

/// Ends one fault.
type Mend = Box<dyn FnOnce()>;

impl Stage {
    /// Builds the machines and starts the gateway.
    pub(super) fn build(world: &World, scenario: &Scenario, profile: &str) -> io::Result<Self> {
        let policies = scenario.gateway.policies_under(profile).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("there is no profile {profile}"))
        })?;
        for name in [GATEWAY_MACHINE, CLIENTS_MACHINE, PROVIDER_MACHINE] {
            world.add_machine(name)?;
        }
        if super::platforms::processes(scenario) > 0 {
            world.add_machine(PLATFORMS_HOST)?;
        }
        let disk = world.disk(GATEWAY_MACHINE)?;
        let original_config = Rc::from(config_text(scenario));
        disk.preload(Path::new(CONFIG_FILE), str::as_bytes(&original_config))?;
        disk.preload(&Path::new(STATE_DIR).join("README"), b"Everything the gateway must remember.\n")?;
        let program = Program { world: world.clone(), policies, startup: scenario.gateway.startup };
        let (started, followed) = (program.clone(), program.clone());
        let gateway = Executable::new(GATEWAY_PROGRAM, move || started.main())
            .with_start_script(move |predecessor| followed.start_script(predecessor));
        hooks::install(world, scenario)?;
        let console = super::restarts::console(world, scenario)?;
        let session = |sender: &String| (sender.clone(), super::platforms::session_key(scenario, sender));
        let sessions = scenario.senders.keys().map(session);
        let service = match service::manager(&scenario.gateway.supervisor) {
            Some(manager) => {
                let service = Service::load(world, GATEWAY_MACHINE, manager, &gateway)?;
                service.start();
                Some(service)
            }
            None => {
                world.exec(GATEWAY_MACHINE, &gateway)?;
                None
            }
        };
        Ok(Self {
            world: world.clone(),
            disk,
            service,
            gateway,
            program,
            original_config,
            sessions: Rc::new(sessions.collect()),
            address: (scenario.gateway.port, scenario.gateway.token.clone()),
            console,
            undo: Rc::default(),
        })
    }

    /// The gateway process that steps act on: the service's main process, or whoever holds the port, or the newest one:
    /// a gateway that closes holds no port any more.
    pub(super) fn gateway_pid(&self, port: u16) -> Option<Pid> {
        let main = self.service.as_ref().and_then(Service::main_pid);
        main.or_else(|| self.world.listening_on(GATEWAY_MACHINE, port))
            .or_else(|| self.world.newest_process(GATEWAY_MACHINE, GATEWAY_PROGRAM))
    }

    /// The process that a step acts on; says so when there is none.
    fn pid_of(&self, target: Target, port: u16) -> Result<Pid, String> {
        let pid = match target {
            Target::Gateway => self.gateway_pid(port),
            Target::OtherGateway => {
                let main = self.service.as_ref().and_then(Service::main_pid);
                self.world.newest_process_but(GATEWAY_MACHINE, GATEWAY_PROGRAM, main)
            }
            Target::Squatter => self.world.newest_process(GATEWAY_MACHINE, squatter::PROGRAM),
            Target::Tool => self.world.newest_process(GATEWAY_MACHINE, TOOL_PROGRAM),
        };
        pid.ok_or_else(|| format!("there was no {} process at that moment", target.word()))
    }

    pub(super) fn inject(&self, fault: Injection, what: impl Into<String>) {
        self.world.recorder().record(Source::Operator, Fact::Injected { fault, what: what.into() });
    }

    /// Ends a fault when the storm is over.
    pub(super) fn on_storm_end(&self, mend: impl FnOnce() + 'static) {
        self.undo.borrow_mut().push(Box::new(mend));
    }

    pub(super) fn signal(&self, target: Target, port: u16, signal: Signal) -> Result<(), String> {
        let pid = self.pid_of(target, port)?;
        self.world.signal(pid, signal).map_err(|error| error.to_string())
    }

    pub(super) fn kill(&self, target: Target, port: u16) -> Result<(), String> {
        let pid = self.pid_of(target, port)?;
        self.world.kill(pid).map_err(|error| error.to_string())
    }

    /// Freezes a process for a while.
    pub(super) async fn freeze(&self, target: Target, port: u16, lasting: Duration) -> Result<(), String> {
        let pid = self.pid_of(target, port)?;
        self.world.freeze(pid).map_err(|error| error.to_string())?;
        let world = self.world.clone();
        // It may be dead by then: nothing to thaw.
        let thaw = move || drop(world.thaw(pid));
        self.on_storm_end(thaw.clone());
        tokio::time::sleep(lasting).await;
        thaw();
        Ok(())
    }

    /// From now on, what a gateway that is killed listened on stays taken for a while.
    pub(super) fn linger_ports(&self, lasting: Duration) -> Result<(), String> {
        self.inject(
            Injection::PortLingers,
            format!("the port of whoever is killed stays taken for {}", humantime::format_duration(lasting)),
        );
        self.world.linger_ports(GATEWAY_MACHINE, lasting).map_err(|error| error.to_string())?;
        let world = self.world.clone();
        self.on_storm_end(move || drop(world.linger_ports(GATEWAY_MACHINE, Duration::ZERO)));
        Ok(())
    }

    pub(super) async fn power_loss(&self, off_for: Duration) -> Result<(), String> {
        self.world.power_off(GATEWAY_MACHINE).map_err(|error| error.to_string())?;
        self.power_returns(off_for).await;
        Ok(())
    }

    /// The gateway's machine is dark; it has power again after a while.
    pub(super) async fn power_returns(&self, off_for: Duration) {
        let world = self.world.clone();
        let power_on = move || drop(world.power_on(GATEWAY_MACHINE));
        self.on_storm_end(power_on.clone());
        tokio::time::sleep(off_for).await;
        power_on();
    }

    pub(super) async fn partition(&self, a: Machine, b: Machine, lasting: Duration) -> Result<(), String> {
        let (a, b) = (machine_name(a), machine_name(b));
        self.world.partition(a, b).map_err(|error| error.to_string())?;
        let world = self.world.clone();
        let heal = move || drop(world.heal(a, b));
        self.on_storm_end(heal.clone());
        tokio::time::sleep(lasting).await;
        heal();
        Ok(())
    }

    fn service(&self) -> Result<&Service, String> {
        self.service.as_ref().ok_or_else(|| "nobody supervises the gateway here".to_string())
    }

    fn order(&self, order: OperatorOrder, give: impl FnOnce(&Service)) -> Result<(), String> {
        let service = self.service()?;
        self.wants(order);
        give(service);
        Ok(())
    }

    fn wants(&self, order: OperatorOrder) {
        self.world.recorder().record(Source::Operator, Fact::Ordered { order });
    }

    pub(super) fn service_stop(&self) -> Result<(), String> {
        self.order(OperatorOrder::Stop, Service::stop)
    }

    pub(super) fn service_start(&self) -> Result<(), String> {
        self.order(OperatorOrder::Start, Service::start)
    }

    pub(super) fn service_restart(&self) -> Result<(), String> {
        self.order(OperatorOrder::Restart, Service::restart)
    }

    /// Somebody wants the service to be loaded anew, by the tool that is about to run.
    pub(super) fn wants_reload(&self) -> Result<(), String> {
        self.service()?;
        self.wants(OperatorOrder::Reload);
        Ok(())
    }

    /// Starts a second gateway by hand, with the same configuration and state directory.
    pub(super) fn start_second_instance(&self) -> Result<(), String> {
        self.wants(OperatorOrder::StartByHand);
        let started = self.world.exec(GATEWAY_MACHINE, &self.gateway);
        started.map(drop).map_err(|error| error.to_string())
    }

    /// What a tool of the gateway's is launched with, and how long it takes to its first own step.
    pub(super) fn launch_of_tool(&self) -> (Launch, Duration) {
        let startup = self.world.rng("tool startup").with(|rng| self.program.startup.draw(rng));
        (self.program.launch(), startup)
    }

    /// Somebody writes the configuration file; `what` says so.
    pub(super) fn write_config(&self, text: &str, what: String) -> Result<(), String> {
        self.world.recorder().record(Source::Operator, Fact::ConfigEdited { what });
        self.overwrite(Path::new(CONFIG_FILE), text)
    }

    /// What stands in the configuration file.
    pub(super) fn config_text(&self) -> Result<String, String> {
        let bytes = self.disk.read(Path::new(CONFIG_FILE)).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The operator waits for what comes of a request.
    pub(super) fn wait_for(&self, waited: Waited) {
        if let Some(console) = &self.console {
            // Who has left has nothing more to wait for.
            let _ = console.send(waited);
        }
    }

    /// The session in which a sender talks.
    pub(super) fn session_of(&self, sender: &str) -> &str {
        self.sessions.get(sender).map_or("", String::as_str)
    }

    /// What stood there when the world began.
    pub(super) fn original_config(&self) -> &str {
        &self.original_config
    }

    pub(super) fn corrupt_state(&self, file: &str, text: &str) -> Result<(), String> {
        self.inject(Injection::CorruptState, format!("{file} in the state directory is overwritten"));
        self.overwrite(&Path::new(STATE_DIR).join(file), text)
    }

    fn overwrite(&self, path: &Path, text: &str) -> Result<(), String> {
        self.disk.preload(path, text.as_bytes()).map_err(|error| error.to_string())
    }

    /// The storm is over: what is cut, frozen or dark is mended.
    pub(super) fn end_faults(&self) {
        let undo = std::mem::take(&mut *self.undo.borrow_mut());
        undo.into_iter().for_each(|undo| undo());
    }

    /// The gateway machine's disk, for outside observers.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }
}

pub(super) const fn machine_name(machine: Machine) -> &'static str {
    match machine {
        Machine::Gateway => GATEWAY_MACHINE,
        Machine::Clients => CLIENTS_MACHINE,
        Machine::Provider => PROVIDER_MACHINE,
        Machine::Platforms => PLATFORMS_HOST,
    }
}

/// The gateway as an executable: what it takes to run it once more.
#[derive(Clone)]
struct Program {
    world: World,
    policies: Policies,
    startup: DurationRange,
}

impl Program {
    fn launch(&self) -> Launch {
        Launch { config: PathBuf::from(CONFIG_FILE), policies: self.policies.clone() }
    }

    fn start_script(&self, predecessor: Predecessor) -> Main {
        let launch = self.launch();
        Box::new(move |env| Box::pin(gateway::hand_off(env, launch, predecessor)))
    }

    fn main(&self) -> Main {
        let launch = self.launch();
        let startup = self.world.rng("startup").with(|rng| self.startup.draw(rng));
        Box::new(move |env| {
            Box::pin(async move {
                tokio::time::sleep(startup).await;
                gateway::run(env, launch).await
            })
        })
    }
}

fn config_text(scenario: &Scenario) -> String {
    let gateway = &scenario.gateway;
    let mut config = json!({
        "gateway": {
            "port": gateway.port,
            "auth": {"token": gateway.token},
            "stateDir": STATE_DIR,
            "drainBudgetMs": gateway.drain_budget.as_millis() as u64,
            "maxBufferedBytes": gateway.max_buffered,
            "stopTimeoutMs": service::stop_timeout(&gateway.supervisor).as_millis() as u64,
        },
        "model": {"baseUrl": format!("http://{PROVIDER_MACHINE}:{PROVIDER_PORT}/v1"), "name": "sim"},
    });
    if let Some(limit) = gateway.deferral_limit {
        config["gateway"]["reload"] = json!({"deferralTimeoutMs": limit.as_millis() as u64});
    }
    if !scenario.cron.is_empty() {
        config["cron"] =
            json!({"jobs": scenario.cron.iter().map(|job| cron_job(scenario, job)).collect::<Vec<_>>()});
    }
    if let Some(channels) = super::platforms::channels(scenario) {
        config["channels"] = channels;
    }
    super::restarts::change(&mut config, &gateway.settings);
    format!("{config:#}\n")
}

fn cron_job(scenario: &Scenario, (name, setup): (&String, &CronSetup)) -> Value {
    let mut job = json!({
        "id": name,
        "everyMs": setup.every.as_millis() as u64,
        "message": setup.text,
        "onInterruption": setup.on_interruption.word(),
    });
    if let Some(sender) = &setup.session_of {
        job["sessionKey"] = json!(super::platforms::session_key(scenario, sender));
    }
    job
}
