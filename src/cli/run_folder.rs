//! The folder of a run: its adapter, its checkpoints, and its log, which is locked against other runs.

use super::config_file::SETTINGS_FILE;
use super::output;
use crate::adapter::StoredAdapter;
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};
use crate::model::ModelConfig;
use crate::train::checkpoint;
use crate::train::{Snapshot, TrainEvent};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Every event of the run, one JSON object a line.
const LOG_FILE: &str = "log.jsonl";
/// Where a run lies unless told otherwise.
pub const DEFAULT_FOLDER: &str = "adapters";

/// What becomes of the run that a folder holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Go on with it.
    Resume,
    /// Replace it, finished or not.
    Overwrite,
    /// Replace it if it is finished.
    KeepUnfinished,
}

/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
    model: ModelConfig,
    /// Locked for as long as it is open.
    log: Option<File>,
    events: Vec<TrainEvent>,
}

impl RunFolder {
    /// Looks at the folder, and reads the newest complete checkpoint where it is to be resumed. Changes nothing.
    ///
    /// # Errors
    /// If it holds an unfinished run that may not be replaced, or there is nothing to resume.
    pub fn open(path: &Path, model: &ModelConfig, earlier: Earlier) -> Result<(Self, Option<Snapshot>)> {
        let snapshot = match earlier {
            Earlier::Resume => Some(newest(path, model)?),
            Earlier::Overwrite => None,
            Earlier::KeepUnfinished => {
                refuse_unfinished(path)?;
                None
            }
        };
        Ok((Self { path: path.to_owned(), model: model.clone(), log: None, events: Vec::new() }, snapshot))
    }

    /// The run begins, or goes on from `resume`: removes what an earlier run left behind, as far as that goes on no
    /// further, notes the `settings`, and starts the log.
    ///
    /// # Errors
    /// If another run uses the folder, or the system refuses.
    pub fn begin(&mut self, resume: Option<&Snapshot>, settings: &str) -> Result<()> {
        create_folder(&self.path)?;
        let log = self.path.join(LOG_FILE);
        let before = self.lock(&log)?;
        match resume {
            None => checkpoint::clear(&self.path)?,
            Some(snapshot) => {
                checkpoint::remove_unfinished(&self.path)?;
                let step = snapshot.progress.step;
                self.events = read_log(&log).into_iter().take_while(|event| !event.is_after(step)).collect();
                // A kill between checkpoint and adapter leaves the adapter behind by one.
                if snapshot.progress.best.is_none_or(|best| best.step == step) {
                    snapshot.adapter.save(&self.path, &self.model)?;
                }
            }
        }
        write_atomically(&log, |file| self.events.iter().try_for_each(|event| writeln!(file, "{}", json(event))))?;
        self.log = Some(self.lock(&log)?);
        drop(before);
        write_atomically(&self.path.join(SETTINGS_FILE), |file| file.write_all(settings.as_bytes()))
    }

    /// Opens the log for this run alone.
    fn lock(&self, log: &Path) -> Result<File> {
        let opened = OpenOptions::new().create(true).append(true).open(log);
        let file = opened.map_err(|e| Error::io(log, "opening the log", e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
                "another run is using {}; wait for it, or name another folder with --adapter-path",
                self.path.display()
            ))),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Notes an event in the log.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn record(&mut self, event: &TrainEvent) -> Result<()> {
        self.events.push(event.clone());
        let Some(log) = &mut self.log else { return Ok(()) };
        log.write_all(format!("{}\n", json(event)).as_bytes())
            .map_err(|e| Error::io(self.path.join(LOG_FILE), "writing the log", e))
    }

    /// Saves a checkpoint and, if it `is_best`, its adapter as that of the folder. Returns the checkpoint's path.
    ///
    /// # Errors
    /// Where the system refuses; what was saved before is then still there.
    pub fn save(&mut self, snapshot: &Snapshot, is_best: bool) -> Result<String> {
        let path = checkpoint::save(&self.path, snapshot, &self.model)?;
        if is_best {
            snapshot.adapter.save(&self.path, &self.model)?;
        }
        Ok(path.display().to_string())
    }

    /// The adapter that is kept: that of the best evaluation, or the last one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn adapter(&self) -> Result<StoredAdapter> {
        StoredAdapter::load(&self.path, &self.model)
    }

    /// After an error of the file system: tells what can be gone on from.
    pub fn say_what_is_left(&self, error: &Error) {
        let newest = checkpoint::list(&self.path).ok().and_then(|mut all| all.pop());
        if let Some((_, path)) = newest.filter(|_| !output::reader_is_gone(error)) {
            output::note(&format!("{} is intact; once there is room, go on with --resume", path.display()));
        }
    }

    /// Everything that happened, also before a resume.
    pub fn events(&self) -> &[TrainEvent] {
        &self.events
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The newest complete checkpoint; warns of those that are not.
fn newest(path: &Path, model: &ModelConfig) -> Result<Snapshot> {
    if checkpoint::list(path)?.is_empty() {
        return Err(Error::Usage(format!(
            "{} holds no checkpoint to resume from; leave --resume out to start, or name the folder of the run with \
             --adapter-path",
            path.display()
        )));
    }
    checkpoint::load_newest(path, model, |skipped| {
        output::note(&format!("warning: {skipped}; going back to the checkpoint before"));
    })
}

/// An error if `path` holds a run that was not finished.
fn refuse_unfinished(path: &Path) -> Result<()> {
    let Some((step, _)) = checkpoint::list(path)?.pop() else { return Ok(()) };
    let ends = |event: &TrainEvent| matches!(event, TrainEvent::Done { .. } | TrainEvent::Diverged { .. });
    if read_log(&path.join(LOG_FILE)).iter().any(ends) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} holds an unfinished run, saved at step {step}: add --resume to go on with it, --overwrite to start anew, or \
         name another folder with --adapter-path",
        path.display()
    )))
}

/// The events of a log; the last line may be cut where the program was killed.
fn read_log(path: &Path) -> Vec<TrainEvent> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let lines = BufReader::new(file).lines().map_while(std::io::Result::ok);
    lines.map_while(|line| serde_json::from_str(&line).ok()).collect()
}

fn json(event: &TrainEvent) -> String {
    serde_json::to_string(event).expect("JSON of plain values")
}
