//! Hooks told in stories: when one is missing, too long, out of order or untrue, and when it is none of that.
//!
//! One idea a test, both sides of each excuse. Knows nothing of how a gateway runs its hooks.

use super::*;
use crate::oracle::Terms;
use crate::oracle::tests::verdict;
use crate::timeline::story::{MACHINE, Story, key};
use gateway::env::{ExitCode, Signal};

const ORACLE: HooksBoundedAndOrdered = HooksBoundedAndOrdered;
const GATEWAY: Pid = Pid(214);

fn complaints(story: Story) -> Vec<String> {
    let term = |event| HookTerm { event, limit: Duration::from_secs(5), can_be_run: true };
    let hooks = vec![term("pre-stop"), term("post-start")];
    let terms = Terms { hooks, ..Terms::default() };
    verdict(&ORACLE, story, &terms).into_iter().map(|violation| violation.message).collect()
}

impl Story {
    /// A hook of the gateway begins as process `pid`, and reads these messages with what became of each.
    fn hook(self, event: &str, pid: u32, listed: &[(&str, &str)]) -> Self {
        let run = |(name, became): &(&str, &str)| serde_json::json!({"sessionKey": "s", "runs": [{"runId": key(name), "became": became}]});
        let sessions: Vec<_> = listed.iter().map(run).collect();
        let input = serde_json::json!({"event": event, "sessions": sessions}).to_string();
        let fact = Fact::CommandBegan { pid: Pid(pid), by: GATEWAY, arguments: Vec::new(), input };
        self.fact(Source::Process(Pid(pid)), fact)
    }

    fn hook_ends(self, pid: u32) -> Self {
        let cause = DeathCause::Exited(ExitCode::CLEAN);
        let fact = Fact::ProcessExited { pid: Pid(pid), machine: MACHINE.into(), program: "x".into(), cause };
        self.fact(Source::Process(Pid(pid)), fact)
    }

    /// It serves from 1 s on, with its first hook done, and is asked to stop at 10 s.
    fn until_asked() -> Self {
        let began = Self::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        began.at(200).hook_ends(300).at(10_000).signal(Signal::Terminate).releases()
    }
}

#[test]
fn each_hook_once_in_its_time_is_as_it_should_be() {
    let story = Story::until_asked().at(11_000).hook("pre-stop", 301, &[]).at(13_000).hook_ends(301);
    assert_eq!(complaints(story.exits(0)), [""; 0]);
}

#[test]
fn a_hook_that_is_missing_or_run_again_is_missed() {
    let skipped = Story::until_asked().at(11_000).exits(0);
    assert_eq!(complaints(skipped), ["Gateway pid 214 did not run its hook pre-stop"]);
    let forced = Story::until_asked().at(11_000).exits(70);
    assert_eq!(complaints(forced), [""; 0], "it was cut off");
    let never = Story::new().at(0).serves(GATEWAY.0).at(130_000).ended();
    assert_eq!(complaints(never), ["Gateway pid 214 did not run its hook post-start"]);
    let generation = |pid| Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", pid, &[]);
    let next = generation(300).hook_ends(300).at(200).releases().hook("pre-stop", 301, &[]).at(300);
    let next = next.hook_ends(301).binds().hook("post-start", 302, &[]).hook_ends(302);
    assert_eq!(complaints(next.releases().exits(70)), [""; 0], "the second of them was over at once");
    let first_late = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
    let first_late = first_late.hook_ends(300).releases().hook("pre-stop", 302, &[]).hook_ends(302);
    let again = first_late.binds().at(150).hook("post-start", 301, &[]);
    assert_eq!(complaints(again.hook_ends(301).at(200).exits(70)), [""; 0], "each has its own");
    let twice = Story::until_asked().at(11_000).hook("pre-stop", 301, &[]).hook_ends(301).at(12_000);
    let twice = twice.hook("pre-stop", 302, &[]).hook_ends(302).exits(0);
    assert_eq!(complaints(twice), ["Gateway pid 214 ran its hook pre-stop 2 times"]);
}

