//! Files and directories by number, with two sets of names: the live ones and the durable ones.
//!
//! Processes walk the live entries. A change of entries goes to the journal and reaches the durable entries when
//! it is synced. Power loss turns the durable tree, plus what the seed lets survive, into the live one. Knows no
//! clock: whoever changes something says what time it is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use gateway::env::{FileStat, WallTime};
use rand_chacha::rand_core::Rng;

use super::Errno;
use super::content::Content;
use super::journal::{DirOp, Ino, Journal, Name};
use crate::mix::MixMap;

const ROOT: Ino = 0;

/// The size that ext4 shows for a small directory.
const DIRECTORY_SIZE: u64 = 4096;

/// All files and directories of a disk.
pub(super) struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    journal: Journal,
    /// Directories found lately, by path: most operations are in the same two or three, and walking there from
    /// the root took longer than the operations themselves.
    known_dirs: RefCell<Vec<(OsString, Ino)>>,
    /// What was found under live names since one of them went away, by path: most operations are on a dozen files.
    known: RefCell<MixMap<OsString, Ino>>,
    /// Nodes that nothing leads to any more are swept out when there are more than this many.
    sweep_above: usize,
}

enum Node {
    File(Content),
    Dir(Dir),
}

struct Dir {
    live: Entries,
    durable: Entries,
    modified: WallTime,
}

type Entries = BTreeMap<OsString, Ino>;

/// A file, or the name of one, as an observer finds it.
#[derive(Clone, Copy, Debug)]
pub struct FileSeen<'a> {
    /// What processes see, if there is one of that name.
    pub live: Option<&'a [u8]>,
    /// What survives a power loss for certain, if anything of that name does.
    pub durable: Option<&'a [u8]>,
}

/// Which names lead to a file.
#[derive(Clone, Copy)]
enum View {
    /// What processes see.
    Live,
    /// What survives a power loss for certain.
    Durable,
}

impl Tree {
    /// A tree with nothing but its root directory.
    pub(super) fn new(now: WallTime) -> Self {
        let root = Node::Dir(Dir { live: Entries::new(), durable: Entries::new(), modified: now });
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            journal: Journal::default(),
            known_dirs: RefCell::default(),
            known: RefCell::default(),
            sweep_above: 64,
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<&Content> {
        match self.node(self.find(path)?)? {
            Node::File(content) => Ok(content),
            Node::Dir(_) => Err(Errno::Eisdir.into()),
        }
    }

    pub(super) fn file_mut(&mut self, path: &Path) -> io::Result<&mut Content> {
        let ino = self.find(path)?;
        self.file_by_number(ino)
    }

    fn file_by_number(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(Errno::Eisdir.into()),
            None => Err(Errno::Enoent.into()),
        }
    }

    /// The file at `path`, created empty when there is none.
    pub(super) fn file_or_new(&mut self, path: &Path, now: WallTime) -> io::Result<&mut Content> {
        let ino = match self.find(path) {
            Ok(ino) => ino,
            Err(_) => self.create_file(path, now)?,
        };
        self.file_by_number(ino)
    }

    pub(super) fn create_file(&mut self, path: &Path, now: WallTime) -> io::Result<Ino> {
        let name = self.free_name(path)?;
        Ok(self.link(name, Node::File(Content::empty(now)), now))
    }

