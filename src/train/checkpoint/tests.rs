use super::*;
use crate::adapter::Method;
use crate::train::snapshot::tests::snapshot;
use crate::train::snapshot::{Best, STATE_FILE};

fn model() -> ModelConfig {
    crate::model::names::tests::config()
}

fn save_step(folder: &Path, step: usize, best: usize) -> PathBuf {
    let mut snapshot = snapshot(Method::Diablo { blocks: 4 }, step, &model());
    snapshot.progress.best = Some(Best { step: best, loss: 1.0 });
    save(folder, &snapshot, &model()).unwrap()
}

fn steps(folder: &Path) -> Vec<usize> {
    list(folder).unwrap().into_iter().map(|(step, _)| step).collect()
}

#[test]
fn the_last_two_and_the_best_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = &folder.path().join("adapters");
    assert!(list(folder).unwrap().is_empty());
    for step in [2, 4, 6, 8, 10, 1_000_000] {
        save_step(folder, step, 4);
    }
    assert_eq!(steps(folder), [4, 10, 1_000_000]);
    assert!(folder.join("checkpoint-000010").is_dir());
    let newest = load_newest(folder, &model(), |e| panic!("{e}")).unwrap();
    assert_eq!(newest.progress.step, 1_000_000);
    clear(folder).unwrap();
    assert!(steps(folder).is_empty());
}

#[test]
fn the_same_step_can_be_saved_again() {
    let folder = tempfile::tempdir().unwrap();
    save_step(folder.path(), 3, 3);
    save_step(folder.path(), 3, 3);
    assert_eq!(steps(folder.path()), [3]);
}

#[test]
fn a_damaged_one_is_passed_over() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 4] = [
        ("no COMPLETE", &|path| fs::remove_file(path.join(COMPLETE_FILE)).unwrap()),
        ("COMPLETE lists no file", &|path| fs::write(path.join(COMPLETE_FILE), "").unwrap()),
        ("trainer_state.json is damaged", &|path| fs::write(path.join(STATE_FILE), "{}").unwrap()),
        ("no plain file name", &|path| fs::write(path.join(COMPLETE_FILE), "00  ../x\n").unwrap()),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        save_step(folder.path(), 1, 1);
        damage(&save_step(folder.path(), 2, 1));
        let mut skipped = Vec::new();
        let newest = load_newest(folder.path(), &model(), |e| skipped.push(e.to_string())).unwrap();
        assert_eq!((newest.progress.step, skipped.len()), (1, 1));
        assert!(skipped[0].contains(what), "{}", skipped[0]);
    }
}

#[test]
fn remains_of_a_killed_process_go_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    save_step(folder.path(), 1, 1);
    fs::create_dir(folder.path().join(".checkpoint-000002.77.tmp")).unwrap();
    fs::write(folder.path().join("notes.tmp"), "mine").unwrap();
    remove_unfinished(folder.path()).unwrap();
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["checkpoint-000001", "notes.tmp"]);
}

#[test]
fn says_when_there_is_nothing_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_newest(folder.path(), &model(), |_| {}).unwrap_err().to_string();
    assert!(error.ends_with("no complete checkpoint here to resume from"), "{error}");
}
