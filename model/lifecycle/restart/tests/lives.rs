//! What requests come to across signals, stops and generations: who is told what, in this life or the next.

use super::*;

fn done(generation: u64) -> Ending {
    Ending::Done { generation: Generation(generation) }
}

fn merged(into: RequestId, generation: u64) -> Ending {
    Ending::Merged { into, generation: Generation(generation) }
}

fn notice(session: &str) -> Notice {
    Notice { session_key: session.into(), channel: None, to: None, text: None }
}

#[test]
fn everybody_is_told_when_the_next_generation_is_up() {
    let mut life = Life::new().busy();
    life.request(Request::new(Source::CommandLine, Mode::Plain).because("update").telling(notice("ann")));
    life.request(Request::new(Source::Signal, Mode::Plain).because("  ").telling(notice("bob")));
    let action = life.work_ends();
    life.take(action);
    life.coordinator.generation_began();
    assert_eq!(life.coordinator.untold(), [], "it is not up yet");
    life.up();

    let told: Vec<_> = life.coordinator.untold().iter().map(|outcome| outcome.of.clone()).collect();
    assert_eq!([&told[0].notice, &told[1].notice], [&Some(notice("ann")), &Some(notice("bob"))]);
    assert_eq!(told[0].reason.as_ref().map(Reason::as_str), Some("update"));
    assert_eq!(told[1].reason, None);
    assert_eq!(life.endings(), [(1, done(2)), (2, merged(id(1, 1), 2))]);
    assert_eq!(life.endings(), []);
}

#[test]
fn in_history_one_slot_held_the_last_requesters_notice_only() {
    let policy = RestartPolicy { notices: Notices::OneSlot, ..RestartPolicy::default() };
    let mut life = Life::with(policy, Settings::default()).busy();
    life.ask(Mode::Plain);
    life.ask(Mode::Plain);
    let action = life.work_ends();
    life.take(action);
    life.next_generation();
    assert_eq!(life.endings(), [(2, done(2))]);
}

