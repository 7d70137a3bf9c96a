//! The tools that the model may use in a turn.
//!
//! A tool always has a result: what it could not do, it says. Each is offered to the model by its JSON schema and found
//! by its name; what it does is its own room's concern.

use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::notice::TurnError;
use super::{exec, subagents};
use crate::gateway::Gateway;
use crate::messages::inbox::Accepted;
use crate::sessions::ToolCall;

/// As the model's API wants them.
static OFFERED: LazyLock<Box<RawValue>> = LazyLock::new(|| list(&[subagents::OFFER]));
static WITH_PROGRAMS: LazyLock<Box<RawValue>> = LazyLock::new(|| list(&[subagents::OFFER, exec::OFFER]));

fn list(tools: &[&str]) -> Box<RawValue> {
    RawValue::from_string(format!("[{}]", tools.join(","))).expect("our own tools are JSON")
}

/// What the model is told of the tools; `with_programs`: it may have programs run.
pub(super) fn offered(with_programs: bool) -> &'static RawValue {
    if with_programs { &WITH_PROGRAMS } else { &OFFERED }
}

/// Does what the model wants done in the turn about `message`; returns what it is told of it.
///
/// Errors: the turn cannot go on.
pub(super) async fn use_one(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    call: &ToolCall,
) -> Result<String, TurnError> {
    tracing::info!(name: "tool.used", run = message.run_id, tool = call.name, "the model uses a tool");
    Ok(match call.name.as_str() {
        subagents::TOOL => subagents::spawn(gateway, message, &call.arguments).await,
        exec::TOOL if gateway.config.tools.exec.enabled => {
            exec::run(gateway, message, &call.arguments).await?
        }
        unknown => format!("error: there is no tool called {unknown:?}"),
    })
}
