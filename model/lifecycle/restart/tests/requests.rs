//! One request, or a few: what is decided, when a restart is ordered, and on what terms.

use super::*;

#[test]
fn with_nothing_in_hand_the_order_is_given_at_once() {
    for mode in [Mode::Plain, Mode::Safe, Mode::Force, Mode::Wait(Patience::Unlimited)] {
        let mut life = Life::new();
        let decision = life.ask(mode);
        assert_eq!(decision.status, Status::Scheduled { due: at(100) }, "{mode:?}");
        assert_eq!(ordered(decision.action).manner, Manner::Idle);
        assert!(matches!(life.coordinator.admission(at(100)), Admission::ClosedBy(_)));
    }
}

#[test]
fn a_restart_waits_for_work_and_comes_when_it_is_over() {
    for mode in [Mode::Plain, Mode::Safe, Mode::Wait(Patience::AtMost(secs(300)))] {
        let mut life = Life::new().busy();
        let decision = life.ask(mode);
        assert_eq!(decision.status, Status::Deferred { due: at(100), limit: Some(at(400)) }, "{mode:?}");
        assert_eq!((decision.action, life.wait(250)), (None, None));
        assert_eq!(life.coordinator.admission(at(250)), Admission::Open);
        let action = life.work_ends();
        let terms = life.take(action);
        assert_eq!((terms.manner, terms.deadline), (Manner::Idle, Some(at(400))), "{mode:?}");
    }
}

#[test]
fn at_the_limit_a_plain_restart_goes_ahead_with_the_floor_as_its_drain() {
    let mut life = Life::new().busy();
    life.ask(Mode::Plain);
    let (when, action) = life.wait(1_000).expect("it does not wait for ever");
    assert_eq!((when, ordered(Some(action)).manner), (400, Manner::DrainAndMark));
    let terms = life.take(Some(action));
    assert_eq!(terms.deadline, Some(at(415)));
    assert!(terms.may_interrupt);
}

#[test]
fn what_the_deferral_used_is_taken_off_the_drain() {
    let mut life = Life::new().busy();
    life.ask(Mode::Plain);
    life.now = 300;
    let action = life.work_ends();
    assert_eq!(life.take(action).deadline, Some(at(400)));

    let policy = RestartPolicy { wait_budget: WaitBudget::EachInFull, ..RestartPolicy::default() };
    let mut life = Life::with(policy, Settings::default()).busy();
    life.ask(Mode::Plain);
    let (_, action) = life.wait(1_000).expect("it does not wait for ever");
    assert_eq!(life.take(Some(action)).deadline, Some(at(700)), "in history, ten minutes in all");
}

#[test]
fn at_its_limit_a_safe_restart_holds_new_work_off_and_then_gives_up() {
    let mut life = Life::new().busy();
    life.ask(Mode::Safe);
    assert_eq!(life.wait(399), None);
    assert_eq!(life.coordinator.admission(at(399)), Admission::Open);
    assert_eq!(life.wait(414), None);
    assert_eq!(life.coordinator.admission(at(414)), Admission::HeldOffFor(id(1, 1)));
    assert_eq!(life.wait(1_000), None);
    let waiting_for = "restart deferred: 1 active embedded run(s)".to_string();
    assert_eq!(life.endings(), [(1, Ending::TimedOut { waiting_for })]);
    assert_eq!(life.coordinator.admission(at(1_000)), Admission::Open);
    assert_eq!(life.coordinator.state(at(1_000)), State::Idle);
}

#[test]
fn what_ends_while_new_work_is_held_off_saves_a_safe_restart() {
    let mut life = Life::new().busy();
    life.ask(Mode::Safe);
    assert_eq!(life.wait(410), None);
    let action = life.work_ends();
    assert!(!life.take(action).may_interrupt);
}

#[test]
fn a_limit_of_zero_is_none() {
    let settings = Settings::default().with_deferral_timeout_ms(0);
    let mut life = Life::with(RestartPolicy::default(), settings).busy();
    let decision = life.ask(Mode::Plain);
    assert_eq!(decision.status, Status::Deferred { due: at(100), limit: None });
    assert_eq!(life.wait(1_000_000), None);
    let action = life.work_ends();
    assert_eq!(life.take(action).deadline, None);
}