#[test]
fn a_successor_of_the_same_number_and_instant_has_hooks_of_its_own() {
    let begun = |hooks: u32| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]).hook_ends(300);
        let story = story.releases().exits(70).serves(GATEWAY.0);
        (0..hooks).fold(story.at(200), |story, n| story.hook("post-start", 301 + n, &[]).hook_ends(301 + n))
    };
    assert_eq!(complaints(begun(1).at(300).exits(70)), [""; 0]);
    assert_eq!(complaints(begun(2).at(300).exits(70)), ["Gateway pid 214 ran its hook post-start 2 times"]);
    assert_eq!(
        complaints(begun(0).at(200_000).exits(70)),
        ["Gateway pid 214 did not run its hook post-start"]
    );
}

#[test]
fn a_hook_ends_in_time_and_before_its_gateway() {
    let begun = || Story::until_asked().at(11_000).hook("pre-stop", 301, &[]);
    let long = begun().at(18_000).hook_ends(301).exits(0);
    assert_eq!(complaints(long), ["The hook pre-stop ran for 7.0 s"]);
    let left = begun().at(12_000).exits(0).at(13_000).hook_ends(301);
    assert_eq!(complaints(left), ["Gateway pid 214 left its hook pre-stop at work"]);
    let killed = begun().at(12_000).dies(DeathCause::Killed).at(60_000).hook_ends(301);
    assert_eq!(complaints(killed), [""; 0], "who is killed kills nobody");
}

#[test]
fn hooks_do_not_overlap_and_wait_for_their_time() {
    let early = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]).hook_ends(300);
    let early = early.at(300).ready(200, Some(false)).at(5_000).ended();
    assert_eq!(complaints(early), ["Gateway pid 214 ran post-start before it was ready"]);
    let beside = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]).at(2_000);
    let beside = beside.signal(Signal::Terminate).releases().hook("pre-stop", 301, &[]).at(3_000);
    let beside = beside.hook_ends(300).hook_ends(301).exits(0);
    assert_eq!(complaints(beside), ["Gateway pid 214 ran pre-stop beside post-start"]);
    let late = Story::until_asked().hook("pre-stop", 301, &[]).at(12_000).sent(1).accepted(1);
    let late = late.at(13_000).hook_ends(301).exits(0);
    assert_eq!(complaints(late), ["Gateway pid 214 took messages after pre-stop"]);
}

#[test]
fn what_was_taken_before_may_be_acknowledged_late() {
    let late = |asked: bool, listed: &[(&str, &str)]| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        let story = story.hook_ends(300).at(1_000).sent(1);
        let story = if asked { story.asked(1, 1).at(2_000).answered(1, 1) } else { story };
        let story = story.at(5_000).signal(Signal::Terminate).releases().hook("pre-stop", 301, listed);
        complaints(story.at(7_000).accepted(1).at(8_000).hook_ends(301).exits(0)).len()
    };
    assert_eq!([late(true, &[]), late(false, &[("ann#1", "told")]), late(false, &[])], [0, 0, 1]);
}

#[test]
fn what_the_sender_hears_of_its_end_may_be_on_its_way() {
    let told = |text: &str, at: u64| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        let story = story.hook_ends(300).at(1_000).sent(1).accepted(1).at(5_000);
        let story = story.signal(Signal::Terminate).releases().hook("pre-stop", 301, &[]);
        complaints(story.at(at).told(1, text).at(8_000).hook_ends(301).exits(0)).len()
    };
    assert_eq!(told("it could not be answered", 5_500), 0);
    assert_eq!([told("it could not be answered", 6_500), told("the service restarted", 5_500)], [1, 1]);
}

