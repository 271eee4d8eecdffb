//! What the worker tells.

use super::{ModelSource, Settings, Side};
use crate::adapter::MatrixNorms;
use crate::model::Projection;
use crate::train::TrainEvent;
use serde::{Deserialize, Serialize};

/// What the worker tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The device is ready, and every kernel computes what it should.
    Started(DeviceReport),
    /// What this browser's storage holds.
    Stored {
        /// The models, by name.
        models: Vec<StoredModel>,
        /// Bytes that this site uses.
        used: u64,
        /// Bytes that the browser allows it; 0 if it does not tell.
        quota: u64,
    },
    /// A run was cut off by a reload or a crash, and can go on.
    Unfinished(UnfinishedRun),
    /// Something long goes on.
    Progress {
        /// What, for people: "downloading model.safetensors".
        what: String,
        /// How much is done, in bytes, steps or tensors.
        done: u64,
        /// Of how much; 0 if that is not known.
        total: u64,
    },
    /// The model is open.
    Model(ModelReport),
    /// The data was read.
    Data(DataReport),
    /// What a run would take.
    Plan(PlanReport),
    /// What happens in training.
    Training(TrainEvent),
    /// How large the update of every block is by now.
    Norms {
        /// Steps done.
        step: usize,
        /// Matrix by matrix.
        matrices: Vec<MatrixNorms>,
    },
    /// What the model answers by now.
    Sample {
        /// Steps done.
        step: usize,
        /// Which of [`Settings::prompts`].
        prompt: usize,
        /// The answer.
        text: String,
    },
    /// Training holds; the state is saved, if the storage took it.
    Paused {
        /// Steps done.
        step: usize,
    },
    /// Training goes on after a pause.
    Resumed {
        /// Steps done.
        step: usize,
    },
    /// Nothing trains any more: done, stopped or failed.
    Idle {
        /// Whether there is an adapter to talk to and to download.
        has_adapter: bool,
    },
    /// A piece of an answer.
    Token {
        /// Of the request.
        id: u32,
        /// Who answers.
        side: Side,
        /// The text that is new.
        text: String,
    },
    /// An answer is complete.
    Answered {
        /// Of the request.
        id: u32,
        /// Who answered.
        side: Side,
        /// How many tokens.
        tokens: usize,
        /// In how many seconds.
        seconds: f64,
        /// Whether `Request::StopGenerating` ended it.
        stopped: bool,
    },
    /// The adapter, attached as a `Blob`.
    Adapter {
        /// The file's name.
        name: String,
    },
    /// The uploaded adapter is on the model.
    AdapterLoaded {
        /// What it is, for people: "diablo, 16 blocks on q_proj, …".
        what: String,
        /// Its norms.
        matrices: Vec<MatrixNorms>,
    },
    /// A request failed; nothing that was there is lost.
    Failed {
        /// What was asked, as `Request` is tagged: `open_model`.
        request: String,
        /// What is wrong, where, why, and what to do; one line.
        message: String,
    },
    /// The worker cannot go on: no WebGPU, a kernel that is wrong, a lost device, a bug. Only a new worker helps.
    Broken {
        /// What is wrong, and what to do.
        message: String,
        /// Why.
        cause: Cause,
    },
}

/// Why a worker is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The browser has no WebGPU, or gives no adapter.
    NoWebGpu,
    /// A kernel does not compute what its twin does, or a shader was refused.
    Kernel,
    /// The device was lost. A new worker can `Request::Continue`.
    DeviceLost,
    /// A bug of this program.
    Bug,
}

/// The device, and what its check gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// As the browser names it.
    pub name: String,
    /// Whether it is a processor that poses as a GPU: slow.
    pub is_software: bool,
    /// Bytes of the largest tensor.
    pub max_tensor_bytes: u64,
    /// Names of the limits that matter, with their values.
    pub limits: Vec<(String, u64)>,
    /// The kernels: name, form, distance to the twin.
    pub kernels: Vec<(String, String, f64)>,
    /// Milliseconds of a launch.
    pub launch_ms: f64,
    /// Operations a second of a dense matmul, in units of 10⁹.
    pub matmul_gflops: f64,
    /// Milliseconds of the whole check.
    pub check_ms: f64,
}

/// A model in this browser's storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    /// By which it is opened.
    pub name: String,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Whether all of it is there; a download that broke goes on when the model is opened.
    pub is_complete: bool,
}

/// A run that was cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnfinishedRun {
    /// Its model.
    pub model: ModelSource,
    /// The model's name, for people.
    pub model_name: String,
    /// The data's name, for people.
    pub data_name: String,
    /// Steps of its last save.
    pub step: usize,
    /// Steps in all.
    pub iters: usize,
    /// Its settings.
    pub settings: Settings,
}

/// An open model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// For people.
    pub name: String,
    /// Number of weights.
    pub parameters: u64,
    /// Number format in the file.
    pub dtype: String,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Most positions.
    pub max_positions: usize,
    /// Whether it has a chat template, without which it only continues text.
    pub has_chat_template: bool,
    /// Why the user's files could not be copied into this browser's storage, where they could not.
    pub not_kept: Option<String>,
    /// Bytes on the device.
    pub device_bytes: u64,
    /// The settings that are the default for this model, and for the bundled data if it is the bundled model.
    pub defaults: Settings,
    /// Input and output width of each projection that can be adapted.
    pub sizes: Vec<(Projection, [usize; 2])>,
}

/// Data as the open model will see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataReport {
    /// For people.
    pub name: String,
    /// Rows to train on, for validation, for the test.
    pub rows: [usize; 3],
    /// Tokens to train on.
    pub tokens: usize,
    /// Those of them that are predicted.
    pub trained_tokens: usize,
    /// Tokens of the longest row.
    pub longest: usize,
    /// Rows that were cut at the longest length allowed.
    pub truncated: usize,
    /// The first rows.
    pub preview: Vec<PreviewRow>,
    /// Questions of held-out rows, to be answered as training goes.
    pub prompts: Vec<String>,
    /// What stands out, for people; the rows are used all the same.
    pub warnings: Vec<String>,
}

/// A row as the model will see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// Its tokens: text, and whether it is trained.
    pub tokens: Vec<(String, bool)>,
}

/// What a run would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Trained values.
    pub trainable: u64,
    /// Share of the model that they are.
    pub share: f64,
    /// Bytes on the device: weights; adapter with moments and gradients; activations; what exists for a moment only.
    pub bytes: [u64; 4],
    /// Seconds of a step, estimated from the device's check and, once it has trained, from its steps.
    pub step_seconds: f64,
    /// Passes over the data.
    pub epochs: f64,
}
