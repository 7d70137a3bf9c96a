//! What both platforms have in common: users who write, bots that send, and everything the timeline hears of it.
//!
//! A bot's message is taken in the middle of its request: who goes away before the answer cannot know whether it was.
//! How requests and answers look is the business of each platform.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::watch;
use gateway::env::{AbortHandle, Env};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::desk::{Desk, User};
use super::mood::{Block, Mood, Outage, Trouble, draw};
use super::server::Line;
use super::{PlatformSettings, PlatformsSettings, Whose, heard};
use crate::actors::webchat::SenderCommand;
use crate::timeline::{Errand, Fact, MessageId, Platform, Recorder, Source};

/// What a user writes to stop what runs in its conversation.
const STOP: &str = "/stop";
/// How long a platform recognises a key of a bot's message.
const RECOGNISED_FOR_MS: u64 = 60 * 60 * 1000;

/// One platform.
pub(super) struct Office {
    pub(super) env: Env,
    pub(super) platform: Platform,
    pub(super) settings: PlatformSettings,
    recorder: Recorder,
    whose: Whose,
    users: Vec<User>,
    desks: RefCell<BTreeMap<String, Desk>>,
    mood: RefCell<Mood>,
    open: watch::Sender<bool>,
    /// Changes whenever a user has written.
    written: watch::Sender<u64>,
    lines: RefCell<BTreeMap<u32, Rc<Line>>>,
    last_line: Cell<u32>,
    sends: Rc<Cell<u32>>,
    /// By sender: how many messages it has written, and those that it waits for.
    counts: RefCell<BTreeMap<String, u32>>,
    waiting: RefCell<BTreeSet<MessageId>>,
    /// The senders who want subagents.
    commissioners: RefCell<BTreeSet<String>>,
    /// The messages by their numbers at the desk of their bot, also when they are not there any more.
    known: RefCell<BTreeMap<(String, u64), MessageId>>,
}

/// A message that a bot sends.
pub(super) struct Draft {
    pub(super) account: String,
    pub(super) chat: String,
    pub(super) text: String,
    /// The key by which it is to be recognised.
    pub(super) key: Option<String>,
    /// The number of the message that it answers, if the bot says so.
    pub(super) answers: Option<u64>,
}

/// Why a bot's message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not now; again after so long.
    Limited(Duration),
    /// The user blocked the bot.
    Blocked,
    /// There is no such conversation.
    NoChat,
}

impl Office {
    pub(super) fn open(
        env: Env,
        recorder: Recorder,
        platform: Platform,
        own: PlatformSettings,
        all: &PlatformsSettings,
        sends: Rc<Cell<u32>>,
    ) -> Self {
        let users: Vec<_> = all.users.iter().filter(|user| user.platform == platform).cloned().collect();
        let desks = users.iter().map(|user| (user.account.clone(), Desk::default())).collect();
        Self {
            env,
            platform,
            settings: own,
            recorder,
            whose: Rc::clone(&all.whose),
            users,
            desks: RefCell::new(desks),
            mood: RefCell::default(),
            open: watch::Sender::new(true),
            written: watch::Sender::new(0),
            lines: RefCell::default(),
            last_line: Cell::new(0),
            sends,
            counts: RefCell::default(),
            waiting: RefCell::default(),
            commissioners: RefCell::default(),
            known: RefCell::default(),
        }
    }

    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether there is a bot of that name.
    pub(super) fn has_bot(&self, account: &str) -> bool {
        self.desks.borrow().contains_key(account)
    }

    /// Lends the desk of a bot.
    pub(super) fn at_desk<R>(&self, account: &str, work: impl FnOnce(&mut Desk) -> R) -> Option<R> {
        self.desks.borrow_mut().get_mut(account).map(work)
    }

    /// The users of a bot's conversation.
    pub(super) fn user_of_chat(&self, chat: &str) -> Option<&User> {
        self.users.iter().find(|user| user.chat == chat)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.env.wall_clock().epoch_ms()
    }

    pub(super) fn record(&self, fact: Fact) {
        self.recorder.record(Source::Platform(self.platform), fact);
    }

    fn record_of(&self, sender: &str, fact: Fact) {
        self.recorder.record(Source::Sender(sender.to_owned()), fact);
    }

    // -- users

