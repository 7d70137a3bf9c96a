//! A generation: what lives in memory between two restarts of one process.
//!
//! A process that restarts in place has one generation after the other. Each has doors of its own, which know every
//! task that was started through them; so the end of a generation can be the end of all of its tasks, and nothing
//! that one remembered can reach the next. What a task does is not known here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::env::{
    Command, CommandOutput, Detached, EndSignal, Env, ExitCode, Liveness, LocalBoxFuture, Pid, Process,
    ProcessEntry, ProcessId, ServiceOrder, ServiceState, Signal, SignalStream, StartTime, TaskControl,
};

/// One generation.
pub(crate) struct Generation {
    env: Env,
    tasks: Rc<Tasks>,
}

impl Generation {
    /// Begins a generation in the process behind `process`.
    pub(crate) fn begin(process: &Env) -> Self {
        let tasks = Rc::<Tasks>::default();
        let of_generation = tasks.clone();
        let env = process.with_process(|process| Rc::new(Doors { process, tasks: of_generation }));
        Self { env, tasks }
    }

    /// The doors of this generation.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// How many of its tasks are at work.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.alive.borrow().len()
    }

    /// Ends every task of this generation, in the order in which they were started, and waits until they are gone.
    /// Whatever is started through its doors from now on never runs.
    pub(crate) async fn end(&self) {
        self.tasks.is_over.set(true);
        let controls: Vec<_> = self.tasks.alive.borrow().values().flatten().cloned().collect();
        controls.iter().for_each(|control| control.abort());
        loop {
            let left = self.tasks.left.notified();
            if self.tasks.alive.borrow().is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// The tasks of a generation that are not over.
#[derive(Default)]
struct Tasks {
    next: Cell<u64>,
    /// Empty for a moment, while a task is being started.
    alive: RefCell<BTreeMap<u64, Option<Rc<dyn TaskControl>>>>,
    is_over: Cell<bool>,
    left: Notify,
}

/// The process's door, as a generation has it.
struct Doors {
    process: Rc<dyn Process>,
    tasks: Rc<Tasks>,
}

impl Process for Doors {
    fn pid(&self) -> Pid {
        self.process.pid()
    }

    fn start_time(&self) -> Option<StartTime> {
        self.process.start_time()
    }

    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        self.process.liveness(pid, start)
    }

    fn look_up(&self, pid: Pid) -> Option<ProcessEntry> {
        self.process.look_up(pid)
    }

    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()> {
        self.process.end_process(process, signal)
    }

    fn signal_process(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        self.process.signal_process(process, signal)
    }

    fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        self.process.handle_signals(signals)
    }

    fn run_command(&self, command: Command) -> LocalBoxFuture<'static, io::Result<CommandOutput>> {
        self.process.run_command(command)
    }

    fn exit(&self, code: ExitCode) {
        self.process.exit(code);
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.process.env_var(name)
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        self.process.ask_service_manager_to_restart()
    }

    fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        self.process.spawn_detached(what)
    }

    fn order_service(&self, order: ServiceOrder) -> io::Result<()> {
        self.process.order_service(order)
    }

    fn service_state(&self) -> io::Result<ServiceState> {
        self.process.service_state()
    }

    fn spawn(&self, name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        if self.tasks.is_over.get() {
            return Box::new(NeverStarted);
        }
        let number = self.tasks.next.replace(self.tasks.next.get() + 1);
        self.tasks.alive.borrow_mut().insert(number, None);
        let place = Place { tasks: self.tasks.clone(), number };
        let control: Rc<dyn TaskControl> = Rc::from(self.process.spawn(
            name,
            Box::pin(async move {
                let _place = place;
                task.await;
            }),
        ));
        // A process that is dead drops a task before it runs.
        if let Some(entry) = self.tasks.alive.borrow_mut().get_mut(&number) {
            *entry = Some(control.clone());
        }
        Box::new(Shared(control))
    }
}

/// A task's place in the list, which it leaves however it ends.
struct Place {
    tasks: Rc<Tasks>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        // The control is dropped after the list is free again: it may own what this task owned.
        let control = self.tasks.alive.borrow_mut().remove(&self.number);
        drop(control);
        self.tasks.left.notify_waiters();
    }
}

struct Shared(Rc<dyn TaskControl>);

impl TaskControl for Shared {
    fn abort(&self) {
        self.0.abort();
    }
}

struct NeverStarted;

impl TaskControl for NeverStarted {
    fn abort(&self) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::env::test_env::{World, on_paused_time};

    #[test]
    fn its_end_is_the_end_of_its_tasks_and_of_nobody_elses() {
        on_paused_time(async {
            let process = World::default().process(1).env;
            let (old, new) = (Generation::begin(&process), Generation::begin(&process));
            let ticks = Rc::new(Cell::new(0));
            let tick = |every: u64| {
                let ticks = ticks.clone();
                async move {
                    loop {
                        sleep(Duration::from_secs(1)).await;
                        ticks.set(ticks.get() + every);
                    }
                }
            };
            drop(old.env().spawn("old", tick(1)));
            drop(new.env().spawn("new", tick(100)));
            drop(old.env().spawn("short", async {}));
            sleep(Duration::from_millis(1_500)).await;
            assert_eq!((old.tasks(), new.tasks(), ticks.get()), (1, 1, 101));
            old.end().await;
            assert_eq!((old.tasks(), new.tasks()), (0, 1));
            sleep(Duration::from_secs(1)).await;
            assert_eq!(ticks.get(), 201);
        });
    }

    #[test]
    fn what_is_started_after_its_end_never_runs() {
        on_paused_time(async {
            let process = World::default().process(1).env;
            let old = Generation::begin(&process);
            let late = old.env().clone();
            let leaves_a_task = Leaves(late.clone());
            drop(old.env().spawn("holder", async move {
                let _leaves_a_task = leaves_a_task;
                std::future::pending::<()>().await;
            }));
            sleep(Duration::from_millis(1)).await;
            old.end().await;
            assert_eq!(late.spawn("late", async { 1 }).await, None);
            assert_eq!(old.tasks(), 0);
        });
    }

    /// Starts a task when it is dropped, as a careless destructor might.
    struct Leaves(Env);

    impl Drop for Leaves {
        fn drop(&mut self) {
            drop(self.0.spawn("afterthought", std::future::pending::<()>()));
        }
    }
}