    pub(super) fn create_dir_all(&mut self, path: &Path, now: WallTime) -> io::Result<()> {
        let mut dir = ROOT;
        for name in names_of(path)? {
            let name = name?;
            dir = match self.dir(dir)?.live.get(name) {
                Some(ino) => *ino,
                None => {
                    let new = Dir { live: Entries::new(), durable: Entries::new(), modified: now };
                    self.link((dir, name.to_owned()), Node::Dir(new), now)
                }
            };
        }
        match self.node(dir)? {
            Node::Dir(_) => Ok(()),
            Node::File(_) => Err(Errno::Eexist.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, now: WallTime) -> io::Result<()> {
        let old = self.place(from)?.ok_or(Errno::Ebusy)?;
        let new = self.place(to)?.ok_or(Errno::Ebusy)?;
        let ino = self.find(from)?;
        let moves_directory = matches!(self.node(ino)?, Node::Dir(_));
        if moves_directory && to != from && to.starts_with(from) {
            return Err(Errno::Einval.into());
        }
        match self.dir(new.0)?.live.get(&new.1) {
            Some(taken) if *taken == ino => return Ok(()),
            Some(taken) => match self.node(*taken)? {
                Node::Dir(_) if !moves_directory => return Err(Errno::Eisdir.into()),
                Node::Dir(dir) if !dir.live.is_empty() => return Err(Errno::Enotempty.into()),
                Node::File(_) if moves_directory => return Err(Errno::Enotdir.into()),
                Node::Dir(_) | Node::File(_) => {}
            },
            None => {}
        }
        self.change(DirOp { gone: Some(old), appeared: Some((new, ino)), moves_directory }, now);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, now: WallTime) -> io::Result<()> {
        let name = self.place(path)?.ok_or(Errno::Eisdir)?;
        self.file(path)?;
        self.change(DirOp { gone: Some(name), appeared: None, moves_directory: false }, now);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        self.dir(ino)?;
        for op in self.journal.sync(ino) {
            self.commit(op);
        }
        Ok(())
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<FileStat> {
        Ok(match self.node(self.find(path)?)? {
            Node::File(file) => FileStat { size: file.live().len() as u64, modified: file.modified() },
            Node::Dir(dir) => FileStat { size: DIRECTORY_SIZE, modified: dir.modified },
        })
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let dir = self.dir(self.find(path)?)?;
        Ok(dir.live.keys().map(|name| path.join(name)).collect())
    }

    /// Shows every file in and below `dir` that processes see or that would survive, with its path from there.
    /// Nothing when there is no such directory.
    pub(super) fn visit_under(&self, dir: &Path, mut visit: impl FnMut(&Path, FileSeen<'_>)) {
        let [live, durable] = [View::Live, View::Durable].map(|view| self.find_in(dir, view).ok());
        self.visit_nodes(live, durable, &mut PathBuf::new(), &mut visit);
    }

    /// Both are at `path` from where the visit began: one in the live tree, one in the durable one.
    fn visit_nodes(
        &self,
        live: Option<Ino>,
        durable: Option<Ino>,
        path: &mut PathBuf,
        visit: &mut impl FnMut(&Path, FileSeen<'_>),
    ) {
        let node = |ino: Option<Ino>| ino.and_then(|ino| self.nodes.get(&ino));
        let (live, durable) = (node(live), node(durable));
        let seen = FileSeen {
            live: live.and_then(Node::file).map(Content::live),
            durable: durable.and_then(Node::file).map(Content::synced),
        };
        if seen.live.is_some() || seen.durable.is_some() {
            visit(path, seen);
        }
        let nothing = Entries::new();
        let live = live.and_then(Node::dir).map_or(&nothing, |dir| &dir.live);
        let durable = durable.and_then(Node::dir).map_or(&nothing, |dir| &dir.durable);
        let gone = durable.iter().filter(|(name, _)| !live.contains_key(*name));
        let all = live.iter().map(|(name, ino)| (name, Some(*ino), durable.get(name).copied()));
        for (name, live, durable) in all.chain(gone.map(|(name, ino)| (name, None, Some(*ino)))) {
            path.push(name);
            self.visit_nodes(live, durable, path, visit);
            path.pop();
        }
    }

    /// Power is lost: the first so many pending directory operations survive, and each file keeps what
    /// [`Content::lose_power`] leaves of it. Returns how many operations and unsynced contents were lost.
    pub(super) fn lose_power(&mut self, rng: &mut (impl Rng + ?Sized)) -> u32 {
        self.known_dirs.get_mut().clear();
        self.known.get_mut().clear();
        let pending = self.journal.len();
        let survive = if pending == 0 { 0 } else { (rng.next_u64() % (pending as u64 + 1)) as usize };
        for op in self.journal.take().take(survive) {
            self.commit(op);
        }
        let mut lost = pending - survive;
        let mut alive = BTreeSet::new();
        let mut todo = vec![ROOT];
        while let Some(ino) = todo.pop() {
            match self.nodes.get_mut(&ino) {
                Some(Node::File(content)) => lost += usize::from(content.lose_power(rng)),
                Some(Node::Dir(dir)) => {
                    dir.live.clone_from(&dir.durable);
                    todo.extend(dir.durable.values());
                }
                None => continue,
            }
            alive.insert(ino);
        }
        self.nodes.retain(|ino, _| alive.contains(ino));
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    /// How many files and directories are kept, the nameless ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Puts a new node under a name.
    fn link(&mut self, name: Name, node: Node, now: WallTime) -> Ino {
        self.sweep();
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        self.change(DirOp { gone: None, appeared: Some((name, ino)), moves_directory: false }, now);
        ino
    }

    /// Changes the live entries now, and the durable ones when the journal says so.
    fn change(&mut self, op: DirOp, now: WallTime) {
        if op.moves_directory {
            self.known_dirs.get_mut().clear();
        }
        // Who renames onto a name, takes one away.
        if op.gone.is_some() {
            self.known.get_mut().clear();
        }
        if let Some((dir, name)) = &op.gone
            && let Some(Node::Dir(dir)) = self.nodes.get_mut(dir)
        {
            dir.live.remove(name);
            dir.modified = now;
        }
        if let Some(((dir, name), ino)) = &op.appeared
            && let Some(Node::Dir(dir)) = self.nodes.get_mut(dir)
        {
            dir.live.insert(name.clone(), *ino);
            dir.modified = now;
        }
        if let Some(oldest) = self.journal.push(op) {
            self.commit(oldest);
        }
    }

    /// Makes an operation durable. A directory that is gone by now takes its entries with it.
    fn commit(&mut self, op: DirOp) {
        if let Some((dir, name)) = op.gone
            && let Some(Node::Dir(dir)) = self.nodes.get_mut(&dir)
        {
            dir.durable.remove(&name);
        }
        if let Some(((dir, name), ino)) = op.appeared
            && let Some(Node::Dir(dir)) = self.nodes.get_mut(&dir)
        {
            dir.durable.insert(name, ino);
        }
    }

    /// Drops the nodes that no name, live, durable or pending, leads to.
    fn sweep(&mut self) {
        if self.nodes.len() <= self.sweep_above {
            return;
        }
        let mut reached = BTreeSet::new();
        let mut todo: Vec<Ino> = self.journal.mentioned().collect();
        todo.push(ROOT);
        while let Some(ino) = todo.pop() {
            if reached.insert(ino)
                && let Some(Node::Dir(dir)) = self.nodes.get(&ino)
            {
                todo.extend(dir.live.values().chain(dir.durable.values()));
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
        self.sweep_above = 2 * self.nodes.len().max(32);
    }

    fn find(&self, path: &Path) -> io::Result<Ino> {
        const KNOWN_AT_MOST: usize = 4096;
        if let Some(ino) = self.known.borrow().get(path.as_os_str()) {
            return Ok(*ino);
        }
        let ino = match split(path) {
            Some((parent, name)) => *self.dir(self.find_dir(parent)?)?.live.get(name).ok_or(Errno::Enoent)?,
            None => self.find_in(path, View::Live)?,
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN_AT_MOST {
            known.clear();
        }
        known.insert(path.as_os_str().to_owned(), ino);
        Ok(ino)
    }

    /// The live directory at `path`.
    fn find_dir(&self, path: &Path) -> io::Result<Ino> {
        if let Some((_, ino)) = self.known_dirs.borrow().iter().find(|(known, _)| known == path.as_os_str()) {
            return Ok(*ino);
        }
        let ino = self.find_in(path, View::Live)?;
        self.dir(ino)?;
        self.known_dirs.borrow_mut().push((path.as_os_str().to_owned(), ino));
        Ok(ino)
    }

    fn find_in(&self, path: &Path, view: View) -> io::Result<Ino> {
        let mut ino = ROOT;
        for name in names_of(path)? {
            let name = name?;
            ino = *self.dir(ino)?.entries(view).get(name).ok_or(Errno::Enoent)?;
        }
        Ok(ino)
    }

    /// Where the last name of `path` is or would be; `None` for the root, which has no name.
    fn place(&self, path: &Path) -> io::Result<Option<Name>> {
        match split(path) {
            Some((parent, name)) => Ok(Some((self.find_dir(parent)?, name.to_owned()))),
            None => names_of(path)?.next().transpose().map(|_| None),
        }
    }

    fn free_name(&self, path: &Path) -> io::Result<Name> {
        let name = self.place(path)?.ok_or(Errno::Eexist)?;
        if self.dir(name.0)?.live.contains_key(&name.1) { Err(Errno::Eexist.into()) } else { Ok(name) }
    }

    fn node(&self, ino: Ino) -> io::Result<&Node> {
        self.nodes.get(&ino).ok_or_else(|| Errno::Enoent.into())
    }

    fn dir(&self, ino: Ino) -> io::Result<&Dir> {
        match self.node(ino)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Errno::Enotdir.into()),
        }
    }
}

impl Dir {
    fn entries(&self, view: View) -> &Entries {
        match view {
            View::Live => &self.live,
            View::Durable => &self.durable,
        }
    }
}

impl Node {
    fn file(&self) -> Option<&Content> {
        match self {
            Self::File(content) => Some(content),
            Self::Dir(_) => None,
        }
    }

    fn dir(&self) -> Option<&Dir> {
        match self {
            Self::Dir(dir) => Some(dir),
            Self::File(_) => None,
        }
    }
}

/// Directory and last name of a path. Taking the text apart costs a fifth of what `Path` takes to do it for odd
/// spellings as well.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let text = path.to_str().unwrap_or_default();
    // Names are short, and the standard search for a character is made for long texts.
    let slash = text.bytes().rposition(|byte| byte == b'/');
    match slash.map(|slash| (&text[..slash], &text[slash + 1..])) {
        Some((parent, name)) if !parent.is_empty() && !matches!(name, "" | "." | "..") => {
            Some((Path::new(parent), OsStr::new(name)))
        }
        _ => path.parent().zip(path.file_name()),
    }
}

/// The names from the root down. `EINVAL` for a path that is not absolute and normalised.
fn names_of(path: &Path) -> io::Result<impl DoubleEndedIterator<Item = io::Result<&OsStr>>> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(Errno::Einval.into());
    }
    Ok(components.map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(Errno::Einval.into()),
    }))
}
