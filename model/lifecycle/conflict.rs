//! A start conflict: the lock or the port is in somebody else's hands, and stays there.
//!
//! What to do depends on what the other is, which is asked over HTTP like anybody would, and on who minds this process:
//! an exit must not be answered with the same start again and again, nor use up a supervisor's start limit. So only to
//! a healthy gateway does a start give way; for everything else it waits, in this process, since a supervisor could
//! do no more than begin the same wait anew. Why the lock or the port is taken is not known here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::phase::Phase;
use super::predecessor::{self, Suspicion};
use super::requests::{Change, Requests};
use super::respawn::{self, MindedBy};
use crate::env::{Env, ExitCode, Pid, ProcessId, StartTime};
use crate::policy::{Policies, StartConflict};

/// How often the other is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often one is looked at that is starting or draining: it will not be long.
const LOOK_AT_UNREADY_EVERY: Duration = Duration::from_secs(1);
/// How long a probe may take.
const PROBE_ANSWERS: Duration = Duration::from_secs(3);
/// How long a start that nobody minds waits for one that does not answer: somebody sits before it (OpenClaw
/// 2026.5.3-1 waits as long, whoever minds it).
const UNMINDED_PATIENCE: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const MOST_OF_AN_ANSWER: usize = 8 * 1024;

/// What is in the way of a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contention {
    /// The port that this gateway is to serve.
    pub(crate) port: u16,
    /// How long a gateway may drain.
    pub(crate) drain_budget: Duration,
    /// Who holds the lock, as far as it says; `None` when it is the port that is taken.
    pub(crate) owner: Option<(Pid, Option<StartTime>)>,
}

/// What the other turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// A gateway, live and ready.
    Serving,
    /// A gateway, live and not ready: it is starting or draining.
    Unready,
    /// It says nothing.
    Silent,
    /// It may be anything: it answers otherwise than a gateway, or could not be asked.
    Unclear,
}

/// What to do about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Give way, with an exit status.
    Leave(ExitCode),
    /// Stay, without trying, until the other is no healthy gateway any more.
    StandBy,
    /// Wait for a while, and try again.
    Wait(Duration),
}

/// How a wait ended.
pub(crate) enum Outcome {
    /// The start is worth another attempt.
    Again,
    /// This process gives way.
    Leave(ExitCode),
    /// A signal came meanwhile.
    Interrupted(Change),
}

/// What to do about `other`, which has been in the way for `waited`: in all, or, where it is silent, since it is.
pub(crate) fn decide(
    policy: StartConflict,
    minded_by: MindedBy,
    other: Other,
    waited: Duration,
    drain_budget: Duration,
) -> Way {
    use MindedBy::{Launchd, Nobody, NobodyInContainer, Systemd, TaskScheduler, Unknown};
    match (policy, other, minded_by) {
        (StartConflict::EndsWithFailure, ..) => Way::Leave(ExitCode::FAILURE),
        // Of these, systemd and a person know the status for what it is, and the Task Scheduler restarts nothing.
        (StartConflict::WaitsOrGivesWay, Other::Serving, Systemd | TaskScheduler | Nobody) => {
            Way::Leave(ExitCode::CONFIG)
        }
        // These restart whatever ends, or may.
        (StartConflict::WaitsOrGivesWay, Other::Serving, Launchd | Unknown | NobodyInContainer) => {
            Way::StandBy
        }
        (StartConflict::WaitsOrGivesWay, Other::Unready, Nobody) if waited >= drain_budget => {
            Way::Leave(ExitCode::CONFIG)
        }
        (StartConflict::WaitsOrGivesWay, Other::Silent | Other::Unclear, Nobody)
            if waited >= UNMINDED_PATIENCE =>
        {
            Way::Leave(ExitCode::CONFIG)
        }
        (StartConflict::WaitsOrGivesWay, Other::Unready, _) => Way::Wait(LOOK_AT_UNREADY_EVERY),
        (StartConflict::WaitsOrGivesWay, Other::Silent | Other::Unclear, _) => Way::Wait(LOOK_EVERY),
        (StartConflict::RetriesForThirtySeconds, Other::Silent | Other::Unclear, by)
            if !matches!(by, Nobody | NobodyInContainer) && waited < UNMINDED_PATIENCE =>
        {
            Way::Wait(LOOK_EVERY)
        }
        (StartConflict::RetriesForThirtySeconds, _, Systemd) => Way::Leave(ExitCode::CONFIG),
        (StartConflict::RetriesForThirtySeconds, ..) => Way::Leave(ExitCode::CLEAN),
    }
}

/// A conflict that lasts, from its first sight on: what is known of it is kept from one attempt to the next.
#[derive(Default)]
pub(crate) struct Standoff {
    since: Option<Instant>,
    /// Since when the other says nothing that a gateway would. One that was on its way out until then is given all the
    /// patience that silence has.
    silent_since: Option<Instant>,
    seen: Option<Other>,
    suspicion: Suspicion,
}

