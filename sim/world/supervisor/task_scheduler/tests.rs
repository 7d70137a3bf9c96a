//! The Task Scheduler's rules, against the documentation of its schema and of schtasks.

use super::Input::*;
use super::*;
use crate::world::supervisor::rows::{self, KILLED, Row, exited, timer};

const RUNNING: Row = (0, Booted, "starting 1, start", "Running");
const IGNORED: &str = "no /Run: an instance of this task is running, and a new one is ignored";

fn check(what: &str, task: Task, rows: &[Row]) {
    rows::check(what, TaskScheduler::new(task), rows);
}

#[test]
fn an_end_is_followed_by_nothing() {
    for (end, why) in [
        (exited(0), "inactive: exit 0, and nobody runs the task again"),
        (exited(75), "inactive: exit 75, and nobody runs the task again"),
        (KILLED, "inactive: killed by SIGKILL, and nobody runs the task again"),
    ] {
        check("openclaw/openclaw#138833", Task::default(), &[RUNNING, (5, end, why, "Ready")]);
    }
}

#[test]
fn a_new_instance_is_ignored_while_one_runs() {
    check(
        "IgnoreNew",
        Task::default(),
        &[
            RUNNING,
            (5, StartRequested, IGNORED, "Running"),
            (6, exited(0), "inactive: exit 0, and nobody runs the task again", "Ready"),
            (7, StartRequested, "starting 2, start", "Running"),
        ],
    );
}

#[test]
fn end_terminates_without_a_signal() {
    check(
        "and the task stays as it is",
        Task { restart_count: 3, ..Task::default() },
        &[
            RUNNING,
            (5, StopRequested, "stopping within 0ns, kill all", "Running"),
            (5, StartRequested, IGNORED, "Running"),
            (5, KILLED, "inactive: ended on request: killed by SIGKILL", "Ready"),
        ],
    );
    check("of a task that does not run does nothing", Task::default(), &[(0, StopRequested, "", "Ready")]);
    check(
        "and then run",
        Task::default(),
        &[
            RUNNING,
            (5, RestartRequested, "stopping within 0ns, kill all", "Running"),
            (5, KILLED, "starting 2, start", "Running"),
        ],
    );
    check(
        "of nothing, and then run",
        Task::default(),
        &[(0, RestartRequested, "starting 1, start", "Running")],
    );
}

#[test]
fn a_failure_is_tried_again_so_often() {
    let task = Task { restart_count: 2, ..Task::default() };
    check(
        "RestartOnFailure",
        task.clone(),
        &[
            RUNNING,
            (1, exited(1), "restart after 60s, timer 1 in 60s", "Queued"),
            (61, timer(1), "starting 2, start", "Running"),
            (62, KILLED, "restart after 60s, timer 2 in 60s", "Queued"),
            (122, timer(2), "starting 3, start", "Running"),
            (123, exited(1), "inactive: exit 1, and nobody runs the task again", "Ready"),
            (124, StartRequested, "starting 4, start", "Running"),
            (125, exited(1), "restart after 60s, timer 3 in 60s", "Queued"),
            (126, StopRequested, "inactive: ended while it waited to be tried again", "Ready"),
            (185, timer(3), "", "Ready"),
        ],
    );
    check(
        "but not a success",
        task.clone(),
        &[RUNNING, (1, exited(0), "inactive: exit 0, and nobody runs the task again", "Ready")],
    );
    check(
        "a run on demand does not wait for it",
        task,
        &[
            RUNNING,
            (1, exited(1), "restart after 60s, timer 1 in 60s", "Queued"),
            (2, StartRequested, "starting 2, start", "Running"),
            (61, timer(1), "", "Running"),
        ],
    );
}

#[test]
fn what_a_task_leaves_behind_is_on_its_own() {
    let leaving = MainExitedLeaving(DeathCause::Killed);
    let down = "inactive: killed by SIGKILL, and nobody runs the task again";
    check("", Task::default(), &[RUNNING, (1, leaving, down, "Ready"), (2, GroupEmptied, "", "Ready")]);
}

#[test]
fn a_boot_runs_the_task() {
    check(
        "whatever was before",
        Task::default(),
        &[
            RUNNING,
            (1, MainExited(DeathCause::PowerLoss), "", "off"),
            (2, StartRequested, "", "off"),
            (3, Booted, "starting 2, start", "Running"),
        ],
    );
}

#[test]
fn whether_the_service_should_be_up() {
    let rows = [
        (Booted, true),
        (RestartRequested, true),
        (KILLED, true),
        (exited(75), true),
        (timer(1), true),
        (exited(75), false),
    ];
    rows::check_up_expected(TaskScheduler::new(Task { restart_count: 1, ..Task::default() }), &rows);
}
