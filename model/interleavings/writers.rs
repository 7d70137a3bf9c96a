//! What the processes run: the session store itself, and lockers with known flaws that prove the harness.
//!
//! Everything that knows the interface of the session store stands in [`Writer`].

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::machine::World;
use super::process::Doors;
use super::promises::{COUNT, FOLDER, LOCK, NOTED, STORE};
use super::schedule::{Life, Task};
use crate::env::{Env, Liveness, Pid, StartTime};
use crate::policy::{Policies, StoreLock};
use crate::sessions::{SessionStore, Sessions, StateFiles, Trace};

/// How long the last process may need, in spite of whatever the others left behind.
const CLOSING_BOUND: Duration = Duration::from_secs(60);

/// Which program all processes run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Program {
    /// The session store, with its lock by this policy.
    Store(StoreLock),
    /// A locker of the tests.
    Naive(Flaw),
}

/// What a locker gets wrong (OpenClaw 2026.3.2 did all of it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flaw {
    /// A lock is stale after 30 s, whoever lives.
    StaleByAge,
    /// As that, and the lock file is removed at the end, whosever it is by then.
    ReleasesUnseen,
    /// A dead holder's lock is judged, and then whatever lock is there is removed.
    JudgesThenRemoves,
}

/// A program that is running.
enum Writer {
    Store(Box<SessionStore>),
    Naive(Env, Flaw),
}

impl Writer {
    fn open(program: Program, env: Env) -> Result<Self, String> {
        match program {
            Program::Store(store_lock) => {
                let policies = Policies { store_lock, ..Policies::default() };
                let files = StateFiles::new(env.clone(), policies.state_write);
                let store = SessionStore::open(env, files, Path::new(FOLDER), &policies);
                store.map(|store| Self::Store(Box::new(store))).map_err(|error| error.to_string())
            }
            Program::Naive(flaw) => Ok(Self::Naive(env, flaw)),
        }
    }

    async fn add_note(&self, note: &str) -> Result<(), String> {
        match self {
            Self::Store(store) => {
                let add = |sessions: &mut Sessions| note_down(sessions, note);
                store.change(add).await.map_err(|error| error.to_string())
            }
            Self::Naive(env, flaw) => {
                add_note_naively(env, *flaw, note).await.map_err(|error| error.to_string())
            }
        }
    }

    async fn touch(&self, key: &str) -> Result<(), String> {
        match self {
            Self::Store(store) => {
                store.touch(key, &Trace::default()).await.map(drop).map_err(|error| error.to_string())
            }
            Self::Naive(..) => Err("only the store has sessions".into()),
        }
    }
}

/// Adds a note, as JSON sees it: a field of its own, and one more in the count.
fn note_down(sessions: &mut Sessions, note: &str) {
    let mut noted = sessions.get(NOTED).map_or_else(
        || json!({ "sessionId": "noted", "sessionFile": "noted.jsonl", "updatedAt": 0 }),
        |entry| json!(entry),
    );
    noted[COUNT] = json!(noted[COUNT].as_u64().unwrap_or(0) + 1);
    noted[note] = json!(true);
    sessions
        .insert(NOTED.into(), serde_json::from_value(noted).expect("an entry with more fields is an entry"));
}

/// One life of a program.
pub(super) async fn live(doors: Rc<Doors>, program: Program, life: Life) {
    let Some(writer) = open_patiently(&doors, program).await else { return };
    for (index, task) in life.tasks.into_iter().enumerate() {
        let note = format!("note {}.{index}", doors.claim.life);
        match task {
            Task::Note => drop(add_note(&doors, &writer, &note).await),
            Task::TwoNotes => {
                let second = format!("{note} too");
                let _ = tokio::join!(add_note(&doors, &writer, &note), add_note(&doors, &writer, &second));
            }
            Task::NoteWithin(ms) => {
                let added = add_note(&doors, &writer, &note);
                let _ = timeout(Duration::from_millis(ms.into()), added).await;
            }
            Task::Touch(which) => touch(&doors, &writer, which).await,
            Task::Pause(ms) => sleep(Duration::from_millis(ms.into())).await,
            Task::HoldAsOldPrograms(ms) => {
                hold_as_old_programs(&doors, Duration::from_millis(ms.into())).await
            }
        }
    }
}

