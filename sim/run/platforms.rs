//! The chat platforms in a run: how they enter the world with their users, and what steps do to them.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::cast::Senders;
use super::script::Progress;
use super::stage::Stage;
use crate::actors::platform::{
    self, FEISHU_PORT, PLATFORMS_HOST, PlatformCommand, PlatformSettings, PlatformsSettings, TELEGRAM_PORT,
    Trouble, User,
};
use crate::actors::webchat;
use crate::scenario::{PlatformSetup, PlatformTrouble, Scenario, Verb};
use crate::timeline::{Fact, Injection, Platform, Source};
use crate::world::World;

/// The platforms' ear: what the script tells them goes in here.
pub(super) type Platforms = mpsc::UnboundedSender<PlatformCommand>;

/// How many processes they need.
pub(super) fn processes(scenario: &Scenario) -> usize {
    usize::from(!users(scenario).is_empty())
}

/// Everybody who talks on a platform.
pub(super) fn users(scenario: &Scenario) -> Vec<User> {
    let on_platform = |(index, (name, setup)): (usize, (&String, &crate::scenario::SenderSetup))| {
        let platform = setup.channel.platform()?;
        Some(User {
            sender: name.clone(),
            platform,
            account: setup.account.clone(),
            chat: platform::chat_of(platform, index, name),
        })
    };
    scenario.senders.iter().enumerate().filter_map(on_platform).collect()
}

/// What the platforms call the conversations of their users, by sender.
pub(super) fn chats(scenario: &Scenario) -> BTreeMap<String, String> {
    users(scenario).into_iter().map(|user| (user.sender, user.chat)).collect()
}

/// The session in which a sender talks.
pub(super) fn session_key(scenario: &Scenario, sender: &str) -> String {
    let on_platform = users(scenario).into_iter().find(|user| user.sender == sender);
    on_platform
        .map_or_else(|| webchat::session_key(sender), |user| user.platform.key(&user.account, &user.chat))
}

/// Brings the platforms in, where somebody talks on one, and makes their users hear what the script tells them.
pub(super) fn enter(
    world: &World,
    scenario: &Scenario,
    senders: &mut Senders,
) -> io::Result<Option<Platforms>> {
    let users = users(scenario);
    if users.is_empty() {
        return Ok(None);
    }
    let (tell, told) = mpsc::unbounded_channel();
    for user in &users {
        let (say, mut said) = mpsc::unbounded_channel();
        senders.insert(user.sender.clone(), say);
        let (tell, sender) = (tell.clone(), user.sender.clone());
        drop(world.spawn(async move {
            while let Some(command) = said.recv().await {
                // The platforms listen as long as the world lives.
                let _ = tell.send(PlatformCommand::Say { sender: sender.clone(), command });
            }
        }));
    }
    let whose = world.clone();
    let settings = PlatformsSettings {
        users,
        telegram: settings(&scenario.platforms.telegram),
        feishu: settings(&scenario.platforms.feishu),
        whose: Rc::new(move || whose.last_accepted_from()),
    };
    let recorder = world.recorder().clone();
    world.start_actor(PLATFORMS_HOST, "platforms", move |env| {
        Box::pin(async move {
            platform::run(env, recorder, settings, told).await;
            gateway::env::ExitCode::CLEAN
        })
    })?;
    Ok(Some(tell))
}

fn settings(setup: &PlatformSetup) -> PlatformSettings {
    PlatformSettings {
        latency: setup.latency.min..=setup.latency.max,
        redeliver_after: setup.redeliver_after.min..=setup.redeliver_after.max,
        new_ids: setup.new_ids,
    }
}

/// The gateway's configuration of its channels; `None` where nobody talks on a platform.
pub(super) fn channels(scenario: &Scenario) -> Option<Value> {
    let mut channels = Map::new();
    for User { platform, account, .. } in users(scenario) {
        let channel = channels.entry(platform.name()).or_insert_with(|| json!({ "accounts": {} }));
        channel["accounts"][&account] = match platform {
            Platform::Telegram => json!({
                "botToken": platform::bot_token(&account),
                "apiRoot": format!("http://{PLATFORMS_HOST}:{TELEGRAM_PORT}"),
            }),
            Platform::Feishu => json!({
                "appId": platform::app_id(&account),
                "appSecret": platform::app_secret(&account),
                "domain": format!("http://{PLATFORMS_HOST}:{FEISHU_PORT}"),
            }),
        };
    }
    (!channels.is_empty()).then_some(Value::Object(channels))
}