impl Standoff {
    /// Does what is to be done about a conflict that an attempt to start has met.
    pub(crate) async fn meet(
        &mut self,
        env: &Env,
        contention: Contention,
        policies: &Policies,
        requests: &mut Requests,
    ) -> Outcome {
        let minded_by = respawn::Facts::of(env).minded_by;
        let waiting = self.wait(env, contention, policies, minded_by);
        requests.unless_changed(Phase::Starting, pin!(waiting)).await.unwrap_or_else(Outcome::Interrupted)
    }

    async fn wait(
        &mut self,
        env: &Env,
        contention: Contention,
        policies: &Policies,
        minded_by: MindedBy,
    ) -> Outcome {
        if policies.start_conflict == StartConflict::EndsWithFailure {
            return Outcome::Leave(ExitCode::FAILURE);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let holder = holder(env, contention);
        let other = look(env, contention.port, holder).await;
        if self.seen.replace(other) != Some(other) {
            let pid = holder.map(|id| id.pid).or(contention.owner.map(|(pid, _)| pid));
            let pid = pid.map_or_else(|| "unknown".to_string(), |pid| pid.to_string());
            tracing::warn!(name: "start.conflict", by = pid, is = other.name(), "somebody else is in the way");
        }
        let silent_since = match other {
            Other::Silent | Other::Unclear => Some(*self.silent_since.get_or_insert_with(Instant::now)),
            Other::Serving | Other::Unready => {
                self.silent_since = None;
                None
            }
        };
        let waited = match (policies.start_conflict, silent_since) {
            (StartConflict::WaitsOrGivesWay, Some(silent_since)) => silent_since.elapsed(),
            _ => since.elapsed(),
        };
        let way = decide(policies.start_conflict, minded_by, other, waited, contention.drain_budget);
        match way {
            Way::Leave(code) => Outcome::Leave(code),
            Way::StandBy => {
                self.stand_by(env, contention).await;
                Outcome::Again
            }
            Way::Wait(pause) => {
                let is_silent = other == Other::Silent;
                let suspect = holder.filter(|_| is_silent);
                if let Some(stuck) = self.suspicion.grows(env, suspect, policies.predecessors) {
                    let is_silent = async || look(env, contention.port, Some(stuck)).await == Other::Silent;
                    predecessor::end(env, stuck, contention.port, is_silent).await;
                } else {
                    sleep(pause).await;
                }
                Outcome::Again
            }
        }
    }

    /// Waits for a healthy gateway to leave.
    async fn stand_by(&mut self, env: &Env, contention: Contention) {
        tracing::info!(name: "start.standing-by", port = contention.port, "another gateway serves; waiting for it to leave");
        loop {
            sleep(LOOK_EVERY).await;
            let other = look(env, contention.port, holder(env, contention)).await;
            if other != Other::Serving {
                tracing::info!(name: "start.taking-over", port = contention.port, is = other.name(), "the other does not serve any more");
                // Whatever is in the way from now on is another conflict.
                *self = Self { suspicion: std::mem::take(&mut self.suspicion), ..Self::default() };
                return;
            }
        }
    }
}

/// Who is in the way, beyond doubt; `None` when that cannot be told.
fn holder(env: &Env, contention: Contention) -> Option<ProcessId> {
    let process = env.process();
    match contention.owner {
        Some((pid, start)) => start.map(|start| ProcessId { pid, start }),
        None => {
            let pid = *predecessor::listening_on(env, contention.port).first()?;
            process.look_up(pid).map(|entry| entry.id)
        }
    }
}

/// Asks whoever is at `port`, and wherever `holder` listens: the configuration may name another port or address than the
/// one that it was started with.
async fn look(env: &Env, port: u16, holder: Option<ProcessId>) -> Other {
    let listeners = env.net().listeners().unwrap_or_default().into_iter();
    let concerned = listeners.filter(|listening| {
        listening.address.port() == port || holder.is_some_and(|holder| holder.pid == listening.pid)
    });
    let mut places: Vec<_> = concerned.map(|listening| reachable(listening.address)).collect();
    // Where it cannot be seen who listens.
    if places.is_empty() {
        places.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let mut best = Other::Silent;
    for place in places {
        match look_at(env, place).await {
            Other::Serving => return Other::Serving,
            Other::Unready => best = Other::Unready,
            Other::Unclear if best == Other::Silent => best = Other::Unclear,
            Other::Unclear | Other::Silent => {}
        }
    }
    best
}

/// Who listens on every address is asked at the machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn look_at(env: &Env, place: SocketAddr) -> Other {
    match ask(env, place, "/healthz").await {
        Heard::Answer { status: 200, body } if is_live(&body) => match ask(env, place, "/readyz").await {
            Heard::Answer { status: 200, .. } => Other::Serving,
            _ => Other::Unready,
        },
        Heard::Nothing => Other::Silent,
        Heard::Answer { .. } | Heard::Noise | Heard::NotAsked => Other::Unclear,
    }
}

/// Whether an answer to `/healthz` is a gateway's.
fn is_live(body: &str) -> bool {
    let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    said["ok"] == true && said["status"] == "live"
}

/// What came back of a question.
enum Heard {
    Answer {
        status: u16,
        body: String,
    },
    /// Something that is no answer.
    Noise,
    Nothing,
    /// The question could not be put: that is our trouble, and says nothing of the other.
    NotAsked,
}

/// Puts a GET to whoever listens at `place`.
async fn ask(env: &Env, place: SocketAddr, path: &str) -> Heard {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    let mut answer = Vec::new();
    let asking = async {
        let mut stream = env.net().connect(&place.ip().to_string(), place.port()).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        // What it has said counts, however the connection ends.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let _ = stream.take(MOST_OF_AN_ANSWER as u64).read_to_end(&mut answer).await;
        }
        Ok::<_, io::Error>(())
    };
    let asked = timeout(PROBE_ANSWERS, asking).await;
    let is_nobody_there =
        |kind| matches!(kind, ConnectionRefused | ConnectionReset | ConnectionAborted | TimedOut);
    match asked {
        Ok(Err(error)) if !is_nobody_there(error.kind()) => Heard::NotAsked,
        _ if answer.is_empty() => Heard::Nothing,
        _ => parse(&answer).unwrap_or(Heard::Noise),
    }
}

