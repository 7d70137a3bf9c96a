//! The model provider: an OpenAI-compatible streaming chat-completions endpoint with moods.
//!
//! Every answer names the marks of the messages it was asked about, so that their sender recognises it, and
//! words that differ from request to request, so that an answer given twice and an answer delivered twice look
//! different. One task per request writes the answer and notices when the client goes away; the HTTP side only
//! passes bytes on, and nothing is recorded from a destructor.

use std::cell::Cell;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use gateway::env::{AbortHandle, Env, Stream};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

mod mood;
mod question;
mod tools;

pub use self::mood::{Mood, Outage};
use self::question::{About, Asked, about};
use super::{REPLY_PREFIX, SORRY_PREFIX};
use crate::timeline::{Errand, Fact, MessageId, Recorder, Source, SubagentId, SubagentSeen};

/// The port that the provider listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 8080;

/// The largest request that is read.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// How often a port that cannot be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// Why an answer was not finished, when it is the client's doing.
pub(crate) const CLIENT_LEFT: &str = "client went away";

/// What answers are made of.
const WORDS: [&str; 16] = [
    "the", "harbour", "was", "quiet", "and", "seven", "small", "boats", "came", "home", "before", "rain",
    "under", "a", "pale", "sky",
];

/// What the provider is told.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The port it listens on.
    pub port: u16,
    /// The time from a request to its first token, drawn anew for each.
    pub first_token: RangeInclusive<Duration>,
    /// How many tokens an answer has; at least one.
    pub tokens: u32,
    /// From one token to the next.
    pub token_interval: Duration,
    /// What it does with a request.
    pub behaviour: Behaviour,
    /// So many requests fail before the behaviour applies.
    pub fail_first: u32,
    /// What is wrong with it at present.
    pub mood: Mood,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            first_token: Duration::from_millis(500)..=Duration::from_millis(500),
            tokens: 20,
            token_interval: Duration::from_millis(20),
            behaviour: Behaviour::Answers,
            fail_first: 0,
            mood: Mood::default(),
        }
    }
}

/// What the provider does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Streams an answer.
    Answers,
    /// Answers 500 when the first token would be due.
    Fails,
    /// Takes the request and never says a word.
    Hangs,
}

