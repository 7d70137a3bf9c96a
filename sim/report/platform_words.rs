//! A phrase for what chat platforms see: connections of bots, what is handed out to them, what they send.
//!
//! The platform's column is told from its side: `->` to a bot, `<-` from one. What reaches a sender stands in the
//! sender's own column.

use gateway::env::Pid;

use crate::timeline::Fact;

/// The phrase of a platform's fact; `None` when the fact is another's, or another column says it.
pub(super) fn platform_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::BotConnected { account, pid, .. } => format!("{account} connected{}", by(*pid)),
        Fact::BotDisconnected { account, how, .. } => format!("{account} {how}"),
        Fact::PollConflict { account, .. } => format!("! two pollers of {account}"),
        Fact::UpdateHandedOut { message, times: 1, .. } => format!("-> {message}"),
        Fact::UpdateHandedOut { message, .. } => format!("-> {message} again"),
        Fact::SendUnanswered { send, .. } => format!("! took send {send}, answer lost"),
        Fact::SendRefused { to, why, .. } => format!("refuses a message to {to}: {why}"),
        _ => return None,
    })
}

fn by(pid: Option<Pid>) -> String {
    pid.map_or_else(String::new, |pid| format!(" ({pid})"))
}
