//! What steps do to the disk, the locks and the clock of the gateway's machine.
//!
//! Each trouble lasts as long as its step says, or until the storm ends. One that never met anything is no
//! evidence: its step is `begun` and not `done`, which the run's verdict says.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::watch;
use gateway::env::{Env, ExitCode, Fs, LocalBoxFuture, Pid, StartTime, WallTime};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::script::Progress;
use super::stage::{GATEWAY_MACHINE, STATE_DIR, Stage, machine_name};
use crate::actors::provider::Mood;
use crate::actors::squatter::{self, SquatterSettings};
use crate::scenario::{
    Choice, Crash, CrashDeath, CrashMoment, Direction, DiskTrouble, LockFile, LockOwner, Machine,
    ProviderTrouble, Scenario, Verb,
};
use crate::timeline::{GATEWAY_PROGRAM, Injection};
use crate::world::disk::DiskFault;
use crate::world::{self, CrashPoint, PID_OF_NOBODY};

/// A program that does nothing and has a process id.
const BYSTANDER_PROGRAM: &str = "bystander";
/// Where the session store is, inside the state folder.
const SESSIONS_DIR: &str = "agents/main/sessions";
/// A process that is gone by now was started so many clock ticks before its successor in the process table.
const TICKS_BEFORE: u64 = 5_000;

/// Resolves when a squatter has to give back what it has.
type LetGo = LocalBoxFuture<'static, ()>;

/// How many processes the steps bring into the world, beside the gateway's.
pub(super) fn processes(scenario: &Scenario) -> usize {
    let brings_one = |verb: &Verb| match verb {
        Verb::SquatLock(_) | Verb::SquatPort { .. } => true,
        Verb::LeaveLock(left) => matches!(left.owner, LockOwner::Reused | LockOwner::ReusedUndated),
        _ => false,
    };
    scenario.steps.iter().filter(|step| brings_one(&step.verb)).count()
}

/// What ends with the storm, or with its step, whichever comes first.
fn until_the_storm_ends<T: 'static>(stage: &Stage, guard: T) -> impl FnOnce() + use<T> {
    let shared = Rc::new(RefCell::new(Some(guard)));
    let end = move || drop(shared.take());
    stage.on_storm_end(end.clone());
    end
}

impl Stage {
    /// Lets the disk fail for a while. Who is hit, and how, is recorded with each operation.
    pub(super) async fn disk_fault(
        &self,
        trouble: &DiskTrouble,
        from_call: u32,
        lasting: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        progress.begun("never hit anything");
        let disk = self.world.disk_faults(GATEWAY_MACHINE).map_err(|error| error.to_string())?;
        let operation = trouble.calls.operation.map_or("disk", |op| op.name());
        self.inject(
            Injection::DiskFault,
            format!("{operation} calls on {} fail: {}", trouble.calls.file, trouble.error.name()),
        );
        let guard = disk.inject(DiskFault {
            op: trouble.calls.operation,
            path: trouble.calls.file.clone(),
            nth: Some(from_call),
            count: trouble.count,
            error: trouble.error,
            torn: trouble.torn,
        });
        let mut hits = guard.watch_hits();
        let end = until_the_storm_ends(self, guard);
        let all_hit = async {
            // The wait ends with the fault, too.
            if hits.wait_for(|hits| *hits > 0).await.is_ok() {
                progress.done();
            }
            let count = trouble.count.unwrap_or(u32::MAX);
            let _ = hits.wait_for(|hits| *hits >= count).await;
        };
        match trouble.lasting {
            Some(_) => drop(timeout(lasting, all_hit).await),
            None => all_hit.await,
        }
        end();
        Ok(())
    }

    /// Lets a gateway process die inside the next disk operation that fits.
    pub(super) async fn crash_at(
        &self,
        crash: &Crash,
        from_call: u32,
        off_for: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        progress.begun("never met its disk operation");
        let moment = match (crash.torn, crash.moment) {
            (Some(bytes), _) => world::CrashMoment::Torn(bytes),
            (None, CrashMoment::Before) => world::CrashMoment::Before,
            (None, CrashMoment::After) => world::CrashMoment::After,
        };
        let point = CrashPoint {
            program: GATEWAY_PROGRAM.to_string(),
            op: crash.calls.operation,
            path: crash.calls.file.clone(),
            from_call,
            moment,
            death: match crash.death {
                CrashDeath::Kill => world::CrashDeath::Killed,
                CrashDeath::PowerLoss => world::CrashDeath::PowerLoss,
            },
        };
        let guard = self.world.crash_at(GATEWAY_MACHINE, point).map_err(|error| error.to_string())?;
        let mut struck = guard.watch();
        let end = until_the_storm_ends(self, guard);
        if struck.wait_for(|struck| *struck).await.is_ok() {
            progress.done();
            if crash.death == CrashDeath::PowerLoss {
                self.power_returns(off_for).await;
            }
        }
        end();
        Ok(())
    }

