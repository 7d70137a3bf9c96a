//! The operator's side of restarts: the gateway's own command line, run as a process on its machine, and the file that
//! the gateway watches.
//!
//! What the command line answers is a fact, and so is its silence: nobody here looks into the gateway.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Env, ExitCode, LocalBoxFuture, Pid};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::stage::{CLIENTS_MACHINE, GATEWAY_MACHINE, Stage};
use crate::actors::asker::{self, Question};
use crate::actors::console::{self, ConsoleSettings, Waited};
use crate::scenario::{ConfigEdit, GatewaySetup, NewContents, RestartAsk, Scenario, Verb};
use crate::timeline::{Event, Fact, RestartMode, Source, TOOL_PROGRAM};
use crate::world::World;

/// How many command lines a scenario starts.
pub(super) fn count(scenario: &Scenario) -> usize {
    let asks = |verb: &Verb| match verb {
        Verb::AskForRestart(ask) => ask.count as usize,
        _ => 0,
    };
    scenario.steps.iter().map(|step| asks(&step.verb)).sum()
}

/// Brings the operator's console, where somebody asks for restarts.
pub(super) fn console(
    world: &World,
    scenario: &Scenario,
) -> io::Result<Option<mpsc::UnboundedSender<Waited>>> {
    if count(scenario) == 0 {
        return Ok(None);
    }
    let (tell, told) = mpsc::unbounded_channel();
    let recorder = world.recorder().clone();
    let settings = ConsoleSettings { port: scenario.gateway.port, token: scenario.gateway.token.clone() };
    world.start_actor(CLIENTS_MACHINE, "console", move |env| {
        Box::pin(async move {
            console::run(env, recorder, settings, told).await;
            ExitCode::CLEAN
        })
    })?;
    Ok(Some(tell))
}

/// How long a restart may wait for work in hand; `None`: without limit.
pub(super) fn deferral_limit(gateway: &GatewaySetup) -> Option<Duration> {
    // What the gateway's documentation says of a configuration that does not.
    const DEFAULT: Duration = Duration::from_secs(300);
    Some(gateway.deferral_limit.unwrap_or(DEFAULT)).filter(|limit| !limit.is_zero())
}

/// How long work in hand may keep the port after a signal. Where a restart signal asks like everybody else, it waits
/// first.
pub(super) fn drain_budget(gateway: &GatewaySetup) -> Duration {
    let asks = gateway.settings.get("gateway.reload.signal").is_some_and(|signal| signal == "ask");
    const A_DAY: Duration = Duration::from_secs(86_400);
    let wait = if asks { deferral_limit(gateway).unwrap_or(A_DAY) } else { Duration::ZERO };
    gateway.drain_budget.saturating_add(wait)
}

/// How many processes that takes: the command lines and the console.
pub(super) fn processes(scenario: &Scenario) -> usize {
    match count(scenario) {
        0 => 0,
        count => count + 1,
    }
}

fn asked(events: &[Event]) -> u32 {
    events.iter().map(|event| u32::from(matches!(event.fact, Fact::RestartAsked { .. }))).sum()
}

impl Stage {
    /// Asks for restarts, one after another, and does not wait for the answers.
    pub(super) async fn ask_for_restarts(&self, ask: &RestartAsk) -> Result<(), String> {
        for number in 0..ask.count {
            if number > 0 {
                sleep(ask.every).await;
            }
            self.ask_for_restart(ask.mode, ask.session_of.as_deref())?;
        }
        Ok(())
    }

    fn ask_for_restart(&self, mode: RestartMode, session_of: Option<&str>) -> Result<(), String> {
        // Where nothing runs nobody asks.
        if !self.world.has_power(GATEWAY_MACHINE) {
            return Err(format!("{GATEWAY_MACHINE} has no power"));
        }
        let recorder = self.world.recorder();
        let request = recorder.with_events(asked) + 1;
        recorder.record(Source::Operator, Fact::RestartAsked { request, mode });
        let question = session_of.map(|sender| self.question(request, sender, mode));
        let (launch, startup) = self.launch_of_tool();
        let says = Says { stage: self.clone(), request, has_spoken: Rc::default() };
        let speaker = says.clone();
        let main = move |env: Env| -> LocalBoxFuture<'static, ExitCode> {
            Box::pin(async move {
                sleep(startup).await;
                let pid = env.process().pid();
                if let Some(question) = question {
                    let answer = asker::ask(&env, question).await;
                    let (ok, said) = answer_words(answer);
                    speaker.answered(pid, ok, &said);
                    return ExitCode::CLEAN;
                }
                let outcome = gateway::command_line(env, launch, arguments(mode)).await;
                speaker.answered(pid, outcome.code == ExitCode::CLEAN, &outcome.stdout);
                outcome.code
            })
        };
        let pid = self.world.start_process(GATEWAY_MACHINE, TOOL_PROGRAM, main);
        let pid = pid.map_err(|error| error.to_string())?;
        let exit = self.world.wait_exit(pid);
        self.world.spawn(async move {
            // Without an end there is nothing to say: the world is over.
            if let Ok(cause) = exit.await {
                says.answered(pid, false, &cause.to_string());
            }
        });
        Ok(())
    }

    /// What a tool of the model asks from a sender's conversation.
    fn question(&self, request: u32, sender: &str, mode: RestartMode) -> Question {
        let note = format!("Back after request {request}.");
        let fact = Fact::RestartAskedFrom { request, sender: sender.to_string(), note: note.clone() };
        self.world.recorder().record(Source::Operator, fact);
        let (port, token) = self.address.clone();
        Question { port, token, session_key: self.session_of(sender).to_string(), note, mode }
    }

    /// Edits the configuration file; `half_first` is how long its first half stands there alone.
    pub(super) async fn edit_config(&self, edit: &ConfigEdit, half_first: Duration) -> Result<(), String> {
        let (text, what) = match &edit.contents {
            NewContents::Text(text) => (text.clone(), "the configuration file is overwritten".to_string()),
            NewContents::Set(settings) => {
                (with_settings(&self.config_text()?, settings)?, set_words(settings))
            }
            NewContents::Original => {
                (self.original_config().to_string(), "the configuration file is what it was".to_string())
            }
        };
        if half_first.is_zero() {
            return self.write_config(&text, what);
        }
        let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        self.write_config(&text[..half], format!("{what}, of which half is written"))?;
        let is_whole = Rc::new(Cell::new(false));
        let (stage, written) = (self.clone(), is_whole.clone());
        let whole = move || match written.replace(true) {
            true => Ok(()),
            false => stage.write_config(&text, what),
        };
        let at_the_end = whole.clone();
        self.on_storm_end(move || drop(at_the_end()));
        sleep(half_first).await;
        whole()
    }
}

