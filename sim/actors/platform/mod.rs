//! The chat platforms telegram and feishu: services of their own, with the users who write there.
//!
//! A user is no process: what it writes waits at the platform, whether or not a bot is there to fetch it, until the
//! bot confirms it. The platforms speak the subsets of the public interfaces that a gateway needs. A platform knows
//! bots and conversations, and of their texts only marks and how notices begin.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Env, Pid};
use tokio::sync::mpsc;

use crate::actors::webchat::SenderCommand;
use crate::timeline::{Platform, Recorder};

mod desk;
mod feishu;
mod heard;
mod long_connection;
mod mood;
mod office;
mod server;
mod telegram;

pub use desk::User;
pub use mood::{Block, Outage, Trouble};

use office::Office;

/// The name of the machine that the platforms run on.
pub const PLATFORMS_HOST: &str = "platforms";
/// Where telegram listens.
pub const TELEGRAM_PORT: u16 = 8081;
/// Where feishu listens for requests.
pub const FEISHU_PORT: u16 = 8082;
/// Where feishu listens for long connections; its bots are told so.
pub const FEISHU_EVENTS_PORT: u16 = 8083;

/// Who a connection belongs to that was accepted just now, where that can be seen.
pub type Whose = Rc<dyn Fn() -> Option<Pid>>;

/// What the platforms are told.
#[derive(Clone)]
pub struct PlatformsSettings {
    /// Their users. Whoever is a bot is known from them.
    pub users: Vec<User>,
    /// How telegram behaves while nothing is wrong.
    pub telegram: PlatformSettings,
    /// How feishu does.
    pub feishu: PlatformSettings,
    /// Tells the processes of connections apart.
    pub whose: Whose,
}

/// How a platform behaves while nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSettings {
    /// From a request to its answer, and from an event to its push; drawn for each.
    pub latency: RangeInclusive<Duration>,
    /// So long after a push an event that nobody acknowledged is pushed again.
    pub redeliver_after: RangeInclusive<Duration>,
    /// So many of a hundred redelivered events come under a new name.
    pub new_ids: u32,
}

impl Default for PlatformSettings {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20)..=Duration::from_millis(20),
            redeliver_after: Duration::from_secs(15)..=Duration::from_secs(15),
            new_ids: 0,
        }
    }
}

/// What the scenario tells a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformCommand {
    /// A user does something.
    Say {
        /// The user.
        sender: String,
        /// What it does.
        command: SenderCommand,
    },
    /// It behaves in another way from now on.
    Trouble(Platform, Trouble),
}

/// The token of a telegram bot.
pub fn bot_token(account: &str) -> String {
    format!("7000:{account}")
}

/// The id of a feishu app.
pub fn app_id(account: &str) -> String {
    format!("cli_{account}")
}

/// The secret of a feishu app.
pub fn app_secret(account: &str) -> String {
    format!("secret-of-{account}")
}

/// What a platform calls the conversation of its `index`th user, whose name is `sender`.
pub fn chat_of(platform: Platform, index: usize, sender: &str) -> String {
    match platform {
        Platform::Telegram => (700_001 + index).to_string(),
        Platform::Feishu => format!("oc_{sender}"),
    }
}

/// Serves for as long as the process lives.
pub async fn run(
    env: Env,
    recorder: Recorder,
    settings: PlatformsSettings,
    mut commands: mpsc::UnboundedReceiver<PlatformCommand>,
) {
    let sends = Rc::default();
    let office = |platform, own: &PlatformSettings| {
        Rc::new(Office::open(
            env.clone(),
            recorder.clone(),
            platform,
            own.clone(),
            &settings,
            Rc::clone(&sends),
        ))
    };
    let telegram = office(Platform::Telegram, &settings.telegram);
    let feishu = office(Platform::Feishu, &settings.feishu);
    if telegram.has_users() {
        telegram::open(&telegram);
    }
    let pushing = feishu.has_users().then(|| feishu::open(&feishu));
    while let Some(command) = commands.recv().await {
        match command {
            PlatformCommand::Say { sender, command } => {
                if telegram.hear(&sender, &command).is_some() {
                    continue;
                }
                if let (Some((account, number)), Some(pushing)) = (feishu.hear(&sender, &command), &pushing) {
                    pushing.push(&account, number);
                }
            }
            PlatformCommand::Trouble(Platform::Telegram, trouble) => telegram.suffer(trouble),
            PlatformCommand::Trouble(Platform::Feishu, trouble) => feishu.suffer(trouble),
        }
    }
    // Nobody will tell them anything more; they serve on.
    std::future::pending().await
}
