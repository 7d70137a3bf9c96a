//! The tools that the model may use in a turn.
//!
//! A tool always has a result: what it could not do, it says. Each is offered to the model by its JSON schema and found
//! by its name; what it does is its own room's concern.

use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::subagents;
use crate::gateway::Gateway;
use crate::messages::inbox::Accepted;
use crate::sessions::ToolCall;

/// As the model's API wants them.
static OFFERED: LazyLock<Box<RawValue>> = LazyLock::new(|| {
    let tools = format!("[{}]", [subagents::OFFER].join(","));
    RawValue::from_string(tools).expect("our own tools are JSON")
});

/// What the model is told of the tools.
pub(super) fn offered() -> &'static RawValue {
    &OFFERED
}

/// Does what the model wants done in the turn about `message`; returns what it is told of it.
pub(super) async fn use_one(gateway: &Rc<Gateway>, message: &Accepted, call: &ToolCall) -> String {
    tracing::info!(name: "tool.used", run = message.run_id, tool = call.name, "the model uses a tool");
    match call.name.as_str() {
        subagents::TOOL => subagents::spawn(gateway, message, &call.arguments).await,
        unknown => format!("error: there is no tool called {unknown:?}"),
    }
}