#[test]
fn force_waits_for_nothing_and_drains_for_the_floor() {
    let mut life = Life::new().busy();
    let decision = life.request(Request::new(Source::CommandLine, Mode::Force).after(secs(20)));
    assert_eq!(ordered(decision.action).manner, Manner::Forced);
    assert_eq!(life.take(decision.action).deadline, Some(at(115)));
}

#[test]
fn force_overtakes_a_deferral_and_everybody_is_served() {
    let mut life = Life::new().busy();
    life.ask(Mode::Plain);
    life.ask(Mode::Safe);
    let decision = life.ask(Mode::Force);
    assert_eq!(decision.status, Status::Coalesced { onto: id(1, 1), due: at(100) });
    let terms = life.take(decision.action);
    assert_eq!((terms.manner, terms.deadline), (Manner::Forced, Some(at(115))));
}

#[test]
fn force_shortens_a_drain_that_is_under_way_and_never_prolongs_it() {
    let mut life = Life::new();
    let action = life.ask(Mode::Plain).action;
    assert_eq!(life.take(action).deadline, Some(at(400)));
    life.now = 110;
    let shorter = Some(Action::ShortenDrain { deadline: at(125) });
    assert_eq!(life.ask(Mode::Force).action, shorter);
    life.now = 120;
    assert_eq!(life.ask(Mode::Force).action, None);
}

#[test]
fn who_joins_a_drain_with_less_patience_shortens_it() {
    let settings = Settings::default().with_deferral_timeout_ms(0);
    let mut life = Life::with(RestartPolicy::default(), settings);
    let action = life.ask(Mode::Plain).action;
    assert_eq!(life.take(action).deadline, None);
    assert_eq!(life.ask(Mode::Safe).action, None);
    let shorter = Some(Action::ShortenDrain { deadline: at(160) });
    assert_eq!(life.ask(Mode::Wait(Patience::AtMost(secs(60)))).action, shorter);
    assert_eq!(life.ask(Mode::Wait(Patience::AtMost(secs(90)))).action, None);
}

#[test]
fn an_earlier_time_replaces_a_later_one() {
    let mut life = Life::new();
    let later = life.request(Request::new(Source::CommandLine, Mode::Plain).after(secs(50)));
    assert_eq!(later.status, Status::Scheduled { due: at(150) });
    let sooner = life.request(Request::new(Source::CommandLine, Mode::Plain).after(secs(10)));
    assert_eq!(sooner.status, Status::Coalesced { onto: id(1, 1), due: at(110) });
    assert_eq!(life.wait(1_000).map(|(when, _)| when), Some(110));

    let mut life = Life::new().busy();
    life.ask(Mode::Wait(Patience::Unlimited));
    life.ask(Mode::Wait(Patience::AtMost(secs(7))));
    assert_eq!(life.wait(1_000).map(|(when, _)| when), Some(107));
}

#[test]
fn a_delay_is_at_most_a_minute() {
    let mut life = Life::new();
    let decision = life.request(Request::new(Source::CommandLine, Mode::Plain).after(secs(3_600)));
    assert_eq!(decision.status, Status::Scheduled { due: at(160) });
}

