//! A process: its tasks, how they are polled, and the ways they end.
//!
//! Every task lives in a slot that the process owns and the runtime only borrows (the [`Gate`]), so that a death
//! can take all of them in the order they were spawned, whoever causes it. A dead process is marked first and
//! dropped second: while its destructors run, no door does anything for it any more, except that its kernel
//! closes its sockets, as kernels do. A death in the middle of the process's own poll waits for the end of that poll.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gateway::env::{
    KernelLock, LocalBoxFuture, Pid, ProcessEntry, ProcessId, Signal, SignalStream, StartTime, TaskControl,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use turmoil_net::HostId;

use super::World;
use super::current::{run_as, take_panic_message};
use super::executable::{Executable, Family};
use super::machine::Machine;
use super::random::RandomStream;
use super::slots::SlotId;
use crate::determinism::{TaskName, polling};
use crate::instant;
use crate::timeline::{DeathCause, Fact, Level, LogRecord, Source};

/// One process life.
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) start: StartTime,
    pub(super) program: String,
    /// An actor of the world rather than something under test: its disk operations are not recorded.
    pub(super) is_actor: bool,
    /// What it runs, as far as it can be run again.
    pub(super) executable: Option<Executable>,
    pub(super) family: Family,
    /// Who started it, unless somebody from outside did.
    parent: Option<ProcessId>,
    pub(super) machine: Rc<Machine>,
    pub(super) world: World,
    pub(super) slot: SlotId,
    pub(super) host: HostId,
    pub(super) random: RefCell<BTreeMap<&'static str, RandomStream>>,
    death: Rc<Death>,
    is_dead: Cell<bool>,
    is_frozen: Cell<bool>,
    /// It waits for its disk until then, if at all, and runs nothing, as a program with one thread does.
    busy_until: Cell<Option<Instant>>,
    /// Tasks whose turn came while it was busy.
    deferred: RefCell<Vec<Rc<TaskSlot>>>,
    /// A task of this process is being polled or dropped further up the stack.
    is_running: Cell<bool>,
    is_buried: Cell<bool>,
    tasks: RefCell<BTreeMap<u64, Rc<TaskSlot>>>,
    next_task: Cell<u64>,
    handlers: RefCell<Vec<(Vec<Signal>, mpsc::UnboundedSender<Signal>)>>,
    /// The kernel locks it holds, which its end frees.
    kernel_locks: RefCell<BTreeMap<u64, KernelLock>>,
    next_kernel_lock: Cell<u64>,
    /// A deadly signal that came while the process was stopped; it acts when the process continues.
    pending_default: Cell<Option<Signal>>,
}

/// The death of a process. Who waits for it is woken in the order of waiting; a `watch` channel of tokio would wake
/// several in a random one.
#[derive(Default)]
pub(super) struct Death {
    cause: Cell<Option<DeathCause>>,
    came: Notify,
}

impl Death {
    fn comes(&self, cause: DeathCause) {
        self.cause.set(Some(cause));
        self.came.notify_waiters();
    }

    /// Resolves with the cause once it has come.
    pub(super) async fn wait(&self) -> DeathCause {
        loop {
            let came = self.came.notified();
            if let Some(cause) = self.cause.get() {
                return cause;
            }
            came.await;
        }
    }
}

/// What a process is made of, for [`Process::new`].
pub(super) struct Birth {
    pub(super) pid: Pid,
    pub(super) start: StartTime,
    pub(super) program: String,
    pub(super) is_actor: bool,
    /// What it runs, as far as it can be run again.
    pub(super) executable: Option<Executable>,
    pub(super) family: Family,
    pub(super) parent: Option<ProcessId>,
    pub(super) machine: Rc<Machine>,
    pub(super) world: World,
    pub(super) slot: SlotId,
    pub(super) host: HostId,
}