#[test]
fn the_list_names_who_was_cut_off_and_nobody_who_was_answered() {
    let cut_off = |listed: &[(&str, &str)]| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        let story = story.hook_ends(300).at(1_000).sent(1).at(1_010).accepted(1).asked(1, 1).at(5_000);
        let story = story.signal(Signal::Terminate).releases().hook("pre-stop", 301, listed);
        story.at(6_000).hook_ends(301).exits(0)
    };
    assert_eq!(complaints(cut_off(&[("ann#1", "told")])), [""; 0]);
    assert_eq!(complaints(cut_off(&[])), ["The list of pre-stop does not name ann#1, and it was cut off"]);
    let left = |asked: bool| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        let story = story.hook_ends(300).at(1_000).sent(1).accepted(1).at(2_000).left();
        let story = if asked { story.asked(1, 1) } else { story };
        let story = story.at(5_000).signal(Signal::Terminate).releases().hook("pre-stop", 301, &[]);
        complaints(story.at(6_000).hook_ends(301).exits(0)).len()
    };
    assert_eq!((left(false), left(true)), (0, 1));
    let refused = |left: bool, at: u64| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
        let story = story.hook_ends(300).at(1_000).sent(1).accepted(1).asked(1, 1).at(2_000);
        let story = if left { story.left() } else { story };
        let wants = Fact::ProviderWantedTools { message: crate::timeline::story::id("ann#1"), request: 1 };
        let story = story.fact(Source::Provider, wants).at(at).gateway(GATEWAY.0);
        let story = story.disk_fails(gateway::env::FsOp::Append, "/state/t.jsonl", "no space");
        let story = story.at(5_000).signal(Signal::Terminate).releases().hook("pre-stop", 301, &[]);
        complaints(story.at(6_000).hook_ends(301).exits(0)).len()
    };
    assert_eq!((refused(true, 2_001), refused(true, 3_001), refused(false, 2_001)), (0, 1, 1));
    let answered = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]);
    let answered = answered.hook_ends(300).at(1_000).sent(1).accepted(1).asked(1, 1).answered(1, 1);
    let answered = answered.at(1_100).replied(1, "Hi").at(5_000).signal(Signal::Terminate).releases();
    let answered = answered.hook("pre-stop", 301, &[("ann#1", "told")]).hook_ends(301).exits(0);
    assert_eq!(complaints(answered), ["The list of pre-stop says ann#1 was told, and it had its reply"]);
}

#[test]
fn a_message_that_is_handed_out_under_another_name_is_known_by_either() {
    let cut_off = |handed_out_as: &str, listed_as: &str| {
        let story = Story::new().at(0).serves(GATEWAY.0).at(100).hook("post-start", 300, &[]).hook_ends(300);
        let message = crate::timeline::story::id("ann#1");
        let again = Fact::UpdateHandedOut { message, key: handed_out_as.into(), times: 2 };
        let feishu = Source::Platform(crate::timeline::Platform::Feishu);
        let story = story.at(1_000).sent(1).fact(feishu, again).at(1_010).accepted(1).asked(1, 1).at(5_000);
        let run = serde_json::json!({"runId": listed_as, "became": "told"});
        let sessions = serde_json::json!([{"sessionKey": "s", "runs": [run]}]);
        let input = serde_json::json!({"event": "pre-stop", "sessions": sessions}).to_string();
        let began = Fact::CommandBegan { pid: Pid(301), by: GATEWAY, arguments: Vec::new(), input };
        let story = story.gateway(GATEWAY.0).signal(Signal::Terminate).releases();
        complaints(story.fact(Source::Process(Pid(301)), began).at(6_000).hook_ends(301).exits(0)).len()
    };
    assert_eq!([cut_off("om_second", "om_second"), cut_off("om_second", &key("ann#1"))], [0, 0]);
    assert_eq!(cut_off("om_second", "om_third"), 1, "nobody was ever given that name");
}

