//! Machines that are there and cannot be reached: asleep, or nameless.
//!
//! What it takes is done by processes, links and sockets; here it is put together.

use std::io;

use super::World;
use super::process::Process;

impl World {
    /// Nobody can look the name of a machine up any more, or everybody can again. Connections that are there stay.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn set_unknown(&self, name: &str, is_unknown: bool) -> io::Result<()> {
        self.machine(name)?.set_unknown(is_unknown);
        Ok(())
    }

    /// A machine falls asleep: none of its processes runs, one that is started waits, and no packet reaches it or leaves
    /// it. Time goes on, and so does its wall clock.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn suspend(&self, name: &str) -> io::Result<()> {
        let machine = self.machine(name)?;
        if machine.set_asleep(true) {
            machine.processes().iter().for_each(|process| process.freeze());
            self.machines().iter().try_for_each(|other| self.partition(name, &other.name))?;
        }
        Ok(())
    }

    /// A machine wakes up: its processes run again, and overdue timers fire at once.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn wake(&self, name: &str) -> io::Result<()> {
        let machine = self.machine(name)?;
        if machine.set_asleep(false) {
            self.machines().iter().try_for_each(|other| self.heal(name, &other.name))?;
            machine.processes().iter().for_each(Process::thaw);
        }
        Ok(())
    }
}
