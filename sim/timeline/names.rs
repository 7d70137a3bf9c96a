//! What facts are called, and which message they are about: what anchors and filters go by.

use gateway::env::FsOp;

use super::{EventName, Fact, MessageId};

/// The name of the event that a disk operation is, when it succeeds.
const fn disk_event(op: FsOp) -> &'static str {
    match op {
        FsOp::Read => "disk.read",
        FsOp::Write => "disk.write",
        FsOp::Append => "disk.append",
        FsOp::CreateNew => "disk.create-new",
        FsOp::Truncate => "disk.truncate",
        FsOp::Rename => "disk.rename",
        FsOp::Remove => "disk.remove",
        FsOp::SyncFile => "disk.sync-file",
        FsOp::SyncDir => "disk.sync-dir",
        FsOp::Stat => "disk.stat",
        FsOp::List => "disk.list",
        FsOp::CreateDir => "disk.create-dir",
        FsOp::Lock => "disk.lock",
    }
}

impl Fact {
    /// The fact's name, for anchors and filters. A log record goes by the name the gateway gave it.
    pub fn name(&self) -> &EventName {
        match self {
            Self::SenderConnected => "sender.connected",
            Self::SenderDisconnected { .. } => "sender.disconnected",
            Self::SenderStoppedListening => "sender.stopped-listening",
            Self::SenderJoined { .. } => "sender.joined",
            Self::SenderConnectFailed { .. } => "sender.connect-failed",
            Self::MessageSent { .. } => "message.sent",
            Self::MessageAccepted { .. } => "message.accepted",
            Self::MessageOver { .. } => "message.over",
            Self::MessageRefused { .. } => "message.refused",
            Self::MessageUnacknowledged { .. } => "message.unacknowledged",
            Self::MessageCancelled { .. } => "message.cancelled",
            Self::MessageStopRequested { .. } => "message.stop-requested",
            Self::ConversationStopRequested { .. } => "conversation.stop-requested",
            Self::ReplyReceived { .. } => "reply.received",
            Self::NoticeReceived { .. } => "notice.received",
            Self::PeerConnected { .. } => "peer.connected",
            Self::PeerTurnedAway { .. } => "peer.turned-away",
            Self::PeerEnded { .. } => "peer.ended",
            Self::ConversationHeard { .. } => "conversation.heard",
            Self::BotConnected { .. } | Self::BotDisconnected { .. } | Self::PollConflict { .. } => {
                self.of_bot()
            }
            Self::UpdateHandedOut { .. } | Self::SendTaken { .. } | Self::SendAnswered { .. } => {
                self.of_bot()
            }
            Self::SendUnanswered { .. } | Self::SendRefused { .. } => self.of_bot(),
            Self::ProviderRequested { .. } => "provider.requested",
            Self::ProviderAnswered { .. } => "provider.answered",
            Self::ProviderStopped { .. } => "provider.stopped",
            Self::ProviderWantedTools { .. } => "provider.wanted-tools",
            Self::Subagent { seen, .. } => seen.name(),
            Self::SubagentsStopRequested => "subagents.stop-requested",
            Self::SubagentsCancelled { .. } => "subagents.cancelled",
            Self::ProgramTold { .. } => "program.told",
            Self::CronRunRequested { .. } => "cron.requested",
            Self::CronRunAnswered { .. } => "cron.answered",
            Self::CronRunStopped { .. } => "cron.stopped",
            Self::ToolFinished { .. } => "tool.finished",
            Self::RestartAsked { .. } => "restart.asked",
            Self::RestartAskedFrom { .. } => "restart.asked-from",
            Self::RestartAnswered { .. } => "restart.answered",
            Self::RestartReported { .. } => "restart.reported",
            _ => self.of_a_machine(),
        }
    }

    /// The name of what happens to processes, services and machines, and to the run itself.
    fn of_a_machine(&self) -> &EventName {
        match self {
            Self::ProcessStarted { .. } => "process.started",
            Self::ProcessExited { .. } => "process.exited",
            Self::CommandBegan { .. } => "command.began",
            Self::ProcessFrozen { .. } => "process.frozen",
            Self::ProcessThawed { .. } => "process.thawed",
            Self::SignalDelivered { .. } => "signal.delivered",
            Self::ProcessStruck { .. } => "process.struck",
            Self::PortBound { .. } => "port.bound",
            Self::PortReleased { .. } => "port.released",
            Self::BindRefused { .. } => "port.refused",
            Self::Ordered { .. } => "service.ordered",
            Self::ServiceStarting { .. } => "service.starting",
            Self::ServiceStopping { .. } => "service.stopping",
            Self::StopTimedOut => "service.stop-timed-out",
            Self::ServiceInactive { .. } => "service.inactive",
            Self::RestartScheduled { .. } => "service.restart-scheduled",
            Self::StartLimitHit => "service.start-limit-hit",
            Self::ServiceOrderRefused { .. } => "service.order-refused",
            Self::PowerLost { .. } => "power.lost",
            Self::PowerRestored => "power.restored",
            Self::LinkPartitioned { .. } => "link.partitioned",
            Self::LinkHealed { .. } => "link.healed",
            Self::ClockJumped { .. } => "clock.jumped",
            Self::Disk { op, error: None, .. } => disk_event(*op),
            Self::Disk { .. } => "disk.failed",
            Self::State(_) => "state.seen",
            Self::ReadySeen { .. } => "ready.seen",
            Self::IntruderAnswered { .. } => "intruder.answered",
            Self::SettleBegan => "run.settling",
            Self::RunEnded => "run.ended",
            Self::Injected { .. } => "fault.injected",
            Self::Remarked { .. } => "run.remarked",
            Self::ConfigEdited { .. } => "config.edited",
            Self::Log { record, .. } => &record.name,
            other => unreachable!("no machine shows {other:?}"),
        }
    }

    /// The name of what a platform sees of a bot.
    fn of_bot(&self) -> &EventName {
        match self {
            Self::BotConnected { .. } => "bot.connected",
            Self::BotDisconnected { .. } => "bot.disconnected",
            Self::PollConflict { .. } => "bot.conflict",
            Self::UpdateHandedOut { times: 1, .. } => "update.handed-out",
            Self::UpdateHandedOut { .. } => "update.redelivered",
            Self::SendTaken { .. } => "send.taken",
            Self::SendAnswered { .. } => "send.answered",
            Self::SendUnanswered { .. } => "send.unanswered",
            Self::SendRefused { .. } => "send.refused",
            other => unreachable!("no platform sees {other:?}"),
        }
    }

    /// The message this fact is about, if it is about one.
    pub fn message(&self) -> Option<&MessageId> {
        match self {
            Self::MessageSent { message, .. }
            | Self::MessageAccepted { message }
            | Self::MessageOver { message }
            | Self::MessageRefused { message, .. }
            | Self::MessageUnacknowledged { message }
            | Self::MessageCancelled { message }
            | Self::MessageStopRequested { message }
            | Self::ReplyReceived { message, .. }
            | Self::NoticeReceived { message: Some(message), .. }
            | Self::UpdateHandedOut { message, .. }
            | Self::ProviderRequested { message, .. }
            | Self::ProviderAnswered { message, .. }
            | Self::ProviderStopped { message, .. }
            | Self::ProviderWantedTools { message, .. } => Some(message),
            _ => None,
        }
    }
}