#[test]
fn who_was_told_before_its_platform_knew_of_it_was_cut_off_earlier() {
    let next = || {
        let story = Story::new().sender("bob").at(0).serves(213).at(1_500).writes(1).handed_out(1, 1);
        let story = story.at(2_000).dies(DeathCause::Killed).at(3_000).serves(GATEWAY.0);
        story.at(3_100).hook("post-start", 300, &[]).hook_ends(300).at(4_000)
    };
    let stopped = |story: Story| {
        let story = story.at(6_000).signal(Signal::Terminate).releases().hook("pre-stop", 301, &[]);
        complaints(story.at(7_000).hook_ends(301).exits(0))
    };
    let told = |story: Story| story.posts_notice(&[1], 1, "the service restarted");
    assert_eq!(stopped(told(next()).at(4_500).accepted(1)), [""; 0]);
    let again = told(next()).at(4_500).accepted(1).at(5_000).posts_notice(&[1], 2, "the service restarted");
    assert_eq!(stopped(again), [""; 0], "nobody knew that bob had heard it");
    assert_eq!(stopped(told(next().accepted(1).at(5_900))), [""; 0], "this one was not asked to go yet");
    let cut_off = ["The list of pre-stop does not name bob#1, and it was cut off"];
    assert_eq!(stopped(told(next().accepted(1).asked(1, 1).at(5_900))), cut_off, "the model was asked again");
    let waits = next().accepted(1).at(5_900).posts_notice(&[1], 1, "it waits");
    assert_eq!(stopped(waits.at(6_050)), [""; 0], "another notice says that it is over");
    let told_by_this_one = told(next().accepted(1).at(6_000).signal(Signal::Terminate).at(6_100)).releases();
    let told_by_this_one = told_by_this_one.hook("pre-stop", 301, &[]).at(7_000).hook_ends(301).exits(0);
    assert_eq!(complaints(told_by_this_one), cut_off);
    let refused = |story: Story| {
        let why = Fact::SendRefused { account: "main".into(), to: "1".into(), why: "blocked".into() };
        story.fact(crate::timeline::Source::Platform(crate::timeline::Platform::Telegram), why)
    };
    assert_eq!(stopped(refused(next()).at(4_500).accepted(1)), [""; 0], "nobody could be told");
    assert_eq!(stopped(refused(next()).handed_out(1, 2).at(4_500).accepted(1)).len(), 1, "it has it now");
}

#[test]
fn who_was_told_in_vain_how_it_ended_was_not_cut_off() {
    use crate::timeline::Platform;
    let told = |refused_by: Option<Platform>, asked_again: bool, words: &str| {
        let story = Story::new().sender("bob").at(0).serves(GATEWAY.0);
        let story = story.at(100).hook("post-start", 300, &[]).hook_ends(300).at(1_000).writes(1);
        let story = story.handed_out(1, 1).at(1_100).accepted(1).at(2_000);
        let why = Fact::SendRefused { account: "main".into(), to: "1".into(), why: "too many".into() };
        let story = match refused_by {
            Some(platform) => story.fact(Source::Platform(platform), why),
            None => story,
        };
        let story = story.gateway(GATEWAY.0).at(5_000).signal(Signal::Terminate).releases();
        let story = story.hook("pre-stop", 301, &[]).at(6_000).hook_ends(301).exits(0);
        let story = story.at(7_000).gateway(215).serves(215);
        let story = if asked_again { story.at(8_000).asked(1, 1) } else { story };
        complaints(story.at(9_000).posts_notice(&[1], 1, words)).len()
    };
    let failed = "it could not be answered";
    assert_eq!(told(Some(Platform::Telegram), false, failed), 0);
    assert_eq!(told(None, false, failed), 1, "nothing was refused");
    assert_eq!(told(Some(Platform::Feishu), false, failed), 1, "another platform");
    assert_eq!(told(Some(Platform::Telegram), true, failed), 1, "the next one took it up");
    assert_eq!(told(Some(Platform::Telegram), false, "the service restarted"), 1);
}

#[test]
fn the_list_of_a_start_names_who_is_resumed() {
    let next = |listed: &[(&str, &str)]| {
        let story = Story::new().at(0).serves(215).at(1_000).sent(1).at(1_010).accepted(1).at(2_000);
        let story = story.dies(DeathCause::Killed).at(3_000).serves(GATEWAY.0);
        let story = story.at(3_100).hook("post-start", 300, listed).hook_ends(300);
        story.at(3_200).asked(1, 1).at(9_000).ended()
    };
    assert_eq!(complaints(next(&[("ann#1", "resumed")])), [""; 0]);
    assert_eq!(
        complaints(next(&[("ann#1", "kept")])),
        ["The list of post-start says ann#1 was kept, and it was resumed"]
    );
    assert_eq!(complaints(next(&[])), ["The list of post-start does not name ann#1, and it was resumed"]);
}
