//! Troubles that steps bring: what they leave on the disk, when they end, and that one which met nothing is said.

use std::path::Path;
use std::time::Duration;

use gateway::env::{Fs, Pid};
use gateway::policy::HARDENED;
use serde_json::Value;

use super::stage::Stage;
use super::{Verdict, play, run};
use crate::scenario::{LockFile, LockOwner, Scenario};
use crate::timeline::{Event, Fact};
use crate::verdict::RunResult;
use crate::world::{World, WorldSettings};

const STORE_LOCK: &str = "agents/main/sessions/sessions.json.lock";

fn scenario(steps: &str) -> Scenario {
    let text = format!("name = \"x\"\nstorm-limit = \"1m\"\nsettle = \"2m\"\n[senders.ann]\n{steps}");
    Scenario::parse(Path::new("case.toml"), &text).expect("a good file")
}

fn played(steps: &str) -> RunResult {
    run(&scenario(steps), HARDENED, 1)
}

/// What a run says that shows nothing.
#[track_caller]
fn inconclusive(steps: &str) -> String {
    let run = played(steps);
    assert_eq!(run.verdict, Verdict::Inconclusive, "{:?}", run.violations);
    run.notes.join("; ")
}

fn happened(run: &RunResult, what: impl Fn(&Fact) -> bool) -> Vec<&Event> {
    run.timeline.iter().filter(|event| what(&event.fact)).collect()
}

/// The lock files that an observer finds at the end.
fn locks_at_the_end(run: &RunResult) -> Vec<String> {
    let seen = run.timeline.iter().rev().find_map(|event| match &event.fact {
        Fact::State(state) => Some(state.locks.iter().cloned().collect()),
        _ => None,
    });
    seen.expect("somebody looks at the end")
}

fn exits_of_squatters(run: &RunResult) -> Vec<(Duration, String)> {
    let exit = |event: &Event| match &event.fact {
        Fact::ProcessExited { program, cause, .. } if program == "squatter" => {
            Some((event.at, cause.to_string()))
        }
        _ => None,
    };
    run.timeline.iter().filter_map(exit).collect()
}

#[test]
fn a_world_that_is_over_leaves_nothing_behind() {
    let files = [
        "lifecycle/restart-under-load",
        "bugs/33149-keep-alive",
        "bugs/38836-hooks",
        "bugs/75115-two-starters-under-launchd",
        "faults/conflict-healthy-other-task-scheduler",
        "faults/every-rude-peer",
        "faults/lock-squatter-killed",
        "faults/platform-partition",
        "faults/second-instance",
        "faults/subagents-announced-once",
    ];
    for file in files {
        let path = Path::new("scenarios").join(file).with_extension("toml");
        let text = std::fs::read_to_string(&path).expect("it is there");
        for scenario in Scenario::parse_all(&path, &text).expect("a good file").into_iter().take(3) {
            play(&scenario, HARDENED, 1).expect("the world can be built");
            assert!(World::is_newest_gone(), "{} keeps its world", scenario.called());
        }
    }
}

#[test]
fn what_met_nothing_is_no_evidence() {
    let fault =
        "[[steps]]\nat = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\nfile = \"nowhere\"\nfor = \"5s\"";
    let note = inconclusive(fault);
    assert!(note.starts_with("the step \"EIO on nowhere\" (line 5) never hit anything; "), "{note}");
    assert!(note.contains("nothing was done to such a file in the whole run; there were "), "{note}");
    let calls = fault.replace("for = \"5s\"", "calls = 1");
    assert!(inconclusive(&calls).contains("never hit anything; "));
    let crash = "[[steps]]\nat = \"1s\"\ndo = \"crash-at\"\noperation = \"rename\"\nfile = \"nowhere\"";
    let note = "the step \"crash at rename of nowhere\" (line 5) never met its disk operation";
    assert!(inconclusive(crash).starts_with(note));
    let nobody = "[[steps]]\nat = \"1s\"\ndo = \"kill\"\nprocess = \"squatter\"";
    assert!(inconclusive(nobody).ends_with("there was no squatter process at that moment"));
    let transcript = "[[steps]]\nat = \"1s\"\ndo = \"leave-lock\"\nowner = \"dead\"\ntranscript-of = \"ann\"";
    assert!(inconclusive(transcript).ends_with("the session store knows no transcript of ann"));
}