/// Serves for as long as its process lives.
pub async fn run(env: Env, recorder: Recorder, settings: ProviderSettings) {
    let provider = Rc::new(Provider { env, recorder, settings, requests: Cell::new(0) });
    let mood = &provider.settings.mood;
    loop {
        mood.listens(true).await;
        let Ok(mut listener) = provider.env.net().listen(provider.settings.port).await else {
            sleep(LISTEN_RETRY).await;
            continue;
        };
        loop {
            tokio::select! {
                biased;
                () = mood.listens(false) => break,
                accepted = listener.accept() => match accepted {
                    Ok(stream) => {
                        provider.env.spawn("provider connection", Rc::clone(&provider).serve(stream));
                    }
                    // A connection that ended before it was accepted.
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Provider {
    env: Env,
    recorder: Recorder,
    settings: ProviderSettings,
    requests: Cell<u32>,
}

impl Provider {
    async fn serve(self: Rc<Self>, stream: Stream) {
        let line = stream.abort_handle();
        let service = service_fn(|request| {
            let (provider, line) = (Rc::clone(&self), line.clone());
            async move { Ok::<_, Infallible>(provider.respond(request, line).await) }
        });
        let mut server = http1::Builder::new();
        server.auto_date_header(false).header_read_timeout(None);
        // How a connection ended is recorded by the task that writes the answer.
        tokio::select! {
            biased;
            () = self.settings.mood.listens(false) => line.abort(),
            _ = server.serve_connection(TokioIo::new(stream), service) => {}
        }
    }

    async fn respond(self: Rc<Self>, request: Request<Incoming>, line: AbortHandle) -> Response<Body> {
        if request.method() != Method::POST || request.uri().path() != "/v1/chat/completions" {
            return error(StatusCode::NOT_FOUND, "there is only POST /v1/chat/completions");
        }
        let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await else {
            return error(StatusCode::BAD_REQUEST, "the request could not be read");
        };
        let body = body.to_bytes();
        let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&body) else {
            return error(StatusCode::BAD_REQUEST, "the request is not JSON as it should be");
        };
        if asked.stream != Some(true) {
            return error(StatusCode::BAD_REQUEST, "only stream: true is served");
        }
        let turn = tools::Turn::of(&asked.messages);
        if let Some(call) = turn.unanswered {
            let what = format!("provider refused a prompt: nothing says what came of the call {call}");
            self.record(Fact::Remarked { what });
            return error(StatusCode::BAD_REQUEST, "each tool call must be followed by a tool message");
        }
        turn.report(&self.recorder);
        let answer = self.begin(&asked, &turn);
        let (respond, response) = oneshot::channel();
        self.env.spawn("provider answer", Rc::clone(&self).answer(answer, respond, line));
        match response.await {
            Ok(response) => response,
            Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was given up"),
        }
    }

    /// Counts and records the request.
    fn begin(&self, asked: &Asked<'_>, turn: &tools::Turn) -> Answer {
        let request = self.requests.get() + 1;
        self.requests.set(request);
        let texts = asked.said_since_the_answer();
        let about = about(&texts);
        let text = texts.last().cloned().unwrap_or_default();
        let wanting = match &about {
            About::Messages(messages) if !turn.is_follow_up() => turn.last_without_a_call(messages).cloned(),
            _ => None,
        };
        let errand = Errand::in_text(&text).filter(|_| wanting.is_some());
        let program = tools::program_in(&text).filter(|_| wanting.is_some()).map(str::to_string);
        let takes = matches!(about, About::Subagent(_)).then(|| Errand::time_of_task(&text)).flatten();
        match about.clone() {
            About::Messages(messages) => {
                self.record_each(messages, |message| Fact::ProviderRequested { message, request });
            }
            About::Scheduled { job, slot_ms } => {
                self.record(Fact::CronRunRequested { job, slot_ms, request });
            }
            About::Subagent(subagent) => {
                self.record(Fact::Subagent { subagent, seen: SubagentSeen::Requested { request } });
            }
            About::Announcement { of: subagent, .. } => {
                let seen = SubagentSeen::AnnouncementRequested { request };
                self.record(Fact::Subagent { subagent, seen });
            }
            About::Nothing => {
                let what = "provider got a request without a marked message".into();
                self.record(Fact::Remarked { what });
            }
        }
        Answer { about, request, wanting, errand, program, takes }
    }

    async fn answer(
        self: Rc<Self>,
        answer: Answer,
        respond: oneshot::Sender<Response<Body>>,
        line: AbortHandle,
    ) {
        match self.write(&answer, respond, &line).await {
            Ok(tokens) => self.finished(answer, tokens),
            Err(CLIENT_LEFT) if self.settings.mood.outage() == Some(Outage::Refuses) => {
                self.stopped(answer, "went down");
            }
            Err(how) => self.stopped(answer, how),
        }
    }

    fn finished(&self, Answer { about, request, errand, program, .. }: Answer, tokens: u32) {
        match about {
            About::Messages(messages) if errand.is_some() || program.is_some() => {
                self.record_each(messages, |message| Fact::ProviderWantedTools { message, request });
            }
            About::Messages(messages) => {
                self.record_each(messages, |message| Fact::ProviderAnswered { message, request, tokens });
            }
            About::Subagent(subagent) => {
                self.record(Fact::Subagent { subagent, seen: SubagentSeen::Answered { request } });
            }
            About::Announcement { of: subagent, .. } => {
                let seen = SubagentSeen::AnnouncementAnswered { request };
                self.record(Fact::Subagent { subagent, seen });
            }
            About::Scheduled { job, slot_ms } => self.record(Fact::CronRunAnswered { job, slot_ms, request }),
            About::Nothing => {}
        }
    }

    fn stopped(&self, Answer { about, request, .. }: Answer, how: &str) {
        let how = String::from(how);
        match about {
            About::Messages(messages) => self.record_each(messages, |message| {
                let how = how.clone();
                Fact::ProviderStopped { message, request, how }
            }),
            About::Subagent(subagent) => {
                self.record(Fact::Subagent { subagent, seen: SubagentSeen::Stopped { request, how } });
            }
            About::Announcement { of: subagent, .. } => {
                let seen = SubagentSeen::AnnouncementStopped { request, how };
                self.record(Fact::Subagent { subagent, seen });
            }
            About::Scheduled { job, slot_ms } => {
                self.record(Fact::CronRunStopped { job, slot_ms, request, how });
            }
            About::Nothing => {}
        }
    }

    /// Writes the answer: the number of tokens, or in words why it was not finished.
    async fn write(
        &self,
        answer: &Answer,
        mut respond: oneshot::Sender<Response<Body>>,
        line: &AbortHandle,
    ) -> Result<u32, &'static str> {
        let mood = &self.settings.mood;
        let fails = answer.request <= self.settings.fail_first || self.settings.behaviour == Behaviour::Fails;
        let refusal = mood
            .refusal()
            .or_else(|| fails.then_some((StatusCode::INTERNAL_SERVER_ERROR, "failed with 500")));
        let hangs =
            mood.outage() == Some(Outage::Hangs) || (!fails && self.settings.behaviour == Behaviour::Hangs);
        let thinking = async {
            if hangs {
                std::future::pending::<()>().await;
            }
            sleep(answer.takes.unwrap_or_else(|| self.draw_first_token()) + mood.slow()).await;
        };
        if mood.refusal().is_none() {
            tokio::select! {
                biased;
                () = respond.closed() => return Err(CLIENT_LEFT),
                () = thinking => {}
            }
        }
        if let Some((status, how)) = refusal {
            return match respond.send(error(status, "the model is not well")) {
                Ok(()) => Err(how),
                Err(_) => Err(CLIENT_LEFT),
            };
        }
        let (body, chunks) = mpsc::channel(1);
        respond.send(event_stream(chunks)).map_err(|_| CLIENT_LEFT)?;
        match (&answer.wanting, answer.errand) {
            (Some(message), _) if answer.program.is_some() => self.want_program(answer, message, &body).await,
            (Some(message), Some(errand)) => self.want_tools(answer, message, errand, &body).await,
            _ => self.write_tokens(answer, &body, line).await,
        }
    }

    /// Asks for a program to be run instead of an answer.
    async fn want_program(
        &self,
        answer: &Answer,
        message: &MessageId,
        body: &mpsc::Sender<Bytes>,
    ) -> Result<u32, &'static str> {
        let program = answer.program.as_deref().unwrap_or_default();
        for piece in tools::pieces_of_exec(message, program) {
            body.send(answer.event(&piece)).await.map_err(|_| CLIENT_LEFT)?;
        }
        body.send(answer.last_chunk("tool_calls")).await.map_err(|_| CLIENT_LEFT)?;
        Ok(1)
    }

    /// Asks for subagents instead of an answer.
    async fn want_tools(
        &self,
        answer: &Answer,
        message: &MessageId,
        errand: Errand,
        body: &mpsc::Sender<Bytes>,
    ) -> Result<u32, &'static str> {
        for number in 1..=errand.spawns {
            let subagent = SubagentId { message: message.clone(), number };
            for piece in tools::pieces_of_a_call(&subagent, errand) {
                body.send(answer.event(&piece)).await.map_err(|_| CLIENT_LEFT)?;
            }
            self.record(Fact::Subagent { subagent, seen: SubagentSeen::Wanted });
        }
        body.send(answer.last_chunk("tool_calls")).await.map_err(|_| CLIENT_LEFT)?;
        Ok(errand.spawns)
    }

    async fn write_tokens(
        &self,
        answer: &Answer,
        body: &mpsc::Sender<Bytes>,
        line: &AbortHandle,
    ) -> Result<u32, &'static str> {
        let tokens = self.settings.tokens.max(1);
        for token in 0..tokens {
            if token == tokens / 2 && self.settings.mood.outage() == Some(Outage::CutsLine) {
                line.abort();
                return Err("cut the line");
            }
            if token > 0 {
                tokio::select! {
                    biased;
                    () = body.closed() => return Err(CLIENT_LEFT),
                    () = sleep(self.settings.token_interval) => {}
                }
            }
            body.send(answer.chunk(&answer.token(token))).await.map_err(|_| CLIENT_LEFT)?;
        }
        body.send(answer.last_chunk("stop")).await.map_err(|_| CLIENT_LEFT)?;
        Ok(tokens)
    }

    fn draw_first_token(&self) -> Duration {
        let (least, most) = (*self.settings.first_token.start(), *self.settings.first_token.end());
        let span_ms = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        if span_ms == 0 {
            return least;
        }
        least + Duration::from_millis(self.env.random("provider-first-token") % span_ms.saturating_add(1))
    }

    fn record_each(&self, messages: Vec<MessageId>, fact: impl Fn(MessageId) -> Fact) {
        messages.into_iter().map(fact).for_each(|fact| self.record(fact));
    }

    fn record(&self, fact: Fact) {
        self.recorder.record(Source::Provider, fact);
    }
}

