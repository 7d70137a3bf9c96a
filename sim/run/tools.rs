//! Command-line tools: the gateway's own second program, run on its machine beside it.
//!
//! A tool is a process that labels a conversation in the session store and says whether it did. The label carries
//! a mark, by which the observer of the disk finds it; what a tool said it did must be there from then on. Another
//! one loads the service anew.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{ExitCode, LocalBoxFuture, Pid};
use gateway::tool::{self, ToolCommand};
use tokio::time::sleep;

use super::stage::{GATEWAY_MACHINE, Stage};
use crate::scenario::{Scenario, Verb};
use crate::timeline::{Event, Fact, MessageId, Source, TOOL_PROGRAM};

/// How many tools a scenario starts.
pub(super) fn count(scenario: &Scenario) -> usize {
    let tools = |verb: &Verb| match verb {
        Verb::RunTool { count, .. } => *count as usize,
        Verb::ReloadService => 1,
        _ => 0,
    };
    scenario.steps.iter().map(|step| tools(&step.verb)).sum()
}

/// Tools that had not ended when the run did: nobody knows what they will still do.
pub(super) fn never_ended(events: &[Event]) -> Option<String> {
    let has_ended = |fact: &Fact| matches!(fact, Fact::ToolFinished { .. } | Fact::RestartAnswered { .. });
    let ended = events.iter().filter(|event| has_ended(&event.fact)).count();
    match started(events) as usize - ended {
        0 => None,
        1 => Some("a command-line tool had not ended when the run did".to_string()),
        many => Some(format!("{many} command-line tools had not ended when the run did")),
    }
}

fn started(events: &[Event]) -> u32 {
    let is_tool =
        |fact: &Fact| matches!(fact, Fact::ProcessStarted { program, .. } if program == TOOL_PROGRAM);
    events.iter().map(|event| u32::from(is_tool(&event.fact))).sum()
}

impl Stage {
    /// Starts tools, one after another, and does not wait for their ends.
    pub(super) async fn run_tools(
        &self,
        session_of: &str,
        label: &str,
        count: u32,
        every: Duration,
    ) -> Result<(), String> {
        for number in 0..count {
            if number > 0 {
                sleep(every).await;
            }
            self.run_tool(session_of, label)?;
        }
        Ok(())
    }

    fn run_tool(&self, session_of: &str, label: &str) -> Result<(), String> {
        let recorder = self.world.recorder();
        let mark = MessageId { sender: TOOL_PROGRAM.to_string(), number: recorder.with_events(started) + 1 };
        let text = format!("{label} {}", mark.mark());
        let command = ToolCommand::Label { key: self.session_of(session_of).to_string(), text };
        self.start_tool("sessions label", Some(mark), command)
    }

    /// Starts the tool that loads the service anew, and does not wait for its end.
    pub(super) fn reload_service(&self) -> Result<(), String> {
        self.wants_reload()?;
        self.start_tool("service reload", None, ToolCommand::Reload)
    }

    fn start_tool(
        &self,
        name: &'static str,
        mark: Option<MessageId>,
        command: ToolCommand,
    ) -> Result<(), String> {
        let (launch, startup) = self.launch_of_tool();
        let says = Says { stage: self.clone(), name, mark, has_spoken: Rc::default() };
        let speaker = says.clone();
        let main = move |env: gateway::env::Env| -> LocalBoxFuture<'static, ExitCode> {
            Box::pin(async move {
                sleep(startup).await;
                let report = tool::run(env.clone(), launch, command).await;
                speaker.finished(env.process().pid(), report.code == ExitCode::CLEAN, report.said);
                report.code
            })
        };
        let pid = self
            .world
            .start_process(GATEWAY_MACHINE, TOOL_PROGRAM, main)
            .map_err(|error| error.to_string())?;
        let exit = self.world.wait_exit(pid);
        self.world.spawn(async move {
            // Without an end there is nothing to say: the world is over.
            if let Ok(cause) = exit.await {
                says.finished(pid, false, cause.to_string());
            }
        });
        Ok(())
    }
}

/// The last words of a tool, said once: by itself, or of it when it was killed.
#[derive(Clone)]
struct Says {
    stage: Stage,
    name: &'static str,
    mark: Option<MessageId>,
    has_spoken: Rc<Cell<bool>>,
}

impl Says {
    fn finished(&self, pid: Pid, done: bool, said: String) {
        if self.has_spoken.replace(true) {
            return;
        }
        let (tool, message) = (self.name.to_string(), self.mark.clone());
        let fact = Fact::ToolFinished { tool, message, done, said };
        self.stage.world.recorder().record(Source::Process(pid), fact);
    }
}
