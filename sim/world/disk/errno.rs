//! The errors a filesystem call can meet, with the operating system's own numbers.
//!
//! An error made here has the kind and the text that a real call would have given.

use std::io;

use gateway::env::FsOp;

/// What went wrong, by its name in `errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errno {
    /// Permission denied.
    Eacces,
    /// Resource temporarily unavailable; trying again may work.
    Eagain,
    /// Device or resource busy.
    Ebusy,
    /// The name is taken.
    Eexist,
    /// The file would be larger than this disk allows.
    Efbig,
    /// Not a path this disk can follow: relative, or with `..` in it; or a directory moved into itself.
    Einval,
    /// Input/output error: the device failed.
    Eio,
    /// A directory where a file is needed.
    Eisdir,
    /// No such file or directory.
    Enoent,
    /// No space left on the device.
    Enospc,
    /// A file where a directory is needed.
    Enotdir,
    /// The directory has entries.
    Enotempty,
    /// The filesystem is mounted read-only, as after an error that the kernel did not trust.
    Erofs,
}

impl Errno {
    /// The name in `errno.h`, such as `ENOSPC`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eacces => "EACCES",
            Self::Eagain => "EAGAIN",
            Self::Ebusy => "EBUSY",
            Self::Eexist => "EEXIST",
            Self::Efbig => "EFBIG",
            Self::Einval => "EINVAL",
            Self::Eio => "EIO",
            Self::Eisdir => "EISDIR",
            Self::Enoent => "ENOENT",
            Self::Enospc => "ENOSPC",
            Self::Enotdir => "ENOTDIR",
            Self::Enotempty => "ENOTEMPTY",
            Self::Erofs => "EROFS",
        }
    }

    /// Whether a call of this kind can meet the error on a disk that is full, or read-only, as a whole.
    pub(super) const fn befalls(self, op: FsOp) -> bool {
        let makes_room = matches!(op, FsOp::Write | FsOp::Append | FsOp::CreateNew | FsOp::CreateDir);
        match self {
            Self::Enospc | Self::Efbig => makes_room,
            Self::Erofs => makes_room || matches!(op, FsOp::Truncate | FsOp::Rename | FsOp::Remove),
            _ => true,
        }
    }

    /// The number on this platform. Linux and the other Unixes differ in two of them.
    const fn number(self) -> i32 {
        const LINUX: bool = cfg!(target_os = "linux");
        match self {
            Self::Enoent => 2,
            Self::Eio => 5,
            Self::Eagain if LINUX => 11,
            Self::Eagain => 35,
            Self::Eacces => 13,
            Self::Ebusy => 16,
            Self::Eexist => 17,
            Self::Enotdir => 20,
            Self::Eisdir => 21,
            Self::Einval => 22,
            Self::Efbig => 27,
            Self::Enospc => 28,
            Self::Erofs => 30,
            Self::Enotempty if LINUX => 39,
            Self::Enotempty => 66,
        }
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn every_number_decodes_to_its_kind() {
        let cases = [
            (Errno::Eacces, io::ErrorKind::PermissionDenied),
            (Errno::Eagain, io::ErrorKind::WouldBlock),
            (Errno::Ebusy, io::ErrorKind::ResourceBusy),
            (Errno::Eexist, io::ErrorKind::AlreadyExists),
            (Errno::Efbig, io::ErrorKind::FileTooLarge),
            (Errno::Einval, io::ErrorKind::InvalidInput),
            (Errno::Eisdir, io::ErrorKind::IsADirectory),
            (Errno::Enoent, io::ErrorKind::NotFound),
            (Errno::Enospc, io::ErrorKind::StorageFull),
            (Errno::Enotdir, io::ErrorKind::NotADirectory),
            (Errno::Enotempty, io::ErrorKind::DirectoryNotEmpty),
            (Errno::Erofs, io::ErrorKind::ReadOnlyFilesystem),
        ];
        for (errno, kind) in cases {
            assert_eq!(io::Error::from(errno).kind(), kind, "{}", errno.name());
        }
        assert_eq!(io::Error::from(Errno::Eio).raw_os_error(), Some(5));
    }
}
