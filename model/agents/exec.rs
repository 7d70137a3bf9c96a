//! The tool `exec`: a program of the machine that the model has run, as a process of the gateway's service.
//!
//! A supervisor that ends the service may end its children with it (`KillMode=control-group`), and they die first: a
//! child that dies so has not failed, and neither has the model. The run is interrupted like any other that the end of
//! the service interrupts (openclaw/openclaw#140479, #32348).

use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::notice::TurnError;
use crate::env::{Command, CommandEnd, CommandOutput};
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::messages::inbox::Accepted;
use crate::policy::ToolDeath;

/// The tool's name.
pub(super) const TOOL: &str = "exec";
/// What the model is told of it.
pub(super) const OFFER: &str = r#"{"type":"function","function":{"name":"exec","description":"Runs a program on this machine, without a shell, and returns what it printed.","parameters":{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and its arguments."},"input":{"type":"string","description":"Its standard input."}},"required":["command"]}}}"#;

/// How much of each output the model is told.
const TOLD_BYTES: usize = 16 * 1024;
/// How much later than its child the gateway may learn that both are ended.
const WORD_OF_THE_END: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    command: Vec<String>,
    #[serde(default)]
    input: String,
}

/// Runs a program for the turn about `message`; returns what the model is told.
///
/// Errors: [`TurnError::CutOff`] when the end of the service ended it.
pub(super) async fn run(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    arguments: &str,
) -> Result<String, TurnError> {
    let Arguments { command, input } = match serde_json::from_str(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Ok(format!("error: {error}")),
    };
    let mut words = command.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        return Ok("error: the command is empty".to_string());
    };
    let limit = gateway.config.tools.exec.timeout();
    let command = Command {
        program: program.clone(),
        arguments: words.collect(),
        input: input.into_bytes(),
        ..Command::default()
    };
    let Ok(ended) = timeout(limit, gateway.env.process().run_command(command)).await else {
        return Ok(format!("error: it was not done after {} s, and is killed", limit.as_secs()));
    };
    match ended {
        Err(error) => Ok(format!("error: {program} cannot be run: {error}")),
        Ok(output) if is_ending_with_us(gateway, output.end).await => {
            let (run, end) = (&message.run_id, output.end);
            tracing::warn!(name: "exec.cut-off", run, program, %end, "a program died with its service");
            Err(TurnError::CutOff)
        }
        Ok(output) => Ok(told(&output)),
    }
}

/// Whether a program that ended so was ended together with this process. The word of that may be on its way.
async fn is_ending_with_us(gateway: &Gateway, end: CommandEnd) -> bool {
    if gateway.policies.tool_death == ToolDeath::ToolFailed || !matches!(end, CommandEnd::Signalled(_)) {
        return false;
    }
    let noticed = async {
        while gateway.phase.get() < Phase::Draining {
            sleep(LOOK).await;
        }
    };
    timeout(WORD_OF_THE_END, noticed).await.is_ok()
}

fn told(output: &CommandOutput) -> String {
    let text = |bytes: &[u8]| {
        let kept = &bytes[..bytes.len().min(TOLD_BYTES)];
        String::from_utf8_lossy(kept).into_owned()
    };
    let is_cut = output.is_cut || output.stdout.len().max(output.stderr.len()) > TOLD_BYTES;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    json!({"end": output.end.to_string(), "stdout": stdout, "stderr": stderr, "cut": is_cut}).to_string()
}