impl Process {
    pub(super) fn new(birth: Birth) -> Rc<Self> {
        let Birth { pid, start, program, is_actor, executable, family, parent, machine, world, slot, host } =
            birth;
        Rc::new(Self {
            pid,
            start,
            program,
            is_actor,
            executable,
            family,
            parent,
            machine,
            world,
            slot,
            host,
            random: RefCell::default(),
            death: Rc::default(),
            is_dead: Cell::new(false),
            is_frozen: Cell::new(false),
            busy_until: Cell::new(None),
            deferred: RefCell::default(),
            is_running: Cell::new(false),
            is_buried: Cell::new(false),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            handlers: RefCell::default(),
            kernel_locks: RefCell::default(),
            next_kernel_lock: Cell::new(0),
            pending_default: Cell::new(None),
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.get()
    }

    /// Who it is, beyond doubt.
    pub(super) fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start: self.start }
    }

    /// Its line in the process table.
    pub(super) fn entry(&self) -> ProcessEntry {
        let is_parent =
            |parent: &ProcessId| self.machine.process(parent.pid).is_some_and(|p| p.id() == *parent);
        ProcessEntry {
            id: self.id(),
            parent: self.parent.filter(is_parent).map(|parent| parent.pid),
            program: self.program.clone(),
            running_for: self.world.since_start(self.start),
            is_stopped: self.is_frozen.get(),
            sees_our_network: true,
        }
    }

    /// Keeps a kernel lock for as long as the process lives and holds on to what this returns.
    pub(super) fn hold(self: &Rc<Self>, lock: KernelLock) -> KernelLock {
        let number = self.next_kernel_lock.replace(self.next_kernel_lock.get() + 1);
        self.kernel_locks.borrow_mut().insert(number, lock);
        let process = Rc::downgrade(self);
        KernelLock::new(move || {
            if let Some(process) = process.upgrade() {
                process.kernel_locks.borrow_mut().remove(&number);
            }
        })
    }

    /// Its death, for whoever waits for that.
    pub(super) fn death(&self) -> Rc<Death> {
        self.death.clone()
    }

    /// Records something about this process.
    pub(super) fn record(&self, fact: Fact) {
        self.world.record(Source::Process(self.pid), fact);
    }

    /// Adds a task. A dead process's is dropped at once.
    pub(super) fn spawn(
        self: &Rc<Self>,
        name: &'static str,
        future: LocalBoxFuture<'static, ()>,
    ) -> TaskGrip {
        let task = Rc::new(TaskSlot {
            name,
            number: self.next_task.get(),
            future: RefCell::new(Some(future)),
            waker: RefCell::new(None),
            is_aborted: Cell::new(false),
        });
        self.next_task.set(task.number + 1);
        let grip = TaskGrip { process: self.clone(), task: task.clone() };
        if self.is_dead() {
            self.drop_future(&task);
            return grip;
        }
        self.tasks.borrow_mut().insert(task.number, task.clone());
        tokio::task::spawn_local(Gate { process: self.clone(), task });
        grip
    }

