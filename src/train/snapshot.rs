//! A run at rest: everything that is needed to go on exactly where it stood.

use super::config::TrainConfig;
use super::guard::Watch;
use crate::adapter::{CONFIG_FILE, Slot, StoredAdapter, WEIGHTS_FILE, slots};
use crate::data::Cursor;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::weights::{plain, safetensors};
use ::safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

/// AdamW's moments inside a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The rest of the state inside a checkpoint.
pub const STATE_FILE: &str = "trainer_state.json";
/// The number of the format; a change that older programs cannot read raises it.
const FORMAT: u32 = 1;
/// The names of the first and the second moment in the file, as in PyTorch.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done before it.
    pub step: usize,
    /// Its loss.
    pub loss: f64,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RunProgress {
    /// Optimizer steps done.
    pub step: usize,
    /// Forward passes that drew a dropout mask.
    pub passes: u64,
    /// Where the next batch begins.
    pub cursor: Cursor,
    /// Tokens read, without padding.
    pub tokens: usize,
    /// Time spent, in seconds.
    pub seconds: f64,
    /// Loss of the last step.
    pub loss: Option<f64>,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Steps done before the last evaluation.
    pub evaluated: Option<usize>,
    /// Evaluations since the best.
    pub evaluations_without_gain: usize,
    /// What the losses were like.
    pub loss_watch: Watch,
    /// What the gradient norms were like.
    pub norm_watch: Watch,
}

/// What a run is, so that it is not resumed as another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// Version of this program and what it was built for.
    pub build: String,
    /// The device, as it names itself.
    pub device: String,
    /// A hash over some of the base's weights.
    pub model: String,
    /// A hash over all tokens and labels.
    pub data: String,
    /// The settings.
    pub config: TrainConfig,
}

/// A run at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The adapter.
    pub adapter: StoredAdapter,
    /// AdamW's first and second moments, one list for each slot of the adapter.
    pub moments: [Vec<Vec<f32>>; 2],
    /// How far it has come.
    pub progress: RunProgress,
    /// What it is.
    pub identity: RunIdentity,
}

#[derive(Serialize, Deserialize)]
struct State {
    format: u32,
    #[serde(flatten)]
    identity: RunIdentity,
    progress: RunProgress,
}

impl Snapshot {
    /// The files of a checkpoint, by name.
    ///
    /// # Errors
    /// If the values do not have the sizes of the adapter's slots.
    pub fn to_files(&self, model: &ModelConfig) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let slots = slots(&self.adapter.config, model);
        let tensors = MOMENTS.iter().zip(&self.moments).flat_map(|(moment, values)| {
            slots
                .iter()
                .zip(values)
                .map(move |(slot, values)| (moment_name(moment, slot), slot.shape.as_slice(), values.as_slice()))
        });
        let optimizer = safetensors::to_bytes(tensors, &[], OPTIMIZER_FILE)?;
        let state = State { format: FORMAT, identity: self.identity.clone(), progress: self.progress };
        let mut state = serde_json::to_vec_pretty(&state).expect("JSON of plain values");
        state.push(b'\n');
        let mut files: Vec<_> = self.adapter.to_files(model)?.into();
        files.extend([(OPTIMIZER_FILE, optimizer), (STATE_FILE, state)]);
        Ok(files)
    }

    /// Reads the files of a checkpoint, which `file` gives by name, and checks them against `model`; `place` names the
    /// checkpoint in errors.
    ///
    /// # Errors
    /// What `file` returns, and on broken files, another format or another base: a checkpoint is read whole or not
    /// at all.
    pub fn from_files(mut file: impl FnMut(&str) -> Result<Vec<u8>>, model: &ModelConfig, place: &str) -> Result<Self> {
        let state_place = format!("{place}/{STATE_FILE}");
        let state = file(STATE_FILE)?;
        let wrong = |what: String| Error::adapter(&state_place, what);
        let json: serde_json::Value =
            serde_json::from_slice(&state).map_err(|e| wrong(format!("is not valid JSON: {e}")))?;
        if json["format"] != FORMAT {
            return Err(wrong(format!(
                "has format {}, and this program reads format {FORMAT}; resume with the program that wrote it",
                plain(&json["format"].to_string())
            )));
        }
        let State { identity, progress, .. } = serde_json::from_value(json)
            .map_err(|e| wrong(format!("does not hold the state of a run: {}", plain(&e.to_string()))))?;
        let adapter = StoredAdapter::from_files(&file(CONFIG_FILE)?, &file(WEIGHTS_FILE)?, model, place)?;
        let moments = read_moments(&file(OPTIMIZER_FILE)?, &adapter, model, &format!("{place}/{OPTIMIZER_FILE}"))?;
        Ok(Self { adapter, moments, progress, identity })
    }
}