#[test]
fn what_never_came_says_what_came_close() {
    let hello = "[[steps]]\nat = \"2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"\n";
    let note = |anchor: &str| inconclusive(&format!("{hello}[[steps]]\n{anchor}\ndo = \"kill\""));
    assert!(note("on = \"restart.ordered\"").ends_with("there was no restart.ordered at all"));
    assert!(note("on = \"run.started\"\nnth = 2").ends_with("it was there once"));
    let file = note("on = \"disk.append\"\npath = \"outbox.jsonl\"");
    assert!(file.contains("never of what is asked for; there were inbox.jsonl"), "{file}");
    let fault = "[[steps]]\nat = \"1s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\noperation = \"write\"\n\
                 file = \"inbox.jsonl\"\nfor = \"5s\"";
    let note = inconclusive(&format!("{hello}{fault}"));
    assert!(note.contains("in the whole run there were, on such files, append ("), "{note}");
}

#[test]
fn a_step_is_done_as_often_as_it_says_and_its_moment_comes() {
    let three = "[[steps]]\nat = \"2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"\ncount = 3\nevery = \"8s\"\n";
    let freeze = |times: u32| {
        format!("{three}[[steps]]\non = \"run.started\"\ntimes = {times}\ndo = \"freeze\"\nfor = \"1s\"")
    };
    let frozen = |times| {
        let run = played(&freeze(times));
        assert_eq!((run.verdict, &run.notes[..]), (Verdict::Pass, &[][..]));
        happened(&run, |fact| matches!(fact, Fact::ProcessFrozen { .. })).len()
    };
    assert_eq!([1, 2, 3, 5].map(frozen), [1, 2, 3, 3]);
    let never = format!("{three}[[steps]]\non = \"restart.asked\"\ntimes = 2\ndo = \"kill\"");
    assert!(inconclusive(&never).contains("there was no restart.asked at all"));
}

#[test]
fn a_machine_that_sleeps_is_still_and_out_of_reach() {
    let asleep = "[[steps]]\nat = \"2s\"\ndo = \"suspend\"\nfor = \"10s\"\n\
                  [[steps]]\nat = \"5s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"";
    let run = played(asleep);
    assert_eq!(run.verdict, Verdict::Pass, "{:?}", run.violations);
    let accepted = happened(&run, |fact| matches!(fact, Fact::MessageAccepted { .. }));
    assert!(accepted[0].at >= Duration::from_secs(12), "{:?}", accepted[0].at);
    let froze = |at: u64| {
        happened(&run, |fact| matches!(fact, Fact::ProcessFrozen { .. } | Fact::ProcessThawed { .. }))
            .iter()
            .filter(|event| event.at == Duration::from_secs(at))
            .count()
    };
    assert_eq!((froze(2), froze(12)), (1, 1));
}

#[test]
fn a_name_that_nobody_knows_and_a_model_that_is_away_end_with_their_steps() {
    let hello = "[[steps]]\nat = \"2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"\n\
                 [[steps]]\nat = \"50s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"and now?\"\n";
    for trouble in [
        "do = \"name-unknown\"\nmachine = \"provider\"",
        "do = \"provider-down\"",
        "do = \"provider-down\"\nhow = \"fails\"",
        "do = \"provider-down\"\nhow = \"limits\"",
        "do = \"provider-down\"\nhow = \"cuts-line\"",
    ] {
        let run = played(&format!("{hello}[[steps]]\nat = \"1s\"\n{trouble}\nfor = \"40s\""));
        assert_eq!(run.verdict, Verdict::Pass, "{trouble}: {:?}", run.violations);
        let fates = ["ann#1", "ann#2"].map(|message| run.fates[message].as_str());
        assert_eq!(fates, ["told", "replied"], "{trouble}");
    }
}

#[test]
fn nothing_is_done_to_the_gateway_any_more_when_the_storm_is_over() {
    let steps = "[[steps]]\non = \"gateway.ready\"\nafter = \"1m\"\ndo = \"kill\"";
    let run = played(steps);
    assert!(run.notes.iter().any(|note| note.contains("never happened")), "{:?}", run.notes);
    let killed =
        happened(&run, |fact| matches!(fact, Fact::ProcessExited { program, .. } if program == "gateway"));
    assert_eq!(killed, Vec::<&Event>::new());
}

#[test]
fn a_fault_that_hit_once_has_had_its_moment_although_its_calls_never_all_failed() {
    let run = played(
        "[[steps]]\nat = \"0s\"\ndo = \"disk-fault\"\nerror = \"EIO\"\noperation = \"append\"\ncalls = 100\n\
         [[steps]]\nat = \"2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"",
    );
    assert_eq!((run.verdict, run.notes.len()), (Verdict::Pass, 0));
    let failed = happened(&run, |fact| fact.name() == "disk.failed");
    assert!(!failed.is_empty() && failed.iter().all(|event| event.at < Duration::from_secs(60)));
}

