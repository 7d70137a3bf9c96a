//! The command-line tool: looks at the sessions of a state directory and labels them, in a process of its own.
//!
//! It is the second writer of the session store. It goes through the same `SessionStore`, under the same
//! policies, as a gateway that may be serving meanwhile, and does not take the instance lock: two programs use one
//! state directory here, and the store's own protocol has to keep them apart. It prints nothing; what it has to say
//! is its [`ToolReport`].

use std::path::Path;

use serde_json::Value;

use crate::Launch;
use crate::config::{Config, ConfigError};
use crate::env::{Env, ExitCode, WallTime};
use crate::lifecycle::relaunch::{self, RelaunchError};
use crate::sessions::{
    LockError, SessionEntry, SessionStore, StateError, StateFiles, UnfencedError, sessions_dir,
};

/// The field of a session's entry that holds its labels.
const LABELS: &str = "labels";

/// What the tool is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolCommand {
    /// Lists all sessions.
    List,
    /// Adds a label to a session. One that it has already is not added again.
    Label {
        /// The session's key.
        key: String,
        /// The label, one line.
        text: String,
    },
    /// Asks the service manager to stop the gateway's service and to start it again, as after a change of the
    /// service's own definition.
    Reload,
}

/// What a tool has to say when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolReport {
    /// [`ExitCode::CLEAN`]; [`ExitCode::FAILURE`] when trying again, or asking for something else, may help;
    /// [`ExitCode::CONFIG`] when somebody has to repair something first.
    pub code: ExitCode,
    /// The answer, or why there is none; without a line break at the end.
    pub said: String,
}

/// Why the tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a label is one line of text that is not empty")]
    BadLabel,
    #[error("there is no session {key:?}; `sessions list` shows those that there are")]
    NoSuchSession { key: String },
    #[error("the session store is busy, nothing was changed: {0}")]
    Busy(StateError),
    /// A tool is gone before it could see that a holder is silent, unlike a gateway; a dead one is in nobody's way.
    #[error(
        "the session store is busy, nothing was changed: {0}. If that process stands still, end it and try again."
    )]
    Held(StateError),
    #[error("{0}")]
    Unconfirmed(StateError),
    #[error("{0}")]
    Relaunch(#[from] RelaunchError),
    #[error("cannot use the session store, nothing was changed: {0}{advice}", advice = match .0 {
        StateError::Unreadable { .. } => "; a start of the gateway restores it where it can",
        _ => "",
    })]
    State(StateError),
}

impl From<StateError> for ToolError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Lock(LockError::Io { .. }) | StateError::Unfenced(UnfencedError::Io { .. }) => {
                Self::State(error)
            }
            StateError::Lock(LockError::Held { .. }) => Self::Held(error),
            StateError::Lock(_) | StateError::Unfenced(UnfencedError::TimedOut { .. }) => Self::Busy(error),
            StateError::Unconfirmed { .. } => Self::Unconfirmed(error),
            StateError::Io { .. } | StateError::Unreadable { .. } => Self::State(error),
        }
    }
}

impl ToolError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::State(StateError::Unreadable { .. }) => ExitCode::CONFIG,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs one command on the state directory of `launch`'s configuration, whether or not a gateway serves there.
pub async fn run(env: Env, launch: Launch, command: ToolCommand) -> ToolReport {
    match obey(&env, &launch, command).await {
        Ok(said) => ToolReport { code: ExitCode::CLEAN, said },
        Err(error) => ToolReport { code: error.exit_code(), said: error.to_string() },
    }
}

async fn obey(env: &Env, launch: &Launch, command: ToolCommand) -> Result<String, ToolError> {
    let config = Config::load(env.fs(), &launch.config)?;
    if command == ToolCommand::Reload {
        return Ok(relaunch::reload(env, &config, launch.policies.reload).await?.to_string());
    }
    // A tool creates no state: it changes what a gateway began, and a mistyped directory stays as it is.
    let dir = sessions_dir(&config.gateway.state_dir);
    let files = StateFiles::new(env.clone(), launch.policies.state_write);
    let store = SessionStore::open(env.clone(), files, &dir, &launch.policies)?;
    match command {
        ToolCommand::List => list(&store, &dir),
        ToolCommand::Reload => unreachable!("it needs no store"),
        ToolCommand::Label { key, text } => label(env, &store, &key, &text).await,
    }
}

