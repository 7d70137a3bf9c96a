//! Random histories against a simple model: what is seen equals a plain map, and what survives is legal.
//!
//! The model knows no journal. For each path it keeps what the path has led to since it was last certain, for each
//! file what it has held; a survivor must be explained by these.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

const DIRS: [&str; 2] = ["/a", "/b"];
const PATHS: [&str; 6] = ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/b/3"];

#[derive(Clone, Debug)]
enum Op {
    Write(usize, usize),
    Append(usize, usize),
    CreateNew(usize),
    Truncate(usize, usize),
    Rename(usize, usize),
    Remove(usize),
    SyncFile(usize),
    SyncDir(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let path = 0..PATHS.len();
    prop_oneof![
        3 => (path.clone(), 0..4_usize).prop_map(|(path, len)| Op::Write(path, len)),
        3 => (path.clone(), 0..4_usize).prop_map(|(path, len)| Op::Append(path, len)),
        1 => path.clone().prop_map(Op::CreateNew),
        1 => (path.clone(), 0..6_usize).prop_map(|(path, len)| Op::Truncate(path, len)),
        4 => (path.clone(), path.clone()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => path.clone().prop_map(Op::Remove),
        3 => path.prop_map(Op::SyncFile),
        3 => (0..DIRS.len()).prop_map(Op::SyncDir),
    ]
}

/// What a path led to, and the directories whose sync would make that certain.
struct Lead {
    file: Option<usize>,
    awaits: BTreeSet<&'static str>,
}

struct File {
    /// What was last synced, then the content after each edit since.
    contents: Vec<Vec<u8>>,
    only_appended: bool,
}

impl File {
    fn live(&self) -> &[u8] {
        &self.contents[self.contents.len() - 1]
    }

    fn explains(&self, found: &[u8]) -> bool {
        let synced = &self.contents[0];
        found == synced
            || (self.contents[1..].iter().any(|content| content.starts_with(found))
                && (!self.only_appended || found.starts_with(synced)))
    }
}

struct Model {
    leads: Vec<Vec<Lead>>,
    files: Vec<File>,
}

impl Model {
    fn new() -> Self {
        let nothing = || vec![Lead { file: None, awaits: BTreeSet::new() }];
        Self { leads: PATHS.iter().map(|_| nothing()).collect(), files: Vec::new() }
    }

    fn file_at(&self, path: usize) -> Option<usize> {
        self.leads[path].last().and_then(|lead| lead.file)
    }

    fn lead(&mut self, path: usize, file: Option<usize>, awaits: &[usize]) {
        let awaits = awaits.iter().map(|path| &PATHS[*path][..2]).collect();
        self.leads[path].push(Lead { file, awaits });
    }

    fn create(&mut self, path: usize) -> usize {
        self.files.push(File { contents: vec![Vec::new()], only_appended: true });
        self.lead(path, Some(self.files.len() - 1), &[path]);
        self.files.len() - 1
    }

    fn edit(&mut self, file: usize, appends: bool, edit: impl FnOnce(&mut Vec<u8>)) {
        let file = &mut self.files[file];
        let mut content = file.live().to_vec();
        edit(&mut content);
        file.contents.push(content);
        file.only_appended &= appends;
    }

    /// Applies an operation; returns whether it is possible.
    fn apply(&mut self, op: &Op, mark: u8) -> bool {
        let bytes = |len: usize| vec![mark; len];
        match *op {
            Op::Write(path, len) => {
                let file = self.file_at(path).unwrap_or_else(|| self.create(path));
                self.edit(file, false, |content| *content = bytes(len));
            }
            Op::Append(path, len) => {
                let file = self.file_at(path).unwrap_or_else(|| self.create(path));
                self.edit(file, true, |content| content.extend(bytes(len)));
            }
            Op::CreateNew(path) => {
                if self.file_at(path).is_some() {
                    return false;
                }
                self.create(path);
            }
            Op::Truncate(path, len) => {
                let Some(file) = self.file_at(path) else { return false };
                self.edit(file, false, |content| content.resize(len, 0));
            }
            Op::Rename(from, to) => {
                let Some(file) = self.file_at(from) else { return false };
                if from != to {
                    self.lead(from, None, &[from, to]);
                    self.lead(to, Some(file), &[from, to]);
                }
            }
            Op::Remove(path) => {
                if self.file_at(path).is_none() {
                    return false;
                }
                self.lead(path, None, &[path]);
            }
            Op::SyncFile(path) => {
                let Some(file) = self.file_at(path) else { return false };
                let synced = self.files[file].live().to_vec();
                self.files[file] = File { contents: vec![synced], only_appended: true };
            }
            Op::SyncDir(dir) => {
                for leads in &mut self.leads {
                    for lead in leads.iter_mut() {
                        lead.awaits.remove(DIRS[dir]);
                    }
                    let certain = leads.iter().rposition(|lead| lead.awaits.is_empty());
                    leads.drain(..certain.unwrap_or(0));
                }
            }
        }
        true
    }

    fn live(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = (0..PATHS.len()).filter_map(|path| Some((path, self.file_at(path)?)));
        files.map(|(path, file)| (PathBuf::from(PATHS[path]), self.files[file].live().to_vec())).collect()
    }

    fn explains(&self, path: usize, found: Option<&Vec<u8>>) -> bool {
        self.leads[path].iter().any(|lead| match (lead.file, found) {
            (None, None) => true,
            (Some(file), Some(found)) => self.files[file].explains(found),
            _ => false,
        })
    }
}

fn apply(disk: &Disk, op: &Op, mark: u8) -> io::Result<()> {
    let path = |index: usize| Path::new(PATHS[index]);
    match *op {
        Op::Write(at, len) => disk.write(path(at), &vec![mark; len]),
        Op::Append(at, len) => disk.append(path(at), &vec![mark; len]),
        Op::CreateNew(at) => disk.create_new(path(at)),
        Op::Truncate(at, len) => disk.truncate(path(at), len as u64),
        Op::Rename(from, to) => disk.rename(path(from), path(to)),
        Op::Remove(at) => disk.remove(path(at)),
        Op::SyncFile(at) => disk.sync_file(path(at)),
        Op::SyncDir(dir) => disk.sync_dir(Path::new(DIRS[dir])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_seen_is_a_plain_map_and_what_survives_is_legal(
        ops in prop::collection::vec(op(), 1..40),
        seed in any::<u64>(),
    ) {
        let disk = Disk::new(Rc::new(|| WallTime::from_epoch_ms(0)));
        for dir in DIRS {
            disk.create_dir_all(Path::new(dir)).unwrap();
        }
        disk.sync_dir(Path::new("/")).unwrap();
        let mut model = Model::new();
        for (op, mark) in ops.iter().zip(1..) {
            prop_assert_eq!(apply(&disk, op, mark).is_ok(), model.apply(op, mark), "{:?}", op);
            prop_assert_eq!(disk.read_all_under(Path::new("/")), model.live(), "after {:?}", op);
        }

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lost = disk.power_loss(&mut rng);
        let left = disk.read_all_under(Path::new("/"));
        for (index, path) in PATHS.iter().enumerate() {
            let found = left.get(Path::new(path));
            prop_assert!(model.explains(index, found), "{path} is {found:?} after the power loss");
        }
        if lost == 0 {
            prop_assert_eq!(&left, &model.live());
        }
        prop_assert_eq!(&left, &disk.durable_under(Path::new("/")));
        prop_assert_eq!(disk.power_loss(&mut rng), 0, "everything left is durable");
    }
}