#[test]
fn a_process_that_follows_tells_what_the_last_one_was_asked_for() {
    let mut life = Life::new().busy();
    life.request(Request::new(Source::Rpc { client: RPC.into() }, Mode::Safe).telling(notice("ann")));
    life.ask(Mode::Plain);
    let written = serde_json::to_string(&life.coordinator.ledger()).expect("a ledger is JSON");

    let read = serde_json::from_str(&written).expect("and is read again");
    let next = Coordinator::new(RestartPolicy::default(), Settings::default(), read);
    let mut life = Life { coordinator: next, now: 0, inventory: Inventory::new() };
    let mine = life.ask(Mode::Plain);
    assert_eq!(mine.request, id(2, 1));
    let order = life.up();
    assert!(order.is_some(), "what was asked for during the start is no earlier life's");
    let words: Vec<_> = life.coordinator.untold().iter().map(Outcome::words).collect();
    assert_eq!(
        words,
        [
            "restart 1.1: done, the gateway is up again as 2",
            "restart 1.2: done together with 1.1, the gateway is up again as 2"
        ]
    );
    let untold = life.coordinator.ledger().untold;
    assert_eq!(untold.len(), 2, "until somebody was told");
    assert!(serde_json::to_string(&untold).expect("JSON").contains(r#""ending":"done","generation":2"#));
}

#[test]
fn a_stop_refuses_everybody_and_whoever_comes_later() {
    type Reach = fn(&mut Life);
    let stages: [(&str, Reach); 3] = [
        ("deferred", |_| {}),
        ("ordered", |life| assert!(life.work_ends().is_some())),
        ("draining", |life| {
            let action = life.work_ends();
            life.take(action);
        }),
    ];
    for (stage, reach) in stages {
        let mut life = Life::new().busy();
        life.ask(Mode::Plain);
        life.ask(Mode::Safe);
        reach(&mut life);
        life.coordinator.stop_requested();
        let stopping = || refused(Refusal::Stopping);
        assert_eq!(life.endings(), [(1, stopping()), (2, stopping())], "{stage}");
        assert_eq!(life.ask(Mode::Force).status, Status::Refused(Refusal::Stopping));
        assert_eq!(life.endings(), [], "the answer was the outcome");
        assert_eq!((life.coordinator.admission(at(100)), life.wait(9_999)), (Admission::Stopping, None));
        assert_eq!(life.coordinator.ledger().open, []);
    }
}

#[test]
fn what_asks_during_a_drain_is_served_by_it() {
    let mut life = Life::new();
    let action = life.ask(Mode::Plain).action;
    life.take(action);
    let decision = life.ask(Mode::Safe);
    assert_eq!(decision.status, Status::Coalesced { onto: id(1, 1), due: at(100) });
    life.next_generation();
    assert_eq!(life.endings(), [(1, done(2)), (2, merged(id(1, 1), 2))]);
}

#[test]
fn an_order_of_an_old_generation_begins_nothing_in_the_new_one() {
    let mut life = Life::new();
    let old = ordered(life.ask(Mode::Plain).action).token;
    life.next_generation();
    assert_eq!(life.coordinator.drain_began(at(100), old), Err(StaleOrder(old)));
    life.now = 200;
    let new = ordered(life.ask(Mode::Plain).action).token;
    assert_ne!(old, new);
    assert_eq!(life.coordinator.drain_began(at(200), old), Err(StaleOrder(old)));
    assert_eq!(life.coordinator.state(at(200)), State::Ordered);
}

#[test]
fn a_restart_signal_is_our_own_when_one_was_ordered_and_else_asks_like_everybody() {
    let mut life = Life::new().busy();
    let first = life.signal();
    let Heard::Asked(decision) = first.heard else { panic!("{first:?}") };
    assert!(matches!(decision.status, Status::Deferred { .. }));
    let again = life.signal();
    assert!(matches!(again.heard, Heard::Asked(Decision { status: Status::Coalesced { .. }, .. })));
    assert_eq!((first.insistent, again.insistent, life.signal().insistent), (false, false, true));

    assert!(life.work_ends().is_some());
    let own = life.signal();
    assert!(matches!(own.heard, Heard::Own(DrainTerms { manner: Manner::Idle, .. })), "{own:?}");
    assert_eq!(life.coordinator.state(at(100)), State::Draining);
    assert!(matches!(life.signal().heard, Heard::Asked(_)), "one signal was expected, and it came");
}

#[test]
fn a_signal_after_its_authorisation_expired_still_leads_to_a_restart() {
    let mut life = Life::new();
    life.ask(Mode::Plain);
    life.now = 106;
    assert!(matches!(life.signal().heard, Heard::Own(_)));
}

#[test]
fn signals_from_outside_can_be_switched_off() {
    let settings = Settings { external_signals: false, ..Settings::default() };
    let mut life = Life::with(RestartPolicy::default(), settings);
    assert_eq!(life.signal().heard, Heard::Ignored(Refusal::SwitchedOff));
    let action = life.ask(Mode::Plain).action;
    life.take(action);
    life.next_generation();
    let heard = life.signal().heard;
    assert_eq!(heard, Heard::Ignored(Refusal::SwitchedOff), "an order taken by hand authorises no signal");
}

#[test]
fn in_history_a_signal_from_outside_passed_every_deferral() {
    let mut life = Life::with(restart_policy("openclaw-2026.3.2").unwrap(), Settings::default()).busy();
    let Heard::Own(terms) = life.signal().heard else { panic!("it was deferred") };
    assert_eq!((terms.manner, terms.deadline), (Manner::Direct, Some(at(130))));
}

#[test]
fn what_is_asked_for_before_the_server_is_up_waits_for_it() {
    let mut life = Life::starting(RestartPolicy::default(), Settings::default());
    assert!(matches!(life.signal().heard, Heard::Asked(Decision { action: None, .. })));
    assert!(matches!(life.ask(Mode::Force).status, Status::Coalesced { .. }));
    assert_eq!((life.wait(500), life.coordinator.state(at(500))), (None, State::Starting));
    assert!(life.up().is_some());

    let mut life = Life::starting(RestartPolicy::default(), Settings::default());
    life.signal();
    life.coordinator.stop_requested();
    assert_eq!(life.endings(), [(1, refused(Refusal::Stopping))]);
    assert_eq!(life.up(), None);
}

#[test]
fn a_deferral_counts_from_when_the_server_is_up() {
    let mut life = Life::starting(RestartPolicy::default(), Settings::default()).busy();
    life.ask(Mode::Plain);
    life.now = 1_000;
    assert_eq!(life.up(), None);
    assert_eq!(life.wait(9_999).map(|(when, _)| when), Some(1_300));
}

#[test]
fn a_reverted_edit_cancels_the_restart_unless_somebody_else_asked() {
    let edit = || Source::ConfigWatcher { paths: vec!["gateway.port".into()] };
    let mut life = Life::new().busy();
    life.request(Request::new(edit(), Mode::Plain));
    assert!(life.coordinator.edit_reverted());
    assert_eq!(life.endings(), [(1, refused(Refusal::EditReverted))]);
    assert_eq!((life.work_ends(), life.coordinator.edit_reverted()), (None, false));

    let mut life = Life::new().busy();
    life.request(Request::new(edit(), Mode::Plain));
    life.ask(Mode::Plain);
    assert!(life.coordinator.edit_reverted());
    assert!(life.work_ends().is_some());
    assert!(!life.coordinator.edit_reverted(), "it is under way");
}

#[test]
fn where_it_stands_can_be_seen() {
    let mut life = Life::new().busy();
    life.request(Request::new(Source::CommandLine, Mode::Plain).because("update"));
    life.now = 160;
    assert_eq!(
        serde_json::to_value(life.coordinator.standing(at(160))).expect("JSON"),
        serde_json::json!({
            "state": "deferred",
            "requests": [{
                "request": {"generation": 1, "number": 1},
                "source": {"kind": "command-line"},
                "reason": "update",
            }],
            "dueInMs": 0,
            "limitInMs": 240_000,
        })
    );
}

#[test]
fn a_reason_is_trimmed_and_cut() {
    let reason = Reason::new(&format!("  {}", "ü".repeat(300))).expect("there is one");
    assert_eq!(reason.as_str().chars().count(), 200);
    assert_eq!(Reason::new(" \n"), None);
}

#[test]
fn what_nobody_was_told_is_written_down_and_read_again() {
    let edit = Source::ConfigWatcher { paths: vec!["gateway.port".into()] };
    let mut life = Life::new().busy();
    life.request(Request::new(edit, Mode::Plain).because("edit"));
    life.coordinator.edit_reverted();
    life.request(Request::new(Source::Rpc { client: RPC.into() }, Mode::Safe).telling(notice("ann")));
    life.wait(1_000);
    life.ask(Mode::Plain);
    life.request(Request::new(Source::Signal, Mode::Plain));
    let action = life.work_ends();
    life.take(action);
    life.next_generation();
    life.run(Generation(2));
    life.ask(Mode::Plain);

    let ledger = life.coordinator.ledger();
    assert_eq!((ledger.untold.len(), ledger.open.len()), (4, 1));
    let written = serde_json::to_string(&ledger).expect("JSON");
    assert_eq!(serde_json::from_str::<Ledger>(&written).expect("what was written"), ledger);
    let after = Coordinator::new(RestartPolicy::default(), Settings::default(), ledger);
    assert_eq!((after.generation(), after.untold().len()), (Generation(3), 4));
}

#[test]
fn a_generation_is_newer_than_everything_that_was_ever_begun() {
    let coordinator = |ledger| Coordinator::new(RestartPolicy::default(), Settings::default(), ledger);
    let lost = Ledger::default().not_before(Generation(7));
    assert_eq!(coordinator(lost.clone()).generation(), Generation(8));
    assert_eq!(coordinator(lost.not_before(Generation(2))).generation(), Generation(8));
}

#[test]
fn who_asks_again_in_another_life_asks_the_same() {
    let client = || Source::Rpc { client: RPC.into() };
    let keyed = || Request::new(client(), Mode::Plain).keyed("k");
    let mut life = Life::new();
    let asked = life.request(keyed());
    let ledger = life.coordinator.ledger();
    let written = serde_json::to_string(&ledger).expect("JSON");
    let read: Ledger = serde_json::from_str(&written).expect("what was written");
    let next = Coordinator::new(RestartPolicy::default(), Settings::default(), read);
    let mut life = Life { coordinator: next, now: 100, inventory: Inventory::new() };
    let again = life.request(keyed());
    assert_eq!(
        (again.request, again.status),
        (asked.request, Status::Coalesced { onto: id(1, 1), due: at(100) })
    );
    assert_eq!(life.up(), None);
    for told in [false, true] {
        let again = life.request(keyed());
        assert_eq!(
            (again.request, again.status, again.action),
            (asked.request, Status::Over, None),
            "{told}"
        );
        life.endings();
    }
    assert_eq!(life.coordinator.outcomes().count(), 1);
    let another = life.request(Request::new(Source::CommandLine, Mode::Plain).keyed("k"));
    assert_ne!(another.request, asked.request, "another one's key");

    // The same edit made again is another edit.
    let edit = || Source::ConfigWatcher { paths: vec!["gateway.port".into()] };
    let mut life = Life::new();
    let action = life.request(Request::new(edit(), Mode::Plain).keyed("k")).action;
    life.take(action);
    life.next_generation();
    life.now = 200;
    assert!(life.request(Request::new(edit(), Mode::Plain).keyed("k")).action.is_some());
}

#[test]
fn a_process_that_follows_keeps_the_pause() {
    let next = |left| {
        let coordinator = Coordinator::new(RestartPolicy::default(), Settings::default(), Ledger::default());
        let coordinator = coordinator.after_pause(at(100), secs(left));
        let mut life = Life { coordinator, now: 100, inventory: Inventory::new() };
        life.up();
        life
    };
    let mut life = next(20);
    assert_eq!(life.ask(Mode::Plain).cooldown, secs(20));
    assert_eq!(life.wait(200).map(|(when, _)| when), Some(120));
    assert_eq!(next(999).ask(Mode::Plain).cooldown, secs(30), "no longer than a whole one");
    assert!(next(20).ask(Mode::Force).action.is_some(), "force does not wait for it");
}

#[test]
fn an_order_keeps_new_work_out_and_in_history_it_did_not() {
    for (policy, is_open) in
        [(RestartPolicy::default(), false), (restart_policy("openclaw-2026.5.4").unwrap(), true)]
    {
        let mut life = Life::with(policy, Settings::default());
        life.ask(Mode::Safe);
        assert_eq!(life.coordinator.admission(at(100)) == Admission::Open, is_open);
    }
}

#[test]
fn only_the_latest_outcomes_are_remembered() {
    let mut life = Life::new().busy();
    for _ in 0..100 {
        life.ask(Mode::Safe);
    }
    life.coordinator.stop_requested();
    assert_eq!(life.endings().len(), 100);
    let remembered = life.coordinator.ledger().told;
    assert_eq!((remembered.len(), remembered[0].of.request), (32, id(1, 69)));
}
