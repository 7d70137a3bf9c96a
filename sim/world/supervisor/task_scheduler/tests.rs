//! The Task Scheduler's rules, against the documentation of its schema and of schtasks.

use super::Input::*;
use super::*;
use crate::world::supervisor::rows::{self, KILLED, Row, exited, timer};

const RUNNING: Row = (0, Booted, "starting 1, start", "Running");
const IGNORED: &str = "/Run ignored: an instance of this task is running, and a new one is ignored";

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
    check(
        "of a task that does not run is an error",
        Task::default(),
        &[(0, StopRequested, "no /End: there is no running instance of the task", "Ready")],
    );
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

#[test]
fn a_run_right_after_an_end_finds_the_old_instance() {
    const ENDED: &str = "stopping within 0ns, kill all";
    check(
        "openclaw/openclaw#43134",
        Task::default(),
        &[
            RUNNING,
            (5, StopRequested, ENDED, "Running"),
            (5, StartRequested, IGNORED, "Running"),
            (5, KILLED, "inactive: ended on request: killed by SIGKILL", "Ready"),
            (6, StopRequested, "no /End: there is no running instance of the task", "Ready"),
        ],
    );
}

#[test]
fn a_task_may_outlast_its_process() {
    let task = Task { lingers: Duration::from_secs(3), ..Task::default() };
    check(
        "nobody runs it",
        task.clone(),
        &[
            RUNNING,
            (5, exited(75), "timer 1 in 3s", "Running"),
            (6, StartRequested, IGNORED, "Running"),
            (8, timer(1), "inactive: exit 75, and nobody runs the task again", "Ready"),
            (9, StartRequested, "starting 2, start", "Running"),
            (10, timer(1), "", "Running"),
        ],
    );
    check(
        "ended meanwhile",
        task,
        &[
            RUNNING,
            (5, exited(75), "timer 1 in 3s", "Running"),
            (6, StopRequested, "stopping within 0ns", "Running"),
            (7, StopRequested, "", "Running"),
            (8, timer(1), "inactive: ended on request: exit 75", "Ready"),
        ],
    );
}

#[test]
fn its_answer_tells_a_task_that_was_ended_from_one_that_ended() {
    use ServiceState::{Idle, Running, Stopped};
    let mut scheduler = TaskScheduler::new(Task::default());
    let mut answer = |input| {
        scheduler.handle(Duration::ZERO, input);
        scheduler.answer()
    };
    assert_eq!([Booted, exited(0), StartRequested].map(&mut answer), [Running, Idle, Running]);
    assert_eq!([StopRequested, KILLED, StartRequested].map(&mut answer), [Running, Stopped, Running]);
}
