//! What was done to a world on purpose, by kind: whoever judges a run asks for kinds and not for words.
//!
//! The words are those of the scenario language. Deaths, signals, cuts of links and jumps of the clock have facts of their own.

/// A kind of fault that is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Injection {
    /// A gateway dies inside a disk operation.
    CrashAt,
    /// A file in the state directory is overwritten.
    CorruptState,
    /// Operations of the disk fail for a while.
    DiskFault,
    /// A lock file is there that nobody holds.
    LeaveLock,
    /// A machine's name cannot be looked up for a while.
    NameUnknown,
    /// A platform acknowledges what it is sent late.
    PlatformAcknowledgesLate,
    /// A platform takes nothing that is for one of its users.
    PlatformBlocks,
    /// A platform takes a text and cuts the line.
    PlatformCutsLine,
    /// A platform is not there.
    PlatformDown,
    /// A platform takes no messages of bots for a while.
    PlatformLimits,
    /// A platform takes longer.
    PlatformSlow,
    /// What a gateway that is killed listened on stays taken.
    PortLingers,
    /// The model provider is not there, or in no good order.
    ProviderDown,
    /// The model provider takes longer.
    ProviderSlow,
    /// Another program takes a lock.
    SquatLock,
    /// Another program takes the gateway's port.
    SquatPort,
    /// The gateway's machine sleeps.
    Suspend,
}

impl Injection {
    /// The word of the step that does it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CrashAt => "crash-at",
            Self::CorruptState => "corrupt-state",
            Self::DiskFault => "disk-fault",
            Self::LeaveLock => "leave-lock",
            Self::NameUnknown => "name-unknown",
            Self::PlatformAcknowledgesLate => "platform-acknowledges-late",
            Self::PlatformBlocks => "platform-blocks",
            Self::PlatformCutsLine => "platform-cuts-line",
            Self::PlatformDown => "platform-down",
            Self::PlatformLimits => "platform-limits",
            Self::PlatformSlow => "platform-slow",
            Self::PortLingers => "port-lingers",
            Self::ProviderDown => "provider-down",
            Self::ProviderSlow => "provider-slow",
            Self::SquatLock => "squat-lock",
            Self::SquatPort => "squat-port",
            Self::Suspend => "suspend",
        }
    }
}
