//! What the page asks for.

use crate::adapter::Method;
use crate::generate::Sampling;
use crate::model::Projection;
use crate::text::Message;
use crate::train::TrainConfig;
use serde::{Deserialize, Serialize};

/// What the page asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Start the device and check every kernel on it. → `Event::Started`, `Event::Stored`, and
    /// `Event::Unfinished` if a run was cut off.
    Start,
    /// Open a model. Attached: its files, where it comes from the user's disk. → `Event::Model`
    OpenModel {
        /// Where it comes from.
        source: ModelSource,
    },
    /// Stop a download that is under way; what is there is kept, and goes on from there the next time.
    CancelOpen,
    /// Remove a stored model. → `Event::Stored`
    DeleteStored {
        /// As [`StoredModel::name`].
        name: String,
    },
    /// Read data, as the open model will see it. Attached: files, where it comes from the user's disk. → `Event::Data`
    SetData {
        /// Where it comes from.
        source: DataSource,
        /// How rows become examples.
        options: DataOptions,
    },
    /// What a run with these settings would take. → `Event::Plan`
    Plan {
        /// Settings of the run.
        settings: Settings,
    },
    /// Train on the data with these settings, from the start. → `Event::Training` …, `Event::Idle`
    Train {
        /// Settings of the run.
        settings: Settings,
    },
    /// Go on with the run that was cut off, its model, data and settings included.
    /// → `Event::Model`, `Event::Data`, `Event::Training` …, `Event::Idle`
    Continue,
    /// Forget the run that was cut off.
    Discard,
    /// Hold training after this step, with the state saved. → `Event::Paused`
    Pause,
    /// Go on after a pause.
    Resume,
    /// End training after this step, with the state saved; its adapter is there to be talked to.
    Stop,
    /// Save the state after this step: the page is about to be hidden.
    Save,
    /// Let the model answer; while it trains, with the adapter as it is. → `Event::Token` …, `Event::Answered` for
    /// each side
    Generate {
        /// Comes back in the events.
        id: u32,
        /// The conversation, the question last.
        messages: Vec<Message>,
        /// Which of the two answer.
        sides: Vec<Side>,
        /// The most tokens of an answer.
        max_tokens: usize,
        /// How a token is drawn.
        sampling: Sampling,
    },
    /// End the answer that is being given.
    StopGenerating,
    /// The adapter as a zip of its folder. → `Event::Adapter`
    DownloadAdapter,
    /// Take an adapter from attached files: the zip of an adapter folder, or the two files of one.
    /// → `Event::AdapterLoaded`
    UploadAdapter,
}

impl Request {
    /// Its tag, by which `Event::Failed` calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::OpenModel { .. } => "open_model",
            Self::CancelOpen => "cancel_open",
            Self::DeleteStored { .. } => "delete_stored",
            Self::SetData { .. } => "set_data",
            Self::Plan { .. } => "plan",
            Self::Train { .. } => "train",
            Self::Continue => "continue",
            Self::Discard => "discard",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Save => "save",
            Self::Generate { .. } => "generate",
            Self::StopGenerating => "stop_generating",
            Self::DownloadAdapter => "download_adapter",
            Self::UploadAdapter => "upload_adapter",
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ModelSource {
    /// The bundled model.
    Demo,
    /// The attached files: those of a Hugging Face folder, or one GGUF file.
    Files,
    /// The hub, or this browser's storage where it is there already.
    Hub {
        /// `org/name`, or `org/name/file.gguf`.
        name: String,
        /// Branch, tag or commit; `main` if empty.
        revision: String,
    },
    /// This browser's storage.
    Stored {
        /// As [`StoredModel::name`].
        name: String,
    },
}

/// Where data comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum DataSource {
    /// A bundled data set.
    Demo {
        /// `demo/facts` or `demo/style`.
        name: String,
    },
    /// Text that was pasted or typed.
    Text {
        /// The text.
        text: String,
        /// Its form by a file's ending: `jsonl`, `json`, `csv`, `tsv` or `txt`.
        kind: String,
    },
    /// The attached files: one, or a train file with a valid and a test file beside it.
    Files,
}

/// How rows become examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataOptions {
    /// Train answers only.
    pub mask_prompt: bool,
    /// Tokens after which a row is cut.
    pub max_seq_length: usize,
    /// Share of the rows set apart for validation, where there are no validation rows.
    pub val_split: f64,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self { mask_prompt: true, max_seq_length: TrainConfig::default().max_seq_length, val_split: 0.1 }
    }
}

/// Settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What is trained.
    pub method: Method,
    /// Which matrices.
    pub modules: Vec<Projection>,
    /// Rate of dropout on the adapter's input.
    pub dropout: f64,
    /// How it is trained.
    pub train: TrainConfig,
    /// Questions that are answered at every evaluation.
    pub prompts: Vec<String>,
}

/// The model as it was, or with the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Without the adapter.
    Base,
    /// With it.
    Tuned,
}