impl Stage {
    /// Troubles a platform for a while. A line that is to be cut has to be there.
    pub(super) async fn trouble_platform(
        &self,
        platforms: Option<&Platforms>,
        trouble: &PlatformTrouble,
        from_send: u32,
        lasting: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        let tell = platforms.ok_or_else(|| "there are no platforms".to_string())?.clone();
        let platform = trouble.platform();
        let (begin, end) = begin_and_end(trouble, from_send);
        self.inject(injection(trouble), words(trouble));
        let change = move |trouble| tell.send(PlatformCommand::Trouble(platform, trouble));
        change(begin).map_err(|_| "the platforms are gone".to_string())?;
        let mend = move || drop(change(end.clone()));
        match trouble {
            PlatformTrouble::Blocks { sender, lasting: None, .. } => {
                // Whoever does not want to hear of a bot ever again is told nothing by it.
                self.world.recorder().record(Source::Sender(sender.clone()), Fact::SenderStoppedListening);
            }
            PlatformTrouble::CutsLine { .. } => {
                self.on_storm_end(mend);
                progress.begun("never met a send");
                let cut = self.world.recorder().nth_event(1, move |event| {
                    event.source == Source::Platform(platform)
                        && matches!(event.fact, Fact::SendUnanswered { .. })
                });
                if cut.await.is_ok() {
                    progress.done();
                }
            }
            _ => {
                self.on_storm_end(mend.clone());
                sleep(lasting).await;
                mend();
            }
        }
        Ok(())
    }
}

/// What a trouble changes, and what ends it.
fn begin_and_end(trouble: &PlatformTrouble, from_send: u32) -> (Trouble, Trouble) {
    match trouble {
        PlatformTrouble::Down { how, .. } => (Trouble::Outage(Some(*how)), Trouble::Outage(None)),
        PlatformTrouble::Slow { by, .. } => (Trouble::Slow(*by), Trouble::Slow(Duration::ZERO)),
        PlatformTrouble::Limits { retry_after, .. } => {
            (Trouble::Limit(Some(*retry_after)), Trouble::Limit(None))
        }
        PlatformTrouble::Blocks { sender, how, .. } => (
            Trouble::Block { sender: sender.clone(), block: Some(*how) },
            Trouble::Block { sender: sender.clone(), block: None },
        ),
        PlatformTrouble::CutsLine { sends, .. } => (
            Trouble::CutLine { after: from_send.saturating_sub(1), count: *sends },
            Trouble::CutLine { after: 0, count: 0 },
        ),
        PlatformTrouble::TakesItsTime { by, .. } => {
            (Trouble::LateAcknowledgement(*by), Trouble::LateAcknowledgement(Duration::ZERO))
        }
    }
}

const fn injection(trouble: &PlatformTrouble) -> Injection {
    match trouble {
        PlatformTrouble::Down { .. } => Injection::PlatformDown,
        PlatformTrouble::Slow { .. } => Injection::PlatformSlow,
        PlatformTrouble::Limits { .. } => Injection::PlatformLimits,
        PlatformTrouble::Blocks { .. } => Injection::PlatformBlocks,
        PlatformTrouble::CutsLine { .. } => Injection::PlatformCutsLine,
        PlatformTrouble::TakesItsTime { .. } => Injection::PlatformAcknowledgesLate,
    }
}

fn words(trouble: &PlatformTrouble) -> String {
    let platform = trouble.platform();
    match trouble {
        PlatformTrouble::Down { .. } => format!("{platform} is down"),
        PlatformTrouble::Slow { by, .. } => {
            format!("{platform} takes {} longer for everything", humantime::format_duration(*by))
        }
        PlatformTrouble::Limits { .. } => format!("{platform} takes no messages of bots for now"),
        PlatformTrouble::Blocks { sender, .. } => format!("{platform} refuses what is sent to {sender}"),
        PlatformTrouble::CutsLine { .. } => format!("{platform} is about to take a message and cut the line"),
        PlatformTrouble::TakesItsTime { by, .. } => {
            format!("acknowledgements to {platform} count after {}", humantime::format_duration(*by))
        }
    }
}

/// The send that a step counts from, as it is drawn.
pub(super) fn counted_from(verb: &Verb) -> Option<&crate::scenario::CountRange> {
    match verb {
        Verb::PlatformTrouble(PlatformTrouble::CutsLine { from_send, .. }) => Some(from_send),
        _ => None,
    }
}