fn moment_name(moment: &str, slot: &Slot) -> String {
    format!("{moment}.{}", slot.name)
}

fn read_moments(bytes: &[u8], adapter: &StoredAdapter, model: &ModelConfig, place: &str) -> Result<[Vec<Vec<f32>>; 2]> {
    let wrong = |what: String| Error::adapter(place, what);
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|e| wrong(format!("is not a safetensors file: {}", plain(&e.to_string()))))?;
    let slots = slots(&adapter.config, model);
    if tensors.len() != 2 * slots.len() {
        return Err(wrong(format!("holds {} tensors, expected {}", tensors.len(), 2 * slots.len())));
    }
    let read = |moment: &str| {
        let slot = |slot: &Slot| {
            let name = moment_name(moment, slot);
            let tensor = tensors.tensor(&name).map_err(|_| wrong(format!("tensor \"{name}\" is missing")))?;
            if tensor.shape() != slot.shape || tensor.dtype() != Dtype::F32 {
                let (shape, dtype) = (tensor.shape(), tensor.dtype());
                return Err(wrong(format!("tensor \"{name}\" is {dtype:?} {shape:?}, expected F32 {:?}", slot.shape)));
            }
            let values: Vec<f32> =
                tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(values),
                false => Err(wrong(format!("tensor \"{name}\" holds a value that is not finite"))),
            }
        };
        slots.iter().map(slot).collect::<Result<Vec<_>>>()
    };
    let [first, second] = MOMENTS;
    Ok([read(first)?, read(second)?])
}

impl RunIdentity {
    /// What this program calls itself.
    pub fn build() -> String {
        format!("diablo {} {}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS)
    }

    /// Whether a run that is `self` may go on from a snapshot of `saved`; what keeps it from being exact, otherwise.
    ///
    /// # Errors
    /// If model, data or a setting that shapes the run differ, with the name of what differs.
    pub fn continues(&self, saved: &Self) -> Result<Vec<String>> {
        let refuse = |what: String| Err(Error::Usage(format!("cannot resume: {what}")));
        if self.model != saved.model {
            return refuse("the checkpoint was made with another model, or with another --base-dtype".into());
        }
        if self.data != saved.data {
            return refuse(
                "the training data, or how its rows become tokens, differs from the checkpoint's; \
                 give the same --data, or start anew without --resume"
                    .into(),
            );
        }
        let (mine, theirs) = (settings(&self.config), settings(&saved.config));
        for (key, value) in &mine {
            if !MAY_CHANGE.contains(&key.as_str()) && theirs.get(key) != Some(value) {
                let flag = key.replace('_', "-");
                let saved = theirs.get(key).map_or("missing".into(), serde_json::Value::to_string);
                return refuse(format!("{flag} is {value}, but {saved} in the checkpoint"));
            }
        }
        let mut notes = Vec::new();
        if self.config.iters != saved.config.iters {
            notes.push(format!("{} steps in all instead of {}", self.config.iters, saved.config.iters));
        }
        for (what, mine, theirs) in [("build", &self.build, &saved.build), ("device", &self.device, &saved.device)] {
            if mine != theirs {
                notes.push(format!("another {what} ({theirs} before)"));
            }
        }
        Ok(notes)
    }
}

/// Settings that a resumed run may change: they do not alter what a step computes, except `iters`, which ends it.
const MAY_CHANGE: [&str; 6] = ["iters", "steps_per_eval", "val_batches", "patience", "save_every", "grad_checkpoint"];

/// The settings by name, as they come back from a file.
fn settings(config: &TrainConfig) -> serde_json::Map<String, serde_json::Value> {
    // Through text, since that is what the saved ones went through.
    let text = serde_json::to_string(config).expect("JSON of plain values");
    serde_json::from_str(&text).expect("what was just written")
}

#[cfg(test)]
pub(in crate::train) mod tests;
