//! The other processes of the machine: their lines in the process table, who listens where, and their end.
//!
//! All of it is read from Linux's `/proc`; elsewhere nothing is known of anybody, and so nobody is ended. A signal is
//! sent through a handle on one process, not to a number: whoever gets the number meanwhile never feels it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::id;
use std::time::Duration;

use gateway::env::{EndSignal, Listening, Pid, ProcessEntry, ProcessId, Signal};

use crate::process::stat;

/// What stands for "listening" in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process's line in the process table.
pub(crate) fn look_up(pid: Pid) -> Option<ProcessEntry> {
    let stat = stat(pid).filter(|stat| !stat.is_corpse)?;
    let started = Duration::from_secs_f64(stat.start.0 as f64 / ticks_per_second());
    Some(ProcessEntry {
        id: ProcessId { pid, start: stat.start },
        // The first process, and kernel threads, have parent 0.
        parent: (stat.parent.0 != 0).then_some(stat.parent),
        program: program(&fs::read(format!("/proc/{pid}/cmdline")).ok()?),
        running_for: uptime()?.saturating_sub(started),
        is_stopped: stat.is_stopped,
        sees_our_network: network_of(pid).is_some_and(|network| Some(network) == network_of(Pid(id()))),
    })
}

/// What names the network that a process sees; of other users' processes it is hidden.
fn network_of(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// The file name of the program in a command line; empty for kernel threads, which have none.
fn program(command_line: &[u8]) -> String {
    let first = command_line.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = first.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn ticks_per_second() -> f64 {
    #[cfg(target_os = "linux")]
    {
        rustix::param::clock_ticks_per_second() as f64
    }
    // Start times are read on Linux only.
    #[cfg(not(target_os = "linux"))]
    {
        100.0
    }
}

/// How long the machine has been up, in the time that start times count.
fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Sends the one process that is meant a signal that ends it.
#[cfg(target_os = "linux")]
pub(crate) fn end(process: ProcessId, signal: EndSignal) -> io::Result<()> {
    send(
        process,
        match signal {
            EndSignal::Terminate => rustix::process::Signal::TERM,
            EndSignal::Kill => rustix::process::Signal::KILL,
        },
    )
}

/// Sends the one process that is meant a signal that it handles.
#[cfg(target_os = "linux")]
pub(crate) fn signal(process: ProcessId, signal: Signal) -> io::Result<()> {
    use rustix::process::Signal as Kernel;
    send(
        process,
        match signal {
            Signal::Hangup => Kernel::HUP,
            Signal::Interrupt => Kernel::INT,
            Signal::Quit => Kernel::QUIT,
            Signal::Terminate => Kernel::TERM,
            Signal::User1 => Kernel::USR1,
            Signal::User2 => Kernel::USR2,
        },
    )
}

#[cfg(target_os = "linux")]
fn send(process: ProcessId, signal: rustix::process::Signal) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let number = i32::try_from(process.pid.0).ok().and_then(rustix::process::Pid::from_raw);
    let handle = pidfd_open(number.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    // The handle stays with the process that had the number when it was opened; whether that is the one that is meant
    // is seen only now.
    if stat(process.pid).is_none_or(|stat| stat.start != process.start || stat.is_corpse) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_send_signal(handle, signal)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn end(_process: ProcessId, _signal: EndSignal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn signal(_process: ProcessId, _signal: Signal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Who listens where, over IPv4 and IPv6. The files of other users' processes are hidden from us, and with them what
/// they listen on.
pub(crate) fn listeners() -> Option<Vec<Listening>> {
    let tcp4 = fs::read_to_string("/proc/net/tcp").ok()?;
    // A machine without IPv6 has none.
    let tcp6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let sockets: BTreeMap<u64, SocketAddr> =
        [tcp4, tcp6].iter().flat_map(|table| listening_sockets(table)).collect();
    let mut found = Vec::new();
    for pid in fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| pid_of(&entry.path())) {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let inodes = files.filter_map(|file| socket_inode(fs::read_link(file.path()).ok()?.to_str()?));
        found.extend(inodes.filter_map(|inode| Some(Listening { address: *sockets.get(&inode)?, pid })));
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

fn pid_of(path: &Path) -> Option<Pid> {
    path.file_name()?.to_str()?.parse().ok().map(Pid)
}

/// `socket:[4026]`
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inodes of the listening sockets in a table such as `/proc/net/tcp`, with their addresses.
fn listening_sockets(table: &str) -> Vec<(u64, SocketAddr)> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let address = address(fields.next()?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENING).then_some((inode, address))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:4965`: the address in words of 32 bits as the machine stores them, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for start in (0..words.len()).step_by(8) {
        let word = u32::from_str_radix(words.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4026 1 0000 100 0 0 10 0
   1: 0100007F:4965 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4027 1 0000 20 4 0 10 -1
   2: garbage
";

    #[test]
    fn only_listening_sockets_are_listeners() {
        let loopback = "127.0.0.1:18789".parse().expect("an address");
        assert_eq!(listening_sockets(TCP), [(4026, loopback)]);
        assert_eq!(socket_inode("socket:[4026]"), Some(4026));
        assert_eq!(socket_inode("/dev/null"), None);
    }

    #[test]
    fn addresses_are_read_word_by_word() {
        let said = |text| address(text).map(|address| address.to_string());
        assert_eq!(said("00000000:4965").as_deref(), Some("0.0.0.0:18789"));
        assert_eq!(said("00000000000000000000000001000000:0050").as_deref(), Some("[::1]:80"));
        assert_eq!(said("0000000000000000FFFF00000100007F:0050").as_deref(), Some("127.0.0.1:80"));
        for broken in ["", "0100007F", "0100:4965", "XX00007F:4965", "0100007F:99999"] {
            assert_eq!(said(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_program_is_called_by_its_file_name() {
        assert_eq!(program(b"/usr/bin/gateway\0--config\0/etc/x\0"), "gateway");
        assert_eq!(program(b"gateway\0"), "gateway");
        assert_eq!(program(b""), "");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn we_see_ourselves_and_what_we_listen_on() {
        let us = Pid(std::process::id());
        let entry = look_up(us).expect("we live");
        assert_eq!(entry.id.pid, us);
        assert!(!entry.is_stopped && entry.sees_our_network, "{entry:?}");
        assert!(entry.running_for < Duration::from_secs(3_600), "{entry:?}");
        assert!(look_up(entry.parent.expect("somebody started us")).is_some());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        assert!(listeners().expect("there is /proc").contains(&Listening { address, pid: us }));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_one_that_is_meant_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it can be run");
        let id = look_up(Pid(child.id())).expect("it lives").id;
        let another = ProcessId { start: gateway::env::StartTime(id.start.0 + 1), ..id };
        let missed = end(another, EndSignal::Kill).expect_err("it is another one");
        assert_eq!(missed.kind(), io::ErrorKind::NotFound);
        assert!(child.try_wait().expect("it is ours").is_none());
        end(id, EndSignal::Kill).expect("it is ours");
        child.wait().expect("it is ours");
        assert_eq!(look_up(id.pid).map(|entry| entry.id).filter(|now| *now == id), None);
    }
}