#[test]
fn between_two_restarts_there_is_a_pause_that_force_skips() {
    let mut life = Life::new();
    let action = life.ask(Mode::Plain).action;
    life.take(action);
    life.next_generation();
    life.now = 110;
    let decision = life.ask(Mode::Plain);
    assert_eq!((decision.status, decision.cooldown), (Status::Scheduled { due: at(130) }, secs(20)));
    assert_eq!(decision.action, None);
    assert!(life.ask(Mode::Force).action.is_some());
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again_unless_it_can_be_merged() {
    let mut life = Life::new();
    for _ in 0..3 {
        let action = life.ask(Mode::Force).action;
        life.take(action);
        life.next_generation();
    }
    let why = Refusal::RateLimited { retry_after_ms: 60_000 };
    assert_eq!(life.ask(Mode::Force).status, Status::Refused(why));
    let other = Request::new(Source::Rpc { client: RPC.into() }, Mode::Plain);
    assert!(matches!(life.request(other).status, Status::Scheduled { .. }));
    assert!(matches!(life.ask(Mode::Plain).status, Status::Coalesced { .. }));
}

#[test]
fn in_history_who_could_be_merged_was_refused() {
    let policy = RestartPolicy { rate_limit_order: RateLimitOrder::BeforeMerging, ..Default::default() };
    let mut life = Life::with(policy, Settings::default()).busy();
    let statuses = [(); 4].map(|()| life.ask(Mode::Plain).status);
    assert!(matches!(statuses[3], Status::Refused(Refusal::RateLimited { .. })));
}

#[test]
fn who_asks_again_with_the_same_key_asks_the_same() {
    let mut life = Life::new().busy();
    let request = Request::new(Source::CommandLine, Mode::Plain).keyed("k");
    let first = life.request(request.clone());
    let again = life.request(request);
    assert_eq!(again.request, first.request);
    assert!(matches!(again.status, Status::Coalesced { .. }));
    let other = Request::new(Source::CommandLine, Mode::Force).keyed("k");
    assert_ne!(life.request(other).request, first.request, "force is another thing to ask for");
}

#[test]
fn an_order_that_nobody_takes_is_given_again_and_then_given_up() {
    let mut life = Life::new();
    let first = ordered(life.ask(Mode::Plain).action).token;
    let tokens: Vec<_> = std::iter::from_fn(|| life.wait(1_000)).collect();
    assert_eq!(tokens.iter().map(|(when, _)| *when).collect::<Vec<_>>(), [105, 110]);
    assert_eq!(life.coordinator.drain_began(at(116), first), Err(StaleOrder(first)));
    assert!(matches!(life.endings()[..], [(1, Ending::TimedOut { .. })]));
    assert_eq!(life.coordinator.admission(at(116)), Admission::Open);
    assert!(matches!(life.ask(Mode::Plain).status, Status::Scheduled { .. }));
}

#[test]
fn an_order_that_is_taken_late_is_taken_if_nobody_gave_it_anew() {
    let mut life = Life::new();
    let order = ordered(life.ask(Mode::Plain).action);
    assert!(life.coordinator.drain_began(at(130), order.token).is_ok());
    assert!(life.coordinator.drain_began(at(131), order.token).is_ok(), "twice changes nothing");
}

#[test]
fn in_history_an_order_that_expired_swallowed_every_later_request() {
    let policy = RestartPolicy { cycle_token: CycleToken::StuckOnExpiry, ..RestartPolicy::default() };
    let mut life = Life::with(policy, Settings::default());
    life.ask(Mode::Plain);
    life.now = 106;
    assert_eq!(life.signal().heard, Heard::Ignored(Refusal::Expired));
    life.now = 100_000;
    assert!(matches!(life.ask(Mode::Force).status, Status::Coalesced { .. }));
    assert_eq!(life.coordinator.next_wake(), None);
    assert_eq!(life.endings(), []);
}

#[test]
fn what_an_earlier_generation_left_running_delays_nothing() {
    let mut life = Life::new();
    life.run(Generation(0));
    assert!(life.ask(Mode::Safe).action.is_some());
}

#[test]
fn steady_new_work_does_not_starve_a_restart() {
    let mut life = Life::new();
    let mut orders = 0;
    life.run(Generation(1));
    life.ask(Mode::Plain);
    for second in 101..=500 {
        life.now = second;
        // Each second the old work ends and new work is there already.
        life.inventory = Inventory::new();
        life.run(Generation(1));
        orders += u32::from(life.coordinator.wake(at(second), &life.inventory).is_some());
        if orders > 0 {
            assert_eq!(second, 400);
            return;
        }
    }
    panic!("nothing was ordered");
}

#[test]
fn more_requests_than_are_kept_are_refused_and_force_is_not() {
    let mut life = Life::new().busy();
    let asked = |life: &mut Life| life.request(Request::new(Source::Signal, Mode::Plain)).status;
    let accepted = (0..1_000).filter(|_| !matches!(asked(&mut life), Status::Refused(_))).count();
    assert_eq!(accepted, 256);
    assert_eq!(asked(&mut life), Status::Refused(Refusal::TooMany));
    assert!(life.ask(Mode::Force).action.is_some());
    assert_eq!(life.ask(Mode::Force).status, Status::Refused(Refusal::TooMany), "it is forced already");
}
