//! Commands: what a process runs, feeds and waits for, and what becomes of it when either dies.

use gateway::env::{Command, CommandEnd, CommandOutput, KEPT_OUTPUT};

use super::*;
use crate::world::ModelledProgram;

const PROGRAM: ModelledProgram =
    ModelledProgram { lasting: Some(Duration::from_secs(2)..=Duration::from_secs(2)), status: 3, output: 0 };

fn command(program: &str) -> Command {
    Command { program: program.into(), input: b"news".to_vec(), ..Command::default() }
}

async fn run(env: Env, program: &'static str) -> Result<CommandOutput, ErrorKind> {
    env.process().run_command(command(program)).await.map_err(|error| error.kind())
}

fn began(world: &World) -> usize {
    facts(world, |fact| matches!(fact, Fact::CommandBegan { input, .. } if input == "news")).len()
}

#[test]
fn a_command_takes_its_time_and_ends_as_it_is_said_to() {
    in_world(async |world| {
        let shouts = ModelledProgram { status: 0, output: 1 << 30, ..PROGRAM };
        world.install_program("box", "fails", PROGRAM).expect("there is a box");
        world.install_program("box", "shouts", shouts).expect("there is a box");
        let from = Instant::now();
        let output = ask(&world, "box", |env| run(env, "fails")).await.expect("it lived").expect("it ran");
        assert_eq!((output.end, output.stdout.len()), (CommandEnd::Exited(3), 0));
        assert_eq!(from.elapsed(), SECOND * 2);
        let output = ask(&world, "box", |env| run(env, "shouts")).await.expect("it lived").expect("it ran");
        assert_eq!(
            (output.end, output.stdout.len(), output.is_cut),
            (CommandEnd::Exited(0), KEPT_OUTPUT, true)
        );
        assert_eq!(began(&world), 2);
        let missing = ask(&world, "far", |env| run(env, "fails")).await;
        assert_eq!(missing, Some(Err(ErrorKind::NotFound)));
    });
}

#[test]
fn let_go_of_a_command_is_killed_and_a_signal_kills_it_too() {
    in_world(async |world| {
        world.install_program("box", "slow", PROGRAM).expect("there is a box");
        let given_up = ask(&world, "box", async |env| timeout(SECOND, run(env, "slow")).await.is_err()).await;
        assert_eq!(given_up, Some(true));
        assert_eq!(world.newest_process("box", "slow"), None);

        let signalled = ask(&world, "box", |env| run(env, "slow"));
        let signal = async {
            sleep(SECOND).await;
            let pid = world.newest_process("box", "slow").expect("it runs");
            world.signal(pid, Signal::Terminate).expect("it lives");
        };
        let (output, ()) = tokio::join!(signalled, signal);
        assert_eq!(output.expect("it lived").expect("it ran").end, CommandEnd::Signalled(15));
    });
}

#[test]
fn a_command_outlives_whoever_ran_it() {
    in_world(async |world| {
        world.install_program("box", "slow", PROGRAM).expect("there is a box");
        let parent = start(&world, "box", |env| {
            Box::pin(async move {
                drop(run(env, "slow").await);
                ExitCode::CLEAN
            })
        });
        sleep(SECOND).await;
        world.kill(parent).expect("it lives");
        let child = world.newest_process("box", "slow").expect("it lives on");
        let end = world.wait_exit(child).await.expect("known");
        assert_eq!(end, DeathCause::Exited(ExitCode(3)));
    });
}