#[test]
fn one_lock_has_one_squatter_and_the_other_gives_up() {
    let squat = |more: &str| format!("[[steps]]\nat = \"1s\"\ndo = \"squat-lock\"\nfor = \"30s\"\n{more}\n");
    let both = squat("") + &squat("patience = \"5s\"");
    let note = "the step \"squat lock\" (line 10) never had its lock";
    assert_eq!(inconclusive(&both), note);
    let patient = played(&(squat("") + &squat("patience = \"50s\"")));
    assert_eq!(patient.verdict, Verdict::Pass, "{:?}", patient.notes);
    assert!(locks_at_the_end(&patient).iter().all(|lock| lock != STORE_LOCK));
    let [first, second] = &exits_of_squatters(&patient)[..] else { panic!("two squatters") };
    // The second one takes over from the first, and the storm ends before its time is over.
    assert_eq!(first, &(Duration::from_secs(31), "exit 0".to_string()));
    assert_eq!(second, &(Duration::from_secs(60), "exit 0".to_string()));
}

#[test]
fn a_squatter_gives_back_at_the_end_of_the_storm_even_if_it_stands_still() {
    let run = played(
        "[[steps]]\nat = \"1s\"\ndo = \"squat-lock\"\nfor = \"10m\"\n\
         [[steps]]\nat = \"2s\"\ndo = \"freeze\"\nprocess = \"squatter\"\nfor = \"10m\"",
    );
    assert_eq!(exits_of_squatters(&run), [(Duration::from_secs(60), "exit 0".to_string())]);
    assert!(locks_at_the_end(&run).iter().all(|lock| lock != STORE_LOCK));
}

#[test]
fn a_squatter_that_is_killed_leaves_its_lock_to_the_gateway() {
    let run = played(
        "[[steps]]\nat = \"1s\"\ndo = \"squat-lock\"\nfor = \"10m\"\n\
         [[steps]]\nat = \"2s\"\ndo = \"signal\"\nprocess = \"squatter\"\nsignal = \"SIGTERM\"",
    );
    assert_eq!(exits_of_squatters(&run), [(Duration::from_secs(2), "killed by SIGTERM".to_string())]);
    let removals = happened(&run, |fact| match fact {
        Fact::Disk { path, .. } => fact.name() == "disk.remove" && path.ends_with(STORE_LOCK),
        _ => false,
    });
    let [removal] = &removals[..] else { panic!("one removal: {removals:?}") };
    assert!(removal.at > Duration::from_secs(2), "not by the squatter");
}

#[test]
fn an_anchor_on_the_disk_can_name_its_file() {
    let run = played(
        "[[steps]]\nat = \"2s\"\ndo = \"send\"\nfrom = \"ann\"\ntext = \"hello\"\n\
         [[steps]]\non = \"disk.append\"\npath = \"sessions/*.jsonl\"\ndo = \"kill\"",
    );
    let kills = happened(&run, |fact| fact.name() == "process.exited");
    let transcript = happened(&run, |fact| match fact {
        Fact::Disk { path, .. } => fact.name() == "disk.append" && path.contains("/sessions/"),
        _ => false,
    });
    assert_eq!(kills[0].at, transcript[0].at);
}