fn parse(answer: &[u8]) -> Option<Heard> {
    let (head, body) = str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Heard::Answer { status, body: body.to_string() })
}

impl Other {
    const fn name(self) -> &'static str {
        match self {
            Self::Serving => "a healthy gateway",
            Self::Unready => "a gateway that is not ready",
            Self::Silent => "silent",
            Self::Unclear => "unclear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MindedBy::*;
    use super::Other::{Serving, Silent, Unready};
    use super::Way::{Leave, StandBy, Wait};
    use super::*;

    const EVERYBODY: [MindedBy; 6] = [Systemd, Launchd, TaskScheduler, Unknown, NobodyInContainer, Nobody];
    const DRAIN: Duration = Duration::from_secs(300);
    const A_DAY: Duration = Duration::from_secs(86_400);
    const OFTEN: Way = Wait(LOOK_AT_UNREADY_EVERY);
    const AT_TIMES: Way = Wait(LOOK_EVERY);

    fn ways(policy: StartConflict, other: Other, waited: Duration) -> [Way; 6] {
        EVERYBODY.map(|minded_by| decide(policy, minded_by, other, waited, DRAIN))
    }

    fn hardened(other: Other, waited: Duration) -> [Way; 6] {
        ways(StartConflict::WaitsOrGivesWay, other, waited)
    }

    #[test]
    fn to_a_healthy_gateway_it_gives_way_where_that_is_the_end_of_it() {
        let last = Leave(ExitCode::CONFIG);
        for waited in [Duration::ZERO, A_DAY] {
            assert_eq!(hardened(Serving, waited), [last, StandBy, last, StandBy, StandBy, last]);
        }
    }

    #[test]
    fn one_that_starts_or_drains_is_waited_for_and_no_longer_than_it_may_drain_where_a_person_waits() {
        let almost = DRAIN - Duration::from_millis(1);
        assert_eq!(hardened(Unready, almost), [OFTEN; 6]);
        assert_eq!(hardened(Unready, DRAIN), [OFTEN, OFTEN, OFTEN, OFTEN, OFTEN, Leave(ExitCode::CONFIG)]);
    }

    #[test]
    fn who_does_not_answer_is_waited_for_without_using_up_anybodys_start_limit() {
        assert_eq!(hardened(Silent, UNMINDED_PATIENCE - Duration::from_millis(1)), [AT_TIMES; 6]);
        let later = hardened(Silent, UNMINDED_PATIENCE);
        assert_eq!(later, [AT_TIMES, AT_TIMES, AT_TIMES, AT_TIMES, AT_TIMES, Leave(ExitCode::CONFIG)]);
        assert_eq!(hardened(Silent, A_DAY), later);
        assert_eq!(hardened(Other::Unclear, A_DAY), later);
    }

    #[test]
    fn era_a_failed_whatever_it_met() {
        for other in [Serving, Unready, Silent] {
            assert_eq!(
                ways(StartConflict::EndsWithFailure, other, Duration::ZERO),
                [Leave(ExitCode::FAILURE); 6]
            );
        }
    }

    #[test]
    fn era_b_left_with_a_status_that_only_systemd_knows() {
        let left = EVERYBODY.map(|by| Leave(if by == Systemd { ExitCode::CONFIG } else { ExitCode::CLEAN }));
        let era_b = |other, waited| ways(StartConflict::RetriesForThirtySeconds, other, waited);
        assert_eq!(era_b(Serving, Duration::ZERO), left);
        assert_eq!(era_b(Unready, Duration::ZERO), left, "readiness was not asked for");
        assert_eq!(era_b(Silent, Duration::ZERO), [AT_TIMES, AT_TIMES, AT_TIMES, AT_TIMES, left[4], left[5]]);
        assert_eq!(era_b(Silent, UNMINDED_PATIENCE), left);
    }

    #[test]
    fn a_gateway_says_so_itself() {
        assert!(is_live(r#"{"ok":true,"status":"live"}"#));
        for body in ["", "ok", "{}", r#"{"ok":true}"#, r#"{"ok":false,"status":"live"}"#] {
            assert!(!is_live(body), "{body}");
        }
    }
}