    /// A user does something: the bot and the number of what waits for it now. `None`: it is no user of this platform.
    pub(super) fn hear(&self, sender: &str, command: &SenderCommand) -> Option<(String, u64)> {
        let user = self.users.iter().find(|user| user.sender == sender)?;
        let number = match command {
            SenderCommand::Send { text } => self.write(user, text),
            SenderCommand::Abort => self.write_stop(user),
        };
        self.written.send_modify(|count| *count += 1);
        Some((user.account.clone(), number))
    }

    fn write(&self, user: &User, text: &str) -> u64 {
        let number = {
            let mut counts = self.counts.borrow_mut();
            let count = counts.entry(user.sender.clone()).or_default();
            *count += 1;
            *count
        };
        let message = MessageId { sender: user.sender.clone(), number };
        let text = format!("{text} {}", message.mark());
        let (number, key) = self.put(user, Some(message.clone()), text.clone());
        self.known.borrow_mut().insert((user.account.clone(), number), message.clone());
        self.waiting.borrow_mut().insert(message.clone());
        if Errand::in_text(&text).is_some() {
            self.commissioners.borrow_mut().insert(user.sender.clone());
        }
        self.record_of(&user.sender, Fact::MessageSent { message, text, key, attempt: 1 });
        number
    }

    fn write_stop(&self, user: &User) -> u64 {
        let waiting: Vec<_> =
            self.waiting.borrow().iter().filter(|message| message.sender == user.sender).cloned().collect();
        for message in waiting {
            self.record_of(&user.sender, Fact::MessageStopRequested { message });
        }
        if self.commissioners.borrow().contains(&user.sender) {
            self.record_of(&user.sender, Fact::SubagentsStopRequested);
        }
        self.put(user, None, STOP.to_owned()).0
    }

    fn put(&self, user: &User, message: Option<MessageId>, text: String) -> (u64, String) {
        let now_ms = self.now_ms();
        let put = self.at_desk(&user.account, |desk| {
            let item = desk.put(user, message, text, now_ms);
            (item.number, item.key(self.platform, &user.account))
        });
        put.unwrap_or_else(|| unreachable!("each account has a desk"))
    }

    /// Tells when a user has written.
    pub(super) fn watch_written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The platform has seen that its bot has these.
    pub(super) fn confirmed(&self, messages: impl IntoIterator<Item = MessageId>) {
        for message in messages {
            self.record_of(&message.sender.clone(), Fact::MessageAccepted { message });
        }
    }

    // -- lines

    pub(super) fn new_line(&self, abort: AbortHandle) -> Rc<Line> {
        let number = self.last_line.get() + 1;
        self.last_line.set(number);
        let line = Rc::new(Line::new(number, (self.whose)(), abort));
        self.lines.borrow_mut().insert(number, Rc::clone(&line));
        line
    }

    /// A bot asks for updates over this line, or is pushed events.
    pub(super) fn line_has_bot(&self, line: &Line, account: &str) {
        if line.bot.replace(Some(account.to_owned())).is_none() {
            let account = account.to_owned();
            self.record(Fact::BotConnected { account, connection: line.number, pid: line.pid });
        }
    }

    pub(super) fn line_ended(&self, line: &Line, how: &str) {
        self.lines.borrow_mut().remove(&line.number);
        if let Some(account) = line.bot.take() {
            self.record(Fact::BotDisconnected { account, connection: line.number, how: how.to_owned() });
        }
    }

    // -- troubles

    pub(super) fn suffer(&self, trouble: Trouble) {
        self.mood.borrow_mut().take(trouble);
        let outage = self.outage();
        if outage.is_some() {
            for line in self.lines.borrow().values() {
                // A line that is reset loses what is still on its way.
                if let Some(send) = line.answer_on_its_way() {
                    self.record(Fact::SendUnanswered { send, cut: true });
                }
                line.cut();
            }
        }
        self.open.send_replace(outage != Some(Outage::Refuses));
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.mood.borrow().outage
    }

