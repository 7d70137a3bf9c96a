//! What the disk promises, rule by rule: errors, visibility, and what each sync saves from a power loss.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

/// Seeds that a "whatever the seed chooses" test goes through.
const SEEDS: u64 = 300;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn disk() -> Disk {
    Disk::new(Rc::new(|| WallTime::from_epoch_ms(1_000)))
}

/// A disk with one durable file, `/state/store.json`, that says `old`.
fn disk_with_store() -> Disk {
    let disk = disk();
    disk.preload(path("/state/store.json"), b"old").unwrap();
    disk
}

/// Everything that `/state/store.json` can be after `edit` and a power loss, over many seeds.
fn outcomes(edit: impl Fn(&Disk)) -> BTreeSet<Option<String>> {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = disk_with_store();
        edit(&disk);
        lose_power(&disk, seed);
        let content = disk.read(path("/state/store.json")).ok();
        seen.insert(content.map(|bytes| String::from_utf8(bytes).unwrap()));
    }
    seen
}

fn lose_power(disk: &Disk, seed: u64) -> u32 {
    let lost = disk.power_loss(&mut ChaCha8Rng::seed_from_u64(seed));
    assert_eq!(disk.read_all_under(path("/")), disk.durable_under(path("/")), "seed {seed}");
    lost
}

fn some(contents: &[&str]) -> BTreeSet<Option<String>> {
    contents.iter().map(|text| Some((*text).to_string())).collect()
}

#[test]
fn errors_have_their_true_kinds() {
    let disk = disk_with_store();
    disk.create_dir_all(path("/empty")).unwrap();
    let (store, state, under_file) = (path("/state/store.json"), path("/state"), path("/state/store.json/x"));
    let missing = path("/nowhere/x");
    let cases: Vec<(&str, io::Result<()>, ErrorKind)> = vec![
        ("read missing", disk.read(missing).map(drop), ErrorKind::NotFound),
        ("read a directory", disk.read(state).map(drop), ErrorKind::IsADirectory),
        ("read below a file", disk.read(under_file).map(drop), ErrorKind::NotADirectory),
        ("write without parent", disk.write(missing, b""), ErrorKind::NotFound),
        ("write to a directory", disk.write(state, b""), ErrorKind::IsADirectory),
        ("write to the root", disk.write(path("/"), b""), ErrorKind::IsADirectory),
        ("append below a file", disk.append(under_file, b""), ErrorKind::NotADirectory),
        ("create over a file", disk.create_new(store), ErrorKind::AlreadyExists),
        ("create over a directory", disk.create_new(state), ErrorKind::AlreadyExists),
        ("create without parent", disk.create_new(missing), ErrorKind::NotFound),
        ("truncate missing", disk.truncate(missing, 0), ErrorKind::NotFound),
        ("truncate to nonsense", disk.truncate(store, u64::MAX), ErrorKind::FileTooLarge),
        ("rename missing", disk.rename(path("/state/x"), store), ErrorKind::NotFound),
        ("rename to nowhere", disk.rename(store, missing), ErrorKind::NotFound),
        ("rename over a directory", disk.rename(store, path("/empty")), ErrorKind::IsADirectory),
        ("rename a directory over a file", disk.rename(path("/empty"), store), ErrorKind::NotADirectory),
        ("rename over a full directory", disk.rename(path("/empty"), state), ErrorKind::DirectoryNotEmpty),
        ("rename into itself", disk.rename(state, path("/state/deeper")), ErrorKind::InvalidInput),
        ("rename the root", disk.rename(path("/"), path("/x")), ErrorKind::ResourceBusy),
        ("remove missing", disk.remove(missing), ErrorKind::NotFound),
        ("remove a directory", disk.remove(state), ErrorKind::IsADirectory),
        ("sync missing", disk.sync_file(missing), ErrorKind::NotFound),
        ("sync a file as directory", disk.sync_dir(store), ErrorKind::NotADirectory),
        ("stat missing", disk.stat(missing).map(drop), ErrorKind::NotFound),
        ("list a file", disk.list(store).map(drop), ErrorKind::NotADirectory),
        ("create directory over a file", disk.create_dir_all(store), ErrorKind::AlreadyExists),
        ("create directory below a file", disk.create_dir_all(under_file), ErrorKind::NotADirectory),
        ("relative path", disk.read(path("state")).map(drop), ErrorKind::InvalidInput),
        ("path with ..", disk.read(path("/state/../state")).map(drop), ErrorKind::InvalidInput),
    ];
    for (what, result, kind) in cases {
        assert_eq!(result.expect_err(what).kind(), kind, "{what}");
    }
    assert_eq!(disk.read(store).unwrap(), b"old", "errors change nothing");
}