/// The answer to a request over the wire, as a command line would say it.
fn answer_words(answer: Result<Value, String>) -> (bool, String) {
    match answer {
        Ok(answer) => {
            let said = json!({"result": answer["status"], "request": answer["request"], "message": answer["status"]});
            (true, said.to_string())
        }
        Err(why) => (false, why),
    }
}

fn arguments(mode: RestartMode) -> Vec<String> {
    let mut arguments = vec!["restart".to_string(), "--json".to_string()];
    match mode {
        RestartMode::Plain => {}
        RestartMode::Safe => arguments.push("--safe".into()),
        RestartMode::Force => arguments.push("--force".into()),
        RestartMode::Wait(limit) => {
            arguments.push("--wait".into());
            arguments.push(limit.unwrap_or_default().as_millis().to_string());
        }
    }
    arguments
}

/// `text`, a configuration, with some settings changed.
fn with_settings(text: &str, settings: &Map<String, Value>) -> Result<String, String> {
    let mut config: Value = serde_json::from_str(text)
        .map_err(|error| format!("the configuration file cannot be edited as it is: {error}"))?;
    change(&mut config, settings);
    Ok(format!("{config:#}\n"))
}

/// Changes single settings of a configuration.
pub(super) fn change(config: &mut Value, settings: &Map<String, Value>) {
    for (path, value) in settings {
        let mut place = &mut *config;
        for name in path.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = value.clone();
    }
}

fn set_words(settings: &Map<String, Value>) -> String {
    let changes: Vec<_> = settings.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    format!("the configuration says {}", changes.join(", "))
}

/// What a command line has to say, said once: by itself, or of it when it was killed.
#[derive(Clone)]
struct Says {
    stage: Stage,
    request: u32,
    has_spoken: Rc<Cell<bool>>,
}

impl Says {
    fn answered(&self, pid: Pid, ok: bool, said: &str) {
        if self.has_spoken.replace(true) {
            return;
        }
        let answer: Value = serde_json::from_str(said).unwrap_or(Value::Null);
        let text = |name: &str| answer[name].as_str().map(str::to_string);
        let said = text("message").or_else(|| text("error")).unwrap_or_else(|| said.to_string());
        let fact = Fact::RestartAnswered { request: self.request, ok, result: text("result"), said };
        self.stage.world.recorder().record(Source::Process(pid), fact);
        let name = &answer["request"];
        if ok && !name.is_null() {
            self.stage.wait_for(Waited { request: self.request, name: name.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_and_the_rest_stays() {
        let settings = |value: Value| value.as_object().expect("settings").clone();
        let before = r#"{"gateway": {"port": 1}, "model": "m"}"#;
        let changed = settings(json!({"gateway.port": 2, "gateway.reload.deferralTimeoutMs": 3}));
        let after: Value =
            serde_json::from_str(&with_settings(before, &changed).expect("JSON")).expect("JSON");
        assert_eq!(after, json!({"gateway": {"port": 2, "reload": {"deferralTimeoutMs": 3}}, "model": "m"}));
        assert_eq!(set_words(&settings(json!({"a.b": 2}))), "the configuration says a.b = 2");
        assert!(with_settings("{", &changed).is_err());
    }

    #[test]
    fn every_way_to_ask_is_a_command_line() {
        let line = |mode| arguments(mode).join(" ");
        assert_eq!(line(RestartMode::Plain), "restart --json");
        assert_eq!(line(RestartMode::Safe), "restart --json --safe");
        assert_eq!(line(RestartMode::Wait(None)), "restart --json --wait 0");
        assert_eq!(line(RestartMode::Wait(Some(Duration::from_secs(2)))), "restart --json --wait 2000");
    }
}