#[test]
fn a_lock_that_is_left_names_whom_it_should() {
    let scenario = scenario("");
    World::run(WorldSettings::seeded(1), async |world| {
        let stage = Stage::build(&world, &scenario, HARDENED).expect("a stage");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let port = scenario.gateway.port;
        let gateway = stage.gateway_pid(port).expect("it runs");
        let left = |file: &str, owner, age| {
            let done = stage.leave_lock(&LockFile::At(file.into()), owner, age, port);
            let path = Path::new(super::stage::STATE_DIR).join(file);
            (done, stage.disk().read(&path).expect("a file"), stage.disk().stat(&path).expect("a file"))
        };
        let named = |bytes: &[u8]| {
            let payload: Value = serde_json::from_slice(bytes).expect("a payload");
            let number = |key: &str| payload[key].as_u64().expect("a number");
            (Pid(u32::try_from(number("pid")).expect("a pid")), number("startTime"))
        };
        let hour = Duration::from_secs(3_600);
        let now = world.wall_clock("gateway")();

        let (done, bytes, stat) = left("a.lock", LockOwner::Dead, hour);
        assert!(done.is_ok() && !world.is_alive(named(&bytes).0));
        assert_eq!(stat.modified.epoch_ms(), now.epoch_ms() - 3_600_000);
        let payload: Value = serde_json::from_slice(&bytes).expect("a payload");
        assert_eq!(payload["createdAt"], stat.modified.to_string());

        let (_, bytes, _) = left("b.lock", LockOwner::Reused, Duration::ZERO);
        let (pid, start) = named(&bytes);
        assert!(pid != gateway && world.start_time_of(pid).expect("it lives").0 > start);

        let (_, bytes, stat) = left("c.lock", LockOwner::Gateway, Duration::ZERO);
        assert_eq!(named(&bytes), (gateway, world.start_time_of(gateway).expect("it lives").0));
        assert_eq!(stat.modified, now);

        assert!(left("d.lock", LockOwner::Nobody, hour).1.is_empty());
        let garbage = left("e.lock", LockOwner::Garbage, hour).1;
        assert!(!garbage.is_empty() && serde_json::from_slice::<Value>(&garbage).is_err());

        let (done, ..) = left("gateway.lock", LockOwner::Dead, hour);
        assert!(done.expect_err("it is held").ends_with("gateway.lock is there already"));
    });
}

#[test]
fn the_clock_stays_where_it_jumped_to() {
    let scenario = scenario("");
    World::run(WorldSettings::seeded(1), async |world| {
        let stage = Stage::build(&world, &scenario, HARDENED).expect("a stage");
        let clock = world.wall_clock("gateway");
        let before = clock().epoch_ms();
        let hour = Duration::from_secs(3_600);
        stage.clock_jump(hour, crate::scenario::Direction::Back).expect("it jumps");
        stage.end_faults();
        assert_eq!(clock().epoch_ms(), before - 3_600_000);
        stage.clock_jump(2 * hour, crate::scenario::Direction::Forward).expect("it jumps");
        assert_eq!(clock().epoch_ms(), before + 3_600_000);
    });
}

/// What became of the peers called `tabs`, a line for each.
fn peers(run: &RunResult) -> Vec<String> {
    let line = |event: &Event| {
        let what = match &event.fact {
            Fact::PeerConnected { place, .. } => (*place).to_string(),
            Fact::PeerTurnedAway { how, .. } | Fact::PeerEnded { how, .. } => how.clone(),
            _ => return None,
        };
        Some(format!("{} {what}", event.fact.name()))
    };
    run.timeline.iter().filter_map(line).collect()
}

const TABS: &str = "[peers.tabs]\nkind = \"never-answers-close\"\ncount = 3\narrive = \"0ms\"\n";

#[test]
fn peers_arrive_by_themselves_unless_a_step_lets_them_in() {
    let connected = "peer.connected authenticated";
    assert_eq!(peers(&played(TABS)), [connected; 3]);
    let waves = "[[steps]]\nat = \"5s\"\ndo = \"peers-arrive\"\npeers = \"tabs\"\n".repeat(2);
    let run = played(&format!("{TABS}{waves}"));
    assert_eq!((run.verdict, peers(&run)), (Verdict::Pass, vec![connected.to_string(); 6]));
    let first = happened(&run, |fact| fact.name() == "peer.connected")[0].at;
    assert!(first > Duration::from_secs(5), "{first:?}");
}

#[test]
fn steps_end_the_connections_of_peers_and_say_when_there_was_none() {
    let step = |verb: &str| format!("{TABS}[[steps]]\nat = \"5s\"\ndo = \"{verb}\"\npeers = \"tabs\"\n");
    assert_eq!(peers(&played(&step("peers-leave")))[3..], ["peer.ended left"; 3]);
    assert_eq!(peers(&played(&step("peers-reset")))[3..], ["peer.ended reset by itself"; 3]);
    let twice = format!(
        "{}{}",
        step("peers-leave"),
        "[[steps]]\nat = \"6s\"\ndo = \"peers-reset\"\npeers = \"tabs\"\n"
    );
    assert!(inconclusive(&twice).ends_with("none of the peers tabs was connected at that moment"));
}

#[test]
fn peers_that_never_came_as_far_as_they_go_are_no_evidence() {
    // Nobody listens any more when they arrive.
    let late = TABS.replace("\"0ms\"", "\"10s\"") + "[[steps]]\nat = \"1s\"\ndo = \"service-stop\"\n";
    assert_eq!(inconclusive(&late), "none of the peers tabs ever came as far as its kind goes");
}
