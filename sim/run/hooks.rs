//! The programs that the gateway can run: put on its machine, and what is known of those that its configuration names as
//! hooks.

use std::io;

use gateway::config::{Hook, HooksConfig};
use serde_json::json;

use super::stage::GATEWAY_MACHINE;
use crate::oracle::HookTerm;
use crate::scenario::{ProgramEnd, Scenario};
use crate::world::{ModelledProgram, World};

/// Puts the programs on the gateway's machine.
pub(super) fn install(world: &World, scenario: &Scenario) -> io::Result<()> {
    for (name, setup) in &scenario.programs {
        let lasting = match setup.end {
            ProgramEnd::Exits => Some(setup.takes.min..=setup.takes.max),
            ProgramEnd::Hangs => None,
        };
        let program = ModelledProgram { lasting, status: setup.status, output: setup.output };
        world.install_program(GATEWAY_MACHINE, name, program)?;
    }
    Ok(())
}

/// How many processes that may take at a time: each program once, and once more while one of a life that was killed is
/// still at work.
pub(super) fn processes(scenario: &Scenario) -> usize {
    // Each step may kill a gateway, whose programs live on.
    let left_behind = if scenario.programs.is_empty() { 0 } else { scenario.steps.len() };
    2 * scenario.programs.len() + left_behind
}

/// The hooks that the gateway's configuration names when the world begins.
pub(super) fn terms(scenario: &Scenario) -> Vec<HookTerm> {
    let mut config = json!({"gateway": {"hooks": {}}});
    super::restarts::change(&mut config, &scenario.gateway.settings);
    // What the gateway refuses to read has no hooks.
    let hooks: HooksConfig = serde_json::from_value(config["gateway"]["hooks"].take()).unwrap_or_default();
    let term = |event, hook: Option<Hook>| {
        hook.map(|hook| HookTerm {
            event,
            limit: hook.timeout(),
            can_be_run: scenario.programs.contains_key(&hook.program),
        })
    };
    [term("pre-stop", hooks.pre_stop), term("post-start", hooks.post_start)].into_iter().flatten().collect()
}
