//! The reports, as they were told: red as the version had it, green now.

use super::*;

fn of(version: &str) -> Life {
    Life::with(restart_policy(version).expect("a listed set"), Settings::default())
}

fn watcher() -> Request {
    Request::new(Source::ConfigWatcher { paths: vec!["gateway.port".into()] }, Mode::Plain)
}

fn subagent(life: &mut Life) {
    let owner = life.coordinator.generation();
    life.inventory.add(Work::new(WorkKind::SubagentRun, "deploy", owner, WorkStatus::Running));
}

/// openclaw/openclaw#47711, bug 1 (B-21): the watcher deferred; then the command line sent a signal, which did not wait.
#[test]
fn issue_47711_three_restarts_asked_for_while_a_subagent_runs() {
    let mut life = of("openclaw-2026.3.2");
    subagent(&mut life);
    life.request(watcher());
    life.now = 125;
    assert!(matches!(life.signal().heard, Heard::Own(_)), "at once, and the subagent is interrupted");

    // 18:58:48 the watcher; 18:59:25 the command line; 18:59:31 `kill -USR1` by hand. One restart, after the work.
    let mut life = Life::new();
    subagent(&mut life);
    assert!(matches!(life.request(watcher()).status, Status::Deferred { .. }));
    life.now = 137;
    assert!(matches!(life.ask(Mode::Plain).status, Status::Coalesced { .. }));
    life.now = 143;
    assert!(matches!(life.signal().heard, Heard::Asked(Decision { action: None, .. })));
    life.now = 190;
    let action = life.work_ends();
    assert_eq!(life.take(action).manner, Manner::Idle);
    life.next_generation();
    assert_eq!(life.endings().len(), 3, "everybody is told");
    assert_eq!(life.wait(10_000), None, "and there is no second one");
}

/// Commit 103cdd9, openclaw/openclaw#76923 (B-29).
#[test]
fn issue_76923_a_queued_record_keeps_a_safe_restart_waiting() {
    let queued = |life: &mut Life| {
        let owner = life.coordinator.generation();
        life.inventory.add(Work::new(WorkKind::Task, "t", owner, WorkStatus::Queued));
        life.ask(Mode::Safe)
    };
    assert!(matches!(queued(&mut of("openclaw-2026.5.3-1")).status, Status::Deferred { .. }));
    assert!(queued(&mut of("openclaw-2026.5.4")).action.is_some());
    assert!(queued(&mut Life::new()).action.is_some());
}

/// openclaw/openclaw#143420 (B-27): a process died, and its task rows said `running` for ever.
#[test]
fn issue_143420_rows_of_a_dead_process_delay_every_restart() {
    let rows = |mut life: Life| {
        life.inventory.add(Work::new(WorkKind::Task, "t", Generation(0), WorkStatus::Running));
        let at_once = life.ask(Mode::Plain).action.map(|_| 100);
        at_once.or_else(|| life.wait(10_000).map(|(when, _)| when)).expect("it is ordered some time") - 100
    };
    assert_eq!(rows(of("openclaw-2026.5.4")), 300);
    assert_eq!(rows(Life::new()), 0);
}

/// openclaw/openclaw#79577 (B-18): the signal was handled after its authorisation had expired.
#[test]
fn issue_79577_every_later_restart_is_already_in_flight() {
    let late = |mut life: Life| {
        life.ask(Mode::Plain);
        life.now += 6;
        life.signal().heard
    };
    assert_eq!(late(of("openclaw-2026.5.4")), Heard::Ignored(Refusal::Expired));
    assert!(matches!(late(Life::new()), Heard::Own(_)));
}

/// openclaw/openclaw#33459 (B-25): several commands at once stopped and started the gateway again and again.
#[test]
fn issue_33459_several_commands_at_once_are_one_restart() {
    let mut life = Life::new();
    let answers = [(); 5].map(|()| life.ask(Mode::Plain));
    assert_eq!(answers.iter().filter(|answer| answer.action.is_some()).count(), 1);
    life.take(answers[0].action);
    life.next_generation();
    assert_eq!((life.endings().len(), life.wait(10_000)), (5, None));
}

/// openclaw/openclaw#152696 (B-06) and #143233 (B-07): a restart that was forced, or whose deferral timed out, gave
/// healthy work no time at all.
#[test]
fn issue_143233_work_has_no_time_to_end_or_to_be_marked() {
    let left = |mut life: Life, mode| {
        let asked = life.ask(mode).action;
        let action = asked.or_else(|| life.wait(10_000).map(|(_, action)| action));
        let deadline = life.take(action).deadline.expect("there is one");
        deadline.since(at(life.now)).as_secs()
    };
    assert_eq!(left(of("openclaw-2026.5.4").busy(), Mode::Force), 0);
    assert_eq!(left(Life::new().busy(), Mode::Force), 15);
    let forces = RestartPolicy { at_limit: AtLimit::Force, ..RestartPolicy::default() };
    assert_eq!(left(Life::with(forces, Settings::default()).busy(), Mode::Plain), 0);
    assert_eq!(left(Life::new().busy(), Mode::Plain), 15);
}

/// openclaw/openclaw#136387 (B-26): the operator was not told that the restart was deferred, nor how that ended.
#[test]
fn issue_136387_a_deferral_can_be_seen_and_its_end_is_told() {
    let silent = RestartPolicy { notices: Notices::Nobody, ..RestartPolicy::default() };
    for (policy, told) in [(silent, 0), (RestartPolicy::default(), 1)] {
        let mut life = Life::with(policy, Settings::default()).busy();
        let answer = life.ask(Mode::Plain);
        assert_eq!(answer.status, Status::Deferred { due: at(100), limit: Some(at(400)) });
        assert_eq!(life.coordinator.standing(at(200)).limit_in_ms, Some(200_000));
        let action = life.work_ends();
        life.take(action);
        life.next_generation();
        assert_eq!(life.endings().len(), told);
    }
}

/// openclaw/openclaw#119360: the edit was taken back, and the gateway restarted all the same.
#[test]
fn issue_119360_an_edit_that_is_taken_back() {
    let restarts = |policy: RestartPolicy| {
        let before = serde_json::json!({"gateway": {"port": 1}});
        let after = serde_json::json!({"gateway": {"port": 2}});
        let mut life = Life::with(policy, Settings::default()).busy();
        let mut watch = ConfigWatch::new(policy, before.clone());
        for content in [after, before] {
            let news = watch.read(Some(content));
            if news.plan.effect() == Effect::Restart {
                life.request(watcher());
            }
            if news.withdraw {
                assert!(life.coordinator.edit_reverted());
            }
        }
        life.work_ends().is_some()
    };
    assert!(restarts(restart_policy("openclaw-2026.5.3-1").expect("a listed set")));
    assert!(!restarts(RestartPolicy::default()));
}