/// One line per session, in the order of their keys.
fn list(store: &SessionStore, dir: &Path) -> Result<String, ToolError> {
    let lines: Vec<String> =
        store.read(|sessions| sessions.iter().map(|(key, entry)| line(key, entry)).collect())?;
    Ok(if lines.is_empty() { format!("no sessions in {}", dir.display()) } else { lines.join("\n") })
}

fn line(key: &str, entry: &SessionEntry) -> String {
    let updated = WallTime::from_epoch_ms(entry.updated_at);
    let labels: Vec<_> = labels(entry).iter().map(|label| format!("{label:?}")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("  {}", labels.join(", ")) };
    format!("{key}  {updated}{labels}")
}

fn labels(entry: &SessionEntry) -> Vec<&str> {
    let labels = entry.other.get(LABELS).and_then(Value::as_array);
    labels.into_iter().flatten().filter_map(Value::as_str).collect()
}

async fn label(env: &Env, store: &SessionStore, key: &str, text: &str) -> Result<String, ToolError> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(ToolError::BadLabel);
    }
    let unknown = || ToolError::NoSuchSession { key: key.to_string() };
    // Asked before anything is locked, and again of what the lock protects.
    if !store.read(|sessions| sessions.contains_key(key))? {
        return Err(unknown());
    }
    let now_ms = env.wall_clock().epoch_ms();
    let found = store
        .change(|sessions| {
            let Some(entry) = sessions.get_mut(key) else { return false };
            if !labels(entry).contains(&text) {
                let labels =
                    entry.other.entry(LABELS.to_string()).or_insert_with(|| Value::Array(Vec::new()));
                match labels {
                    Value::Array(labels) => labels.push(text.into()),
                    other => *other = Value::Array(vec![text.into()]),
                }
                entry.updated_at = now_ms;
            }
            true
        })
        .await?;
    store.keep_copy();
    if found { Ok(format!("{key} is labelled {text:?}")) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {

    use serde_json::json;

    use super::*;
    use crate::env::test_env::{World, on_paused_time};
    use crate::policy::Policies;

    const STORE: &str = "/state/agents/main/sessions/sessions.json";
    const LOCK: &str = "/state/agents/main/sessions/sessions.json.lock";

    /// A machine on which a gateway has had one conversation.
    fn machine() -> World {
        let world = World::default();
        let config = json!({
            "gateway": {"auth": {"token": "t"}, "stateDir": "/state"},
            "model": {"baseUrl": "http://model:8080/v1", "name": "m"},
        });
        world.put("/config.json", &config.to_string());
        let entry = json!({
            "sessionId": "1", "sessionFile": "1.jsonl", "updatedAt": 1_772_000_000_123_u64, "color": "red",
        });
        world.put(STORE, &json!({ "agent:main:ann": entry }).to_string());
        world
    }

    fn tool(world: &World, pid: u32, command: ToolCommand) -> ToolReport {
        let process = world.process(pid);
        let launch = Launch { config: "/config.json".into(), policies: Policies::default() };
        on_paused_time(run(process.env.clone(), launch, command))
    }

    fn label(text: &str) -> ToolCommand {
        ToolCommand::Label { key: "agent:main:ann".into(), text: text.into() }
    }

    fn told(code: ExitCode, said: &str) -> ToolReport {
        ToolReport { code, said: said.into() }
    }

    #[test]
    fn labels_are_added_and_nothing_else_is_touched() {
        let world = machine();
        let first = tool(&world, 1, label("urgent"));
        assert_eq!(first, told(ExitCode::CLEAN, r#"agent:main:ann is labelled "urgent""#));
        assert_eq!(tool(&world, 2, label("paid")).code, ExitCode::CLEAN);
        assert_eq!(tool(&world, 3, label("urgent")).code, ExitCode::CLEAN);
        let store: Value = serde_json::from_str(&world.text(STORE)).expect("it parses");
        assert_eq!(store["agent:main:ann"]["labels"], json!(["urgent", "paid"]));
        assert_eq!(store["agent:main:ann"]["color"], "red");
        let listed = tool(&world, 4, ToolCommand::List).said;
        assert!(
            listed.starts_with("agent:main:ann  ") && listed.ends_with(r#"  "urgent", "paid""#),
            "{listed}"
        );
    }

    #[test]
    fn what_cannot_be_done_is_said_and_changes_nothing() {
        let world = machine();
        let before = world.text(STORE);
        let nobody = ToolCommand::Label { key: "bob".into(), text: "x".into() };
        let unknown = r#"there is no session "bob"; `sessions list` shows those that there are"#;
        assert_eq!(tool(&world, 1, nobody), told(ExitCode::FAILURE, unknown));
        assert_eq!(tool(&world, 2, label(" ")).code, ExitCode::FAILURE);
        assert_eq!(tool(&world, 2, label("two\nlines")).code, ExitCode::FAILURE);
        assert_eq!(world.text(STORE), before);
    }

    #[test]
    fn a_store_that_another_process_holds_is_busy_and_says_whose_it_is() {
        let world = machine();
        world.neighbour(7);
        let lock = json!({"pid": 7, "createdAt": "2026-03-02T00:00:00Z", "ownerId": "x"});
        world.put(LOCK, &lock.to_string());
        let report = tool(&world, 8, label("urgent"));
        assert_eq!(report.code, ExitCode::FAILURE);
        assert!(
            report.said.starts_with("the session store is busy, nothing was changed: "),
            "{}",
            report.said
        );
        assert!(report.said.contains("process 7 since 2026-03-02T00:00:00.000Z"), "{}", report.said);
        assert!(!world.text(STORE).contains("urgent"));
    }

    #[test]
    fn a_holder_that_stands_still_is_named_with_what_to_do_about_it() {
        let world = machine();
        world.neighbour(7);
        let lock = json!({"pid": 7, "createdAt": "2026-03-02T00:00:00Z", "ownerId": "x", "leaseMs": 30_000});
        world.put(LOCK, &lock.to_string());
        let report = tool(&world, 8, label("urgent"));
        assert_eq!(report.code, ExitCode::FAILURE);
        assert!(report.said.contains("process 7 since 2026-03-02T00:00:00.000Z"), "{}", report.said);
        assert!(
            report.said.ends_with("If that process stands still, end it and try again."),
            "{}",
            report.said
        );
    }

    #[test]
    fn only_a_store_that_somebody_holds_is_busy() {
        let path = std::path::PathBuf::from("/state/sessions.json.lock");
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let held = UnfencedError::TimedOut { path: path.clone(), owner: "pid=7".into(), waited_ms: 10_000 };
        let busy: [StateError; 2] = [held.into(), LockError::Lost { path: path.clone() }.into()];
        for error in busy {
            assert!(matches!(ToolError::from(error), ToolError::Busy(_)));
        }
        let refused: [StateError; 2] = [
            UnfencedError::Io { path: path.clone(), source: full() }.into(),
            LockError::Io { path, source: full() }.into(),
        ];
        for error in refused {
            assert!(matches!(ToolError::from(error), ToolError::State(_)));
        }
    }

    #[test]
    fn a_change_that_is_not_confirmed_is_not_said_to_be_none() {
        let world = machine();
        world.fail(crate::env::FsOp::SyncDir, "sessions", 1, 0);
        let report = tool(&world, 1, label("urgent"));
        assert_eq!(report.code, ExitCode::FAILURE);
        assert!(world.text(STORE).contains("urgent"));
        assert!(!report.said.contains("nothing was changed"), "{}", report.said);
        assert!(report.said.contains("may not survive a power loss"), "{}", report.said);
        assert_eq!(tool(&world, 2, label("urgent")).code, ExitCode::CLEAN);
    }

    #[test]
    fn what_somebody_has_to_repair_first_is_a_configuration_error() {
        let world = machine();
        world.put(STORE, "{\"agent");
        let unreadable = tool(&world, 1, ToolCommand::List);
        assert_eq!(unreadable.code, ExitCode::CONFIG);
        assert!(unreadable.said.contains("sessions.json:1:"), "{}", unreadable.said);
        world.put("/config.json", "{");
        assert_eq!(tool(&world, 2, ToolCommand::List).code, ExitCode::CONFIG);
    }

    #[test]
    fn a_state_directory_without_sessions_says_so_and_stays_as_it_is() {
        let world = World::default();
        world.put("/config.json", &machine().text("/config.json"));
        let none = told(ExitCode::CLEAN, "no sessions in /state/agents/main/sessions");
        assert_eq!(tool(&world, 1, ToolCommand::List), none);
        assert_eq!(tool(&world, 2, label("urgent")).code, ExitCode::FAILURE);
        assert_eq!(tool(&world, 3, ToolCommand::List), none);
    }
}