    /// Moves the wall clock for good.
    pub(super) fn clock_jump(&self, by: Duration, direction: Direction) -> Result<(), String> {
        let by_ms = i64::try_from(by.as_millis()).map_err(|error| error.to_string())?;
        let by_ms = match direction {
            Direction::Forward => by_ms,
            Direction::Back => -by_ms,
        };
        self.world.jump_wall_clock(GATEWAY_MACHINE, by_ms);
        Ok(())
    }

    /// Starts a process that takes a lock and keeps it, and waits for its end.
    pub(super) async fn squat_lock(
        &self,
        lock: &LockFile,
        patience: Duration,
        lasting: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        progress.begun("never had its lock");
        self.inject(Injection::SquatLock, "another program is after a lock");
        let settings = SquatterSettings { path: self.path_of(lock)?, patience, lasting };
        self.squat(progress, move |env, took, let_go| Box::pin(squatter::run(env, settings, took, let_go)))
            .await
    }

    /// Starts a process that listens on the gateway's port, and waits for its end.
    pub(super) async fn squat_port(
        &self,
        port: u16,
        patience: Duration,
        lasting: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        progress.begun("never had its port");
        self.inject(Injection::SquatPort, "another program is after the gateway's port");
        self.squat(progress, move |env, took, let_go| {
            Box::pin(squatter::listen(env, port, patience, lasting, took, let_go))
        })
        .await
    }