/// One answer in the making.
struct Answer {
    about: About,
    /// Counting from 1.
    request: u32,
    /// The message for which something is wanted before there is an answer, if anything is.
    wanting: Option<MessageId>,
    /// Subagents are.
    errand: Option<Errand>,
    /// A program is to be run.
    program: Option<String>,
    /// When the first token comes, if that is not drawn.
    takes: Option<Duration>,
}

impl Answer {
    /// The `index`th piece of the text, counting from 0.
    fn token(&self, index: u32) -> String {
        match (index, &self.about) {
            (0, About::Messages(messages)) => {
                let marks: Vec<_> = messages.iter().map(MessageId::mark).collect();
                format!("{REPLY_PREFIX}{}:", marks.join(" "))
            }
            (0, About::Subagent(subagent) | About::Announcement { of: subagent, is_done: true }) => {
                format!("{REPLY_PREFIX}{}:", subagent.mark())
            }
            (0, About::Announcement { of, is_done: false }) => format!("{SORRY_PREFIX}{}:", of.mark()),
            (0, _) => "Well:".to_owned(),
            _ => {
                let word = (u64::from(self.request) * 5 + u64::from(index)) % WORDS.len() as u64;
                [" ", WORDS[word as usize]].concat()
            }
        }
    }

    fn chunk(&self, content: &str) -> Bytes {
        let mut event = self.begun(content.len());
        event.extend_from_slice(br#"{"index":0,"delta":{"content":"#);
        serde_json::to_writer(&mut event, content).expect("text is JSON");
        event.extend_from_slice(br#"},"finish_reason":null}"#);
        Self::ended(event)
    }

    /// The last piece, and the word that it was the last.
    fn last_chunk(&self, reason: &str) -> Bytes {
        let last = self.event(&format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}"#));
        Bytes::from([&last, b"data: [DONE]\n\n".as_slice()].concat())
    }

    /// One server-sent event.
    fn event(&self, choice: &str) -> Bytes {
        let mut event = self.begun(choice.len());
        event.extend_from_slice(choice.as_bytes());
        Self::ended(event)
    }

    /// The beginning of an event, with room for so much. Written by hand: a run sends hundreds, and building a tree for
    /// each was a twentieth of its time.
    fn begun(&self, room: usize) -> Vec<u8> {
        let mut event = Vec::with_capacity(160 + room);
        event.extend_from_slice(b"data: {\"id\":\"chatcmpl-");
        event.extend_from_slice(self.request.to_string().as_bytes());
        event.extend_from_slice(b"\",\"object\":\"chat.completion.chunk\",\"choices\":[");
        event
    }

    fn ended(mut event: Vec<u8>) -> Bytes {
        event.extend_from_slice(b"]}\n\n");
        Bytes::from(event)
    }
}

fn event_stream(chunks: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = stream::unfold(chunks, |mut chunks| async {
        let chunk = chunks.recv().await?;
        Some((Ok(Frame::data(chunk)), chunks))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("text/event-stream"));
    response
}

fn error(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "error": { "message": message, "type": "server_error" } }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(body: serde_json::Value) -> About {
        let body = body.to_string();
        let asked: Asked<'_> = serde_json::from_str(&body).expect("is a request");
        super::about(&asked.said_since_the_answer())
    }

    #[test]
    fn the_marks_of_the_last_user_message_are_what_a_request_is_about() {
        let body = json!({ "messages": [
            { "role": "user", "content": "one [ann#1]" },
            { "role": "assistant", "content": "Re [ann#1]: yes" },
            { "role": "user", "content": [{ "type": "text", "text": "two [ann#2]" }] },
            { "role": "assistant", "content": "Re [ann#9]" },
        ] });
        let ann = |number| MessageId { sender: "ann".into(), number };
        assert_eq!(about(body), About::Messages(vec![ann(2)]));
        let collected = json!({ "messages": [{ "role": "user", "content": "two [ann#2]\nthree [ann#3]" }] });
        assert_eq!(about(collected), About::Messages(vec![ann(2), ann(3)]));
        assert_eq!(about(json!({ "messages": [{ "role": "user", "content": "hi" }] })), About::Nothing);
        assert_eq!(about(json!({ "stream": true })), About::Nothing);
    }

    #[test]
    fn what_was_said_since_the_last_answer_is_asked_together() {
        let said = |role: &str, text: &str| json!({ "role": role, "content": text });
        let wants_tools = json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "c" }] });
        let body = json!({ "messages": [
            said("user", "one [ann#1]"), said("assistant", "(no answer)"), said("user", "two [ann#2]"),
            wants_tools, said("tool", "done"), said("user", "see [ann#1] and three [ann#3]"),
        ] });
        let asked = [2, 3].map(|number| MessageId { sender: "ann".into(), number });
        assert_eq!(about(body), About::Messages(asked.to_vec()));
    }

    #[test]
    fn a_scheduled_run_says_what_it_is_at_its_beginning() {
        let about = |text: &str| about(json!({ "messages": [{ "role": "user", "content": text }] }));
        let scheduled = About::Scheduled { job: "report".into(), slot_ms: 1_772_409_900_000 };
        assert_eq!(about("[cron:report 2026-03-02T00:05:00.000Z] how are we?"), scheduled);
        assert_eq!(about("see [cron:report 2026-03-02T00:05:00.000Z]"), About::Nothing);
        assert_eq!(about("[cron:report soon]"), About::Nothing);
    }

    #[test]
    fn the_task_of_a_subagent_and_what_came_of_it_are_told_apart() {
        let subagent = SubagentId::named("ann#1/2").expect("a name");
        assert_eq!(
            super::about(&["a part of it [ann#1/2] [takes 5ms]".to_string()]),
            About::Subagent(subagent.clone())
        );
        let announced = |status: &str| {
            super::about(&[format!("[subagent:ab {status}] is over [ann#1/2] Re [ann#1/2]: yes")])
        };
        assert_eq!(announced("done"), About::Announcement { of: subagent.clone(), is_done: true });
        assert_eq!(announced("lost"), About::Announcement { of: subagent, is_done: false });
    }

    #[test]
    fn two_requests_about_one_message_get_different_words() {
        let message = MessageId { sender: "ann".into(), number: 1 };
        let text = |request| {
            let about = About::Messages(vec![message.clone()]);
            let answer = Answer { about, request, wanting: None, errand: None, program: None, takes: None };
            (0..4).map(|index| answer.token(index)).collect::<String>()
        };
        assert!(text(1).starts_with("Re [ann#1]: "));
        assert_ne!(text(1), text(2));
    }
}