    /// The names of its living tasks, in spawn order.
    pub(super) fn task_names(&self) -> Vec<&'static str> {
        self.tasks.borrow().values().map(|task| task.name).collect()
    }

    pub(super) fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        let (deliver, stream) = mpsc::unbounded_channel();
        if !self.is_dead() {
            self.handlers.borrow_mut().push((signals.to_vec(), deliver));
        }
        SignalStream::new(stream)
    }

    /// A signal arrives: handlers get it, or its default action applies, which is death; only a container's first
    /// process is spared.
    pub(super) fn signal(self: &Rc<Self>, signal: Signal) {
        if self.is_dead() {
            return;
        }
        let takers: Vec<_> = {
            let handlers = self.handlers.borrow();
            let takes = |(signals, _): &&(Vec<Signal>, _)| signals.contains(&signal);
            handlers.iter().filter(takes).map(|(_, deliver)| deliver.clone()).collect()
        };
        self.record(Fact::SignalDelivered { pid: self.pid, signal, handled: !takers.is_empty() });
        for taker in &takers {
            // A stream that was dropped is a handler that does nothing.
            let _ = taker.send(signal);
        }
        if takers.is_empty() && self.machine.is_init(self.pid) {
            return;
        }
        match (takers.is_empty(), self.is_frozen.get()) {
            (true, false) => self.die(DeathCause::Signal(signal)),
            (true, true) => self.pending_default.set(Some(signal)),
            (false, _) => {}
        }
    }

    /// Stops polling tasks. The kernel goes on: it acknowledges what arrives and accepts into the backlog.
    pub(super) fn freeze(&self) {
        if !self.is_dead() && !self.is_frozen.replace(true) {
            self.record(Fact::ProcessFrozen { pid: self.pid });
        }
    }

    /// Polls every task again; overdue timers fire now.
    pub(super) fn thaw(self: &Rc<Self>) {
        if self.is_dead() || !self.is_frozen.replace(false) {
            return;
        }
        self.record(Fact::ProcessThawed { pid: self.pid });
        match self.pending_default.take() {
            Some(signal) => self.die(DeathCause::Signal(signal)),
            None => self.tasks.borrow().values().for_each(|task| task.wake()),
        }
    }

    /// The process waits for its disk: after the present poll it runs nothing for so long, and what it has
    /// written to the network leaves no sooner.
    pub(super) fn wait_for_disk(self: &Rc<Self>, lasting: Duration) {
        if lasting.is_zero() || self.is_dead() {
            return;
        }
        let now = instant::now();
        let was_busy = self.is_busy();
        let until = self.busy_until.get().map_or(now, |until| until.max(now)) + lasting;
        self.busy_until.set(Some(until));
        self.world.network().hold(self.slot, until);
        if !was_busy {
            let process = self.clone();
            self.world.spawn(async move {
                while let Some(until) = process.busy_until.get().filter(|until| *until > instant::now()) {
                    sleep_until(until).await;
                }
                process.deferred.take().iter().for_each(|task| task.wake());
            });
        }
    }

    /// Whether it waits for its disk. Asked at every poll, so the clock is only read when it may.
    fn is_busy(&self) -> bool {
        let Some(until) = self.busy_until.get() else { return false };
        let is_busy = until > instant::now();
        if !is_busy {
            self.busy_until.set(None);
        }
        is_busy
    }

    /// Ends the process. What it listens on is free at once; its tasks are dropped now, or when the poll of its
    /// own that this call comes from returns.
    pub(super) fn die(self: &Rc<Self>, cause: DeathCause) {
        if self.is_dead.replace(true) {
            return;
        }
        self.leave_ports(cause);
        for port in self.machine.dismiss(self.pid) {
            self.record(Fact::PortReleased { pid: self.pid, machine: self.machine.name.clone(), port });
        }
        self.record(Fact::ProcessExited {
            pid: self.pid,
            machine: self.machine.name.clone(),
            program: self.program.clone(),
            cause,
        });
        self.kernel_locks.borrow_mut().clear();
        self.world.note_death(self.pid, cause);
        self.bury_if_idle();
        self.death.comes(cause);
        if self.machine.is_init(self.pid) && cause != DeathCause::PowerLoss {
            self.machine.processes().iter().for_each(|process| process.die(DeathCause::Killed));
        }
    }

    /// Where sockets take their time to go, the ports of a process that was killed stay taken for a while.
    fn leave_ports(&self, cause: DeathCause) {
        let linger = self.machine.port_linger();
        if linger.is_zero() || !matches!(cause, DeathCause::Killed | DeathCause::Signal(_)) {
            return;
        }
        for (port, kernel) in self.machine.leave_ports(self.pid) {
            let (pid, machine, world) = (self.pid, self.machine.clone(), self.world.clone());
            self.world.spawn(async move {
                tokio::time::sleep(linger).await;
                if machine.take_down(port, kernel) {
                    let fact = Fact::PortReleased { pid, machine: machine.name.clone(), port };
                    world.record(Source::Process(pid), fact);
                }
            });
        }
    }

    /// Drops everything without a word, at the end of the world.
    pub(super) fn vanish(self: &Rc<Self>) {
        self.is_dead.set(true);
        self.bury_if_idle();
    }

    /// Drops the tasks of a dead process, unless one of them is on the stack.
    fn bury_if_idle(self: &Rc<Self>) {
        if !self.is_dead() || self.is_running.get() || self.is_buried.replace(true) {
            return;
        }
        while let Some((_, task)) = self.pop_first_task() {
            self.drop_future(&task);
            task.wake();
        }
        self.handlers.borrow_mut().clear();
        self.deferred.borrow_mut().clear();
        self.world.network().release_slot(self.slot);
    }

    fn pop_first_task(&self) -> Option<(u64, Rc<TaskSlot>)> {
        self.tasks.borrow_mut().pop_first()
    }

    /// Drops a task's future as part of the process. A destructor that panics harms nobody else.
    fn drop_future(self: &Rc<Self>, task: &TaskSlot) {
        let future = task.future.borrow_mut().take();
        // A dead process's destructors are no part of the story: what they shout is not recorded.
        let _ = self.run(|| drop(future));
    }

    /// Ends one task early.
    fn abort(self: &Rc<Self>, task: &TaskSlot) {
        task.is_aborted.set(true);
        task.wake();
    }

    /// Runs a piece of this process and catches its panic.
    fn run<R>(self: &Rc<Self>, body: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
        let was_running = self.is_running.replace(true);
        let result = run_as(self, || catch_unwind(AssertUnwindSafe(body)));
        self.is_running.set(was_running);
        result
    }

    fn poll_task(self: &Rc<Self>, task: &Rc<TaskSlot>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_dead() {
            return Poll::Ready(());
        }
        task.remember(cx.waker());
        if self.is_frozen.get() {
            return Poll::Pending;
        }
        if self.is_busy() {
            self.deferred.borrow_mut().push(task.clone());
            return Poll::Pending;
        }
        if task.is_aborted.get() {
            return self.finish(task);
        }
        let Some(mut future) = task.future.borrow_mut().take() else { return Poll::Ready(()) };
        let name = || TaskName { pid: self.pid, name: task.name, number: task.number };
        let outcome = polling(name, || self.run(|| future.as_mut().poll(cx)));
        *task.future.borrow_mut() = Some(future);
        match outcome {
            Ok(Poll::Pending) if !task.is_aborted.get() => {}
            Ok(_) if self.is_dead() => {}
            Ok(_) => return self.finish(task),
            Err(_) => {
                self.record_panic(take_panic_message());
                self.die(DeathCause::Panicked);
            }
        }
        self.bury_if_idle();
        if self.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The task is over: its future is dropped as part of the process.
    fn finish(self: &Rc<Self>, task: &TaskSlot) -> Poll<()> {
        self.tasks.borrow_mut().remove(&task.number);
        self.drop_future(task);
        self.bury_if_idle();
        Poll::Ready(())
    }

    /// A panic's message goes where a real process's would: into its log.
    fn record_panic(&self, message: String) {
        let record = LogRecord {
            name: "panic".to_string(),
            level: Level::Error,
            fields: vec![("message".to_string(), message)],
        };
        self.record(Fact::Log { pid: self.pid, record });
    }
}

/// A task's future and the way to wake whoever polls it.
struct TaskSlot {
    name: &'static str,
    number: u64,
    /// Empty while the future is being polled, and after its end.
    future: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    waker: RefCell<Option<Waker>>,
    is_aborted: Cell<bool>,
}

impl TaskSlot {
    fn remember(&self, waker: &Waker) {
        let mut remembered = self.waker.borrow_mut();
        if !remembered.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *remembered = Some(waker.clone());
        }
    }

    fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What the runtime polls: it looks into the slot and finds the task, or learns that there is none any more.
struct Gate {
    process: Rc<Process>,
    task: Rc<TaskSlot>,
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.process.poll_task(&self.task, cx)
    }
}

/// A grip on one task, for the process door.
pub(super) struct TaskGrip {
    process: Rc<Process>,
    task: Rc<TaskSlot>,
}

impl TaskControl for TaskGrip {
    fn abort(&self) {
        if !self.process.is_dead() {
            self.process.abort(&self.task);
        }
    }
}