#[test]
fn changes_are_visible_at_once_and_listed_in_order() {
    let disk = disk_with_store();
    disk.create_dir_all(path("/state/locks")).unwrap();
    disk.append(path("/state/inbox.jsonl"), b"one ").unwrap();
    disk.clone().append(path("/state/inbox.jsonl"), b"two").unwrap();
    disk.rename(path("/state/store.json"), path("/state/a.json")).unwrap();
    disk.truncate(path("/state/a.json"), 2).unwrap();
    let listed = disk.list(path("/state")).unwrap();
    assert_eq!(listed, ["/state/a.json", "/state/inbox.jsonl", "/state/locks"].map(PathBuf::from));
    assert_eq!(disk.read(path("/state/inbox.jsonl")).unwrap(), b"one two");
    assert_eq!(disk.read(path("/state/a.json")).unwrap(), b"ol");
    disk.remove(path("/state/a.json")).unwrap();
    assert_eq!(disk.read(path("/state/a.json")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn modification_time_follows_the_clock_and_survives_with_the_content() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let now = Rc::new(Cell::new(5));
        let ticking = Rc::clone(&now);
        let disk = Disk::new(Rc::new(move || WallTime::from_epoch_ms(ticking.get())));
        disk.preload(path("/lock"), b"pid 1").unwrap();
        now.set(9);
        disk.write(path("/lock"), b"").unwrap();
        assert_eq!(disk.stat(path("/lock")).unwrap().modified.epoch_ms(), 9);
        lose_power(&disk, seed);
        let stat = disk.stat(path("/lock")).unwrap();
        seen.insert((stat.size, stat.modified.epoch_ms()));
    }
    assert_eq!(seen, BTreeSet::from([(5, 5), (0, 9)]), "the old content has the old time");
}

#[test]
fn power_loss_without_pending_operations_loses_nothing_and_draws_nothing() {
    let disk = disk_with_store();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(disk.power_loss(&mut rng), 0);
    assert_eq!(rng.next_u64(), ChaCha8Rng::seed_from_u64(1).next_u64());
    assert_eq!(disk.read(path("/state/store.json")).unwrap(), b"old");
}

#[test]
fn the_full_recipe_is_atomic_for_every_seed() {
    let steps: [fn(&Disk); 5] = [
        |disk| disk.write(path("/state/store.tmp"), b"new").unwrap(),
        |disk| disk.sync_file(path("/state/store.tmp")).unwrap(),
        |disk| disk.rename(path("/state/store.tmp"), path("/state/store.json")).unwrap(),
        |disk| disk.sync_dir(path("/state")).unwrap(),
        |_| {},
    ];
    for done in 0..=steps.len() {
        let seen = outcomes(|disk| steps[..done].iter().for_each(|step| step(disk)));
        let allowed = match done {
            0..=2 => some(&["old"]),
            3 => some(&["old", "new"]),
            _ => some(&["new"]),
        };
        assert_eq!(seen, allowed, "power lost after {done} steps");
    }
}

#[test]
fn rename_without_sync_can_surface_an_empty_or_torn_file() {
    let seen = outcomes(|disk| {
        disk.write(path("/state/store.tmp"), b"new").unwrap();
        disk.rename(path("/state/store.tmp"), path("/state/store.json")).unwrap();
        disk.sync_dir(path("/state")).unwrap();
    });
    assert_eq!(seen, some(&["", "n", "ne", "new"]));
}

#[test]
fn overwriting_in_place_leaves_old_empty_torn_or_new() {
    let seen = outcomes(|disk| disk.write(path("/state/store.json"), b"NEW").unwrap());
    assert_eq!(seen, some(&["old", "", "N", "NE", "NEW"]));
}

#[test]
fn an_unsynced_append_keeps_what_was_synced_and_any_beginning_of_the_rest() {
    let seen = outcomes(|disk| {
        disk.append(path("/state/store.json"), b"1").unwrap();
        disk.sync_file(path("/state/store.json")).unwrap();
        disk.append(path("/state/store.json"), b"23").unwrap();
    });
    assert_eq!(seen, some(&["old1", "old12", "old123"]));
}

#[test]
fn an_unsynced_truncation_may_be_undone() {
    let seen = outcomes(|disk| {
        disk.truncate(path("/state/store.json"), 1).unwrap();
        disk.append(path("/state/store.json"), b"XY").unwrap();
    });
    assert_eq!(seen, some(&["old", "o", "oX", "oXY"]));
}

#[test]
fn a_new_name_needs_its_directory_synced() {
    let vanished = |sync: &dyn Fn(&Disk)| {
        (0..SEEDS).any(|seed| {
            let disk = disk_with_store();
            disk.write(path("/state/new"), b"x").unwrap();
            sync(&disk);
            lose_power(&disk, seed);
            disk.read(path("/state/new")).is_err()
        })
    };
    assert!(vanished(&|disk| disk.sync_file(path("/state/new")).unwrap()));
    assert!(!vanished(&|disk| disk.sync_dir(path("/state")).unwrap()));
}

#[test]
fn a_new_directory_needs_its_parent_synced() {
    let survives = |also_parent: bool| {
        (0..SEEDS).all(|seed| {
            let disk = disk();
            disk.create_dir_all(path("/var/state")).unwrap();
            disk.write(path("/var/state/f"), b"x").unwrap();
            disk.sync_file(path("/var/state/f")).unwrap();
            disk.sync_dir(path("/var/state")).unwrap();
            if also_parent {
                disk.sync_dir(path("/var")).unwrap();
                disk.sync_dir(path("/")).unwrap();
            }
            lose_power(&disk, seed);
            disk.read(path("/var/state/f")).is_ok()
        })
    };
    assert!(survives(true));
    assert!(!survives(false));
}

#[test]
fn a_removal_is_undone_unless_the_directory_is_synced() {
    assert_eq!(outcomes(|disk| disk.remove(path("/state/store.json")).unwrap()).len(), 2);
    let synced = outcomes(|disk| {
        disk.remove(path("/state/store.json")).unwrap();
        disk.sync_dir(path("/state")).unwrap();
    });
    assert_eq!(synced, BTreeSet::from([None]));
}

#[test]
fn directory_operations_survive_in_order() {
    for seed in 0..SEEDS {
        let disk = disk();
        for name in ["/1", "/2", "/3", "/4"] {
            disk.create_new(path(name)).unwrap();
        }
        let lost = lose_power(&disk, seed);
        let left = disk.list(path("/")).unwrap();
        let all = ["/1", "/2", "/3", "/4"].map(PathBuf::from);
        assert_eq!(left, all[..left.len()], "seed {seed}");
        assert_eq!(left.len() + lost as usize, 4);
    }
}

#[test]
fn a_rename_across_directories_is_atomic_and_needs_both_synced() {
    let names_after = |synced: &[&str], seed: u64| {
        let disk = disk();
        disk.preload(path("/a/x"), b"x").unwrap();
        disk.preload(path("/b/other"), b"").unwrap();
        disk.rename(path("/a/x"), path("/b/y")).unwrap();
        disk.create_new(path("/b/z")).unwrap();
        synced.iter().for_each(|dir| disk.sync_dir(path(dir)).unwrap());
        lose_power(&disk, seed);
        let here = |name| disk.read(path(name)).is_ok();
        assert!(here("/a/x") != here("/b/y"), "one name, whatever survives; seed {seed}");
        (here("/b/y"), here("/b/z"))
    };
    let over_seeds =
        |synced: &[&str]| -> BTreeSet<_> { (0..SEEDS).map(|s| names_after(synced, s)).collect() };
    assert_eq!(over_seeds(&[]), BTreeSet::from([(false, false), (true, false), (true, true)]));
    assert_eq!(over_seeds(&["/b"]), BTreeSet::from([(false, true), (true, true)]));
    assert_eq!(over_seeds(&["/a", "/b"]), BTreeSet::from([(true, true)]));
}

#[test]
fn a_synced_change_takes_earlier_changes_of_its_name_along() {
    for seed in 0..SEEDS {
        let disk = disk();
        disk.preload(path("/a/x"), b"x").unwrap();
        disk.preload(path("/b/other"), b"").unwrap();
        disk.rename(path("/a/x"), path("/b/y")).unwrap();
        disk.remove(path("/b/y")).unwrap();
        disk.sync_dir(path("/b")).unwrap();
        lose_power(&disk, seed);
        assert!(disk.read(path("/b/y")).is_err(), "a synced removal does not come back; seed {seed}");
        assert!(disk.read(path("/a/x")).is_err(), "the removed file had no other name; seed {seed}");
    }
}

#[test]
fn moved_directories_keep_their_files() {
    for seed in 0..SEEDS {
        let disk = disk();
        disk.preload(path("/p/f"), b"f").unwrap();
        disk.preload(path("/q/g"), b"g").unwrap();
        disk.rename(path("/p"), path("/q/p")).unwrap();
        disk.rename(path("/q/p"), path("/p")).unwrap();
        disk.rename(path("/q"), path("/p/q")).unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.sync_dir(path("/p")).unwrap();
        lose_power(&disk, seed);
        let names: Vec<_> = disk.read_all_under(path("/")).into_keys().collect();
        assert_eq!(names, ["/p/f", "/p/q/g"].map(PathBuf::from), "seed {seed}");
    }
}

#[test]
fn the_durable_view_shows_what_is_certain() {
    let disk = disk_with_store();
    disk.append(path("/state/store.json"), b"+").unwrap();
    disk.write(path("/state/new"), b"x").unwrap();
    let live = disk.read_all_under(path("/state"));
    assert_eq!(live[path("/state/store.json")], b"old+");
    assert_eq!(live.len(), 2);
    let durable = disk.durable_under(path("/state"));
    assert_eq!(durable, BTreeMap::from([(PathBuf::from("/state/store.json"), b"old".to_vec())]));
    assert!(disk.read_all_under(path("/nowhere")).is_empty());
}

#[test]
fn a_disk_that_is_never_synced_stays_bounded() {
    let disk = disk_with_store();
    for _ in 0..5_000 {
        disk.write(path("/state/tmp"), b"new").unwrap();
        disk.rename(path("/state/tmp"), path("/state/store.json")).unwrap();
    }
    let tree = disk.tree.borrow();
    assert!(tree.len() < 2_000, "{} nodes", tree.len());
}