/// The life of the last process: whatever happened, it gets its note in, in time. Nobody can take a kernel lock from
/// a process that stands still, or its lock from an old program; time counts from when that goes on.
pub(super) async fn close(doors: Rc<Doors>, program: Program) {
    let mut began = Instant::now();
    let mut added = Err("the store could not be opened".to_string());
    let writer = open_patiently(&doors, program).await;
    for attempt in 0..60 {
        let Some(writer) = &writer else { break };
        added = add_note(&doors, writer, &format!("last note {attempt}")).await;
        if added.is_ok() || began.elapsed() > CLOSING_BOUND {
            break;
        }
        if doors.machine().world().thaw_who_bars_the_way(&doors.claim) {
            began = Instant::now();
        }
        sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed();
    let mut world = doors.machine().world();
    match added {
        Ok(()) if took <= CLOSING_BOUND => {}
        Ok(()) => world.promises.breach(format!("the last process needed {took:?}")),
        Err(why) => world.promises.breach(format!("the last process could not write: {why}")),
    }
}

async fn open_patiently(doors: &Rc<Doors>, program: Program) -> Option<Writer> {
    for _ in 0..4 {
        match Writer::open(program, doors.env()) {
            Ok(writer) => return Some(writer),
            Err(why) => say(doors, format_args!("cannot open the store: {why}")),
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn add_note(doors: &Doors, writer: &Writer, note: &str) -> Result<(), String> {
    let began = doors.machine().world().steps;
    let added = writer.add_note(note).await;
    if doors.lives() {
        let mut world = doors.machine().world();
        let World { promises, disk, .. } = &mut *world;
        match &added {
            Ok(()) => promises.acknowledge(note, disk),
            Err(_) => promises.refuse(doors.claim.life, note, began, disk),
        }
        world.note(&doors.claim, format_args!("{note}: {added:?}"));
    }
    added
}

async fn touch(doors: &Doors, writer: &Writer, which: u8) {
    let key = format!("agent:main:direct:{which}");
    let touched = writer.touch(&key).await;
    if doors.lives() {
        let mut world = doors.machine().world();
        let World { promises, disk, .. } = &mut *world;
        if touched.is_ok() {
            promises.tell_of(&key, disk);
        }
        world.note(&doors.claim, format_args!("{key}: {touched:?}"));
    }
}

/// What a program of era A does around its work: no owner, no lease, no look at the end.
async fn hold_as_old_programs(doors: &Rc<Doors>, hold: Duration) {
    doors.machine().world().promises.behaves_as_old_programs(doors.claim.life, true);
    let created_at = doors.env().wall_clock().to_string();
    let payload = json!({ "pid": doors.claim.pid, "createdAt": created_at }).to_string();
    for _ in 0..10 {
        if doors.machine().create_with(&doors.claim, Path::new(LOCK), payload.as_bytes()).is_ok() {
            say(doors, format_args!("holds the lock as old programs do"));
            sleep(hold).await;
            let _ = doors.machine().remove(&doors.claim, Path::new(LOCK));
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    doors.machine().world().promises.behaves_as_old_programs(doors.claim.life, false);
}

fn say(doors: &Doors, what: std::fmt::Arguments<'_>) {
    doors.machine().world().note(&doors.claim, what);
}

/// A lock file without a guard: what there was before.
async fn add_note_naively(env: &Env, flaw: Flaw, note: &str) -> std::io::Result<()> {
    let fs = env.fs();
    let (lock, store) = (Path::new(LOCK), Path::new(STORE));
    let owner = env.random_id("lock-owner");
    let payload =
        json!({ "pid": env.process().pid(), "startTime": env.process().start_time(), "owner": owner });
    let payload = payload.to_string().into_bytes();
    let started = Instant::now();
    while fs.create_new(lock).is_err() {
        if let Some(judged) = naively_stale(env, flaw, started) {
            let unchanged = || fs.read(lock).is_ok_and(|now| now == judged);
            if flaw == Flaw::JudgesThenRemoves || unchanged() {
                let _ = fs.remove(lock);
            }
            continue;
        }
        if started.elapsed() > Duration::from_secs(10) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    fs.write(lock, &payload)?;
    let written = replace_naively(env, store, note);
    if flaw == Flaw::ReleasesUnseen || fs.read(lock).is_ok_and(|now| now == payload) {
        let _ = fs.remove(lock);
    }
    written
}

/// The lock in the way, if it counts as stale.
fn naively_stale(env: &Env, flaw: Flaw, watched_since: Instant) -> Option<Vec<u8>> {
    let judged = env.fs().read(Path::new(LOCK)).ok()?;
    let stale = match serde_json::from_slice::<Value>(&judged) {
        Ok(payload) => {
            let pid = Pid(u32::try_from(payload["pid"].as_u64()?).ok()?);
            let dead =
                env.process().liveness(pid, payload["startTime"].as_u64().map(StartTime)) == Liveness::Dead;
            let modified = env.fs().stat(Path::new(LOCK)).ok()?.modified;
            let old = env.wall_clock().since(modified) > Duration::from_secs(30);
            dead || (old && flaw != Flaw::JudgesThenRemoves)
        }
        Err(_) => watched_since.elapsed() > Duration::from_secs(5),
    };
    stale.then_some(judged)
}

fn replace_naively(env: &Env, store: &Path, note: &str) -> std::io::Result<()> {
    let before = match env.fs().read(store) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error),
    };
    let mut sessions: Value = before;
    sessions[NOTED][note] = json!(true);
    let count = sessions[NOTED][COUNT].as_u64().unwrap_or(0);
    sessions[NOTED][COUNT] = json!(count + 1);
    let temporary = store.with_extension(format!("{}.tmp", env.process().pid()));
    env.fs().write(&temporary, sessions.to_string().as_bytes())?;
    env.fs().sync_file(&temporary)?;
    env.fs().rename(&temporary, store)?;
    env.fs().sync_dir(Path::new(FOLDER))
}