    pub(super) fn watch_open(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// How long the next request takes.
    pub(super) fn latency(&self) -> Duration {
        draw(&self.settings.latency, || self.env.random("platform-latency")) + self.mood.borrow().slow
    }

    /// How long an acknowledgement takes to count.
    pub(super) fn acknowledges_after(&self) -> Duration {
        self.mood.borrow().acknowledges_after
    }

    // -- bots

    /// Takes a bot's message, or does not: the name it is given. `None`: the line is over.
    pub(super) async fn send(
        self: &Rc<Self>,
        draft: Draft,
        line: &Rc<Line>,
    ) -> Option<Result<String, Refusal>> {
        let (respond, response) = oneshot::channel();
        let work = Rc::clone(self).take(draft, Rc::clone(line), respond);
        drop(self.env.spawn("platform send", work));
        response.await.ok()
    }

    async fn take(
        self: Rc<Self>,
        draft: Draft,
        line: Rc<Line>,
        respond: oneshot::Sender<Result<String, Refusal>>,
    ) {
        let (asked, latency) = (Instant::now(), self.latency());
        sleep(latency / 2).await;
        if let Some(refusal) = self.refusal(&draft) {
            let (account, to) = (draft.account, draft.chat);
            self.record(Fact::SendRefused { account, to, why: refusal.words() });
            sleep(latency / 2).await;
            // Who has left has nothing to learn.
            let _ = respond.send(Err(refusal));
            return;
        }
        let (name, send) = self.taken(draft, &line, asked.elapsed());
        if self.mood.borrow_mut().cuts_line() {
            self.record(Fact::SendUnanswered { send, cut: true });
            return line.cut();
        }
        sleep(latency / 2).await;
        self.record(match respond.send(Ok(name)) {
            Ok(()) => {
                line.answered(send);
                Fact::SendAnswered { send }
            }
            Err(_) => Fact::SendUnanswered { send, cut: line.cut.get() },
        });
    }

    fn refusal(&self, draft: &Draft) -> Option<Refusal> {
        let mood = self.mood.borrow();
        if let Some(after) = mood.limit {
            return Some(Refusal::Limited(after));
        }
        let of_bot = |user: &&User| user.account == draft.account;
        let Some(user) = self.user_of_chat(&draft.chat).filter(of_bot) else { return Some(Refusal::NoChat) };
        mood.blocks.get(&user.sender).map(|block| match block {
            Block::Blocked => Refusal::Blocked,
            Block::ChatGone => Refusal::NoChat,
        })
    }

    /// The name that the message is given, and the number of the send by which it was taken.
    fn taken(&self, draft: Draft, line: &Line, under_way: Duration) -> (String, u32) {
        let Draft { account, chat, text, key, answers } = draft;
        let now_ms = self.now_ms();
        let send = self.sends.get() + 1;
        self.sends.set(send);
        let known = key.as_deref().and_then(|key| {
            self.at_desk(&account, |desk| desk.recognised(key, now_ms, RECOGNISED_FOR_MS)).flatten()
        });
        let again = known.is_some();
        let name = known.unwrap_or_else(|| self.name_of_send(send));
        if let Some(key) = key.as_deref().filter(|_| !again) {
            self.at_desk(&account, |desk| desk.remember(key, now_ms, &name));
        }
        let answered =
            answers.and_then(|number| self.known.borrow().get(&(account.clone(), number)).cloned());
        let (to, pid) = (chat.clone(), line.pid);
        let said = text.clone();
        self.record(Fact::SendTaken { account, send, key, pid, to, text: said, again, under_way });
        if let Some(user) = self.user_of_chat(&chat).filter(|_| !again) {
            for fact in heard::facts(&user.sender, &text, answered, send) {
                match (&fact, fact.message()) {
                    (_, Some(message)) => drop(self.waiting.borrow_mut().remove(message)),
                    (Fact::NoticeReceived { .. }, None) => {
                        self.waiting.borrow_mut().retain(|message| message.sender != user.sender);
                    }
                    // What came of a subagent ends no message.
                    _ => {}
                }
                self.record_of(&user.sender, fact);
            }
        }
        (name, send)
    }

    fn name_of_send(&self, send: u32) -> String {
        match self.platform {
            Platform::Telegram => (900_000 + send).to_string(),
            Platform::Feishu => format!("om_sent_{send}"),
        }
    }
}

impl Refusal {
    fn words(self) -> String {
        match self {
            Self::Limited(after) => format!("too many requests, again after {} s", after.as_secs()),
            Self::Blocked => "blocked by the user".to_owned(),
            Self::NoChat => "no such conversation".to_owned(),
        }
    }
}