    /// Starts a squatter and waits for its end.
    async fn squat(
        &self,
        progress: &Progress,
        work: impl FnOnce(Env, oneshot::Sender<()>, LetGo) -> LocalBoxFuture<'static, ()> + 'static,
    ) -> Result<(), String> {
        let (took, has_it) = oneshot::channel();
        let (hold, mut held) = watch::channel(());
        let main = move |env| -> LocalBoxFuture<'static, ExitCode> {
            Box::pin(async move {
                // Nothing is ever sent: it is the end of the sender that counts.
                let let_go = Box::pin(async move { while held.changed().await.is_ok() {} });
                work(env, took, let_go).await;
                ExitCode::CLEAN
            })
        };
        let pid = self.world.start_process(GATEWAY_MACHINE, squatter::PROGRAM, main);
        let pid = pid.map_err(|error| error.to_string())?;
        let end = until_the_storm_ends(self, hold);
        let exit = self.world.wait_exit(pid);
        if has_it.await.is_ok() {
            progress.done();
        }
        exit.await.map_err(|error| error.to_string())?;
        end();
        Ok(())
    }

    /// The model provider does not behave as it should for a while.
    pub(super) async fn trouble_provider(
        &self,
        provider: &Mood,
        trouble: &ProviderTrouble,
        lasting: Duration,
    ) -> Result<(), String> {
        let fault = match trouble {
            ProviderTrouble::Down { .. } => Injection::ProviderDown,
            ProviderTrouble::Slow { .. } => Injection::ProviderSlow,
        };
        self.inject(fault, trouble.label());
        let mood = provider.clone();
        let mend: Rc<dyn Fn()> = match trouble {
            ProviderTrouble::Down { how, .. } => {
                provider.set_outage(Some(*how));
                Rc::new(move || mood.set_outage(None))
            }
            ProviderTrouble::Slow { by, .. } => {
                provider.set_slow(*by);
                Rc::new(move || mood.set_slow(Duration::ZERO))
            }
        };
        let at_the_end = mend.clone();
        self.on_storm_end(move || at_the_end());
        sleep(lasting).await;
        mend();
        Ok(())
    }

    /// A machine's name cannot be looked up for a while.
    pub(super) async fn hide_name(&self, machine: Machine, lasting: Duration) -> Result<(), String> {
        let name = machine_name(machine);
        self.inject(Injection::NameUnknown, format!("the name `{name}` cannot be looked up"));
        self.world.set_unknown(name, true).map_err(|error| error.to_string())?;
        let world = self.world.clone();
        let show = move || drop(world.set_unknown(name, false));
        self.on_storm_end(show.clone());
        sleep(lasting).await;
        show();
        Ok(())
    }

    /// The gateway's machine sleeps for a while.
    pub(super) async fn suspend(&self, lasting: Duration) -> Result<(), String> {
        self.inject(Injection::Suspend, "the gateway's machine falls asleep");
        self.world.suspend(GATEWAY_MACHINE).map_err(|error| error.to_string())?;
        let world = self.world.clone();
        let wake = move || drop(world.wake(GATEWAY_MACHINE));
        self.on_storm_end(wake.clone());
        sleep(lasting).await;
        wake();
        Ok(())
    }

    /// Puts a lock file there that nobody holds.
    pub(super) fn leave_lock(
        &self,
        lock: &LockFile,
        owner: LockOwner,
        age: Duration,
        port: u16,
    ) -> Result<(), String> {
        let path = self.path_of(lock)?;
        if self.disk().stat(&path).is_ok() {
            return Err(format!("{} is there already", path.display()));
        }
        let now = self.world.wall_clock(GATEWAY_MACHINE)();
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let made = WallTime::from_epoch_ms(now.epoch_ms().saturating_sub(age_ms));
        let payload = |pid: Pid, start: StartTime| squatter::payload(pid.0, Some(start.0), &made.to_string());
        let text = match owner {
            LockOwner::Dead => payload(PID_OF_NOBODY, StartTime(TICKS_BEFORE)),
            LockOwner::Reused => {
                let (pid, start) = self.bystander()?;
                payload(pid, StartTime(start.0.saturating_sub(TICKS_BEFORE)))
            }
            LockOwner::ReusedUndated => squatter::payload(self.bystander()?.0.0, None, &made.to_string()),
            LockOwner::Gateway => {
                let pid = self.gateway_pid(port).ok_or("there was no gateway process at that moment")?;
                payload(pid, self.world.start_time_of(pid).map_err(|error| error.to_string())?)
            }
            LockOwner::Nobody => String::new(),
            LockOwner::Garbage => "{\"pid\":12 \u{fffd}\u{fffd}\n".to_string(),
        };
        let inside = path.strip_prefix(STATE_DIR).unwrap_or(&path).display();
        self.inject(Injection::LeaveLock, format!("{inside} was left behind, owner: {}", owner.word()));
        let left = self.disk().preload(&path, text.as_bytes());
        left.and_then(|()| self.disk().set_modified(&path, made)).map_err(|error| error.to_string())
    }

    /// Starts a process that only has a process id.
    fn bystander(&self) -> Result<(Pid, StartTime), String> {
        let main =
            |_| -> gateway::env::LocalBoxFuture<'static, ExitCode> { Box::pin(std::future::pending()) };
        let pid = self.world.start_actor(GATEWAY_MACHINE, BYSTANDER_PROGRAM, main);
        let started = pid.and_then(|pid| Ok((pid, self.world.start_time_of(pid)?)));
        started.map_err(|error| error.to_string())
    }

    fn path_of(&self, lock: &LockFile) -> Result<PathBuf, String> {
        match lock {
            LockFile::At(file) => Ok(Path::new(STATE_DIR).join(file)),
            LockFile::OfTranscript(sender) => self.transcript_lock(sender),
        }
    }

    /// The lock of a sender's transcript, found through the session store as it is on the disk.
    fn transcript_lock(&self, sender: &str) -> Result<PathBuf, String> {
        let dir = Path::new(STATE_DIR).join(SESSIONS_DIR);
        let unknown = || format!("the session store knows no transcript of {sender}");
        let bytes = self.disk().read(&dir.join("sessions.json")).map_err(|_| unknown())?;
        let sessions: serde_json::Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|_| unknown())?;
        let of_sender = |(key, _): &(&String, &Value)| {
            key.rsplit(':').next() == self.session_of(sender).rsplit(':').next()
        };
        let (_, entry) = sessions.iter().find(of_sender).ok_or_else(unknown)?;
        let file = entry.get("sessionFile").and_then(Value::as_str).ok_or_else(unknown)?;
        Ok(dir.join(format!("{file}.lock")))
    }
}
