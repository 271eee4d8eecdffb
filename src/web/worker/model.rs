//! Opening a model, from wherever it comes.

use super::fetch::fetch;
use super::inbox::Inbox;
use super::post::{post, scope};
use crate::adapter::Method;
use crate::demo::{self, Set};
use crate::device::{DeviceInfo, SelectedDevice};
use crate::error::{Error, Result};
use crate::model::{Model, ModelConfig, Projection};
use crate::source::{Holding, Source};
use crate::text::{Codec, Message};
use crate::train::TrainConfig;
use crate::web::hub::{Cancel, Hub, Progress, store};
use crate::web::protocol::{Event, ModelReport, ModelSource, Settings};
use crate::weights::Storage;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::File;
use web_time::{Duration, Instant};

/// The files of the bundled model, beside the page.
const DEMO_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
/// Steps between saves in a browser, where a tab may go at any moment.
const SAVE_EVERY: usize = 20;
/// Time between two messages about a download or a copy.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A model whose weights are on the device; they are kept apart, since a run writes into them.
pub struct OpenModel {
    /// Where it comes from.
    pub from: ModelSource,
    /// For people, and in adapters.
    pub name: String,
    pub codec: Codec,
    pub config: ModelConfig,
    /// Where its weights are.
    pub device: DeviceInfo,
    pub report: ModelReport,
}

/// A model that can be opened: all but its weights was read and checked.
pub struct FoundModel {
    from: ModelSource,
    source: Source,
    codec: Codec,
    /// The user's files, where it comes from those.
    picked: Vec<(String, File)>,
}

impl FoundModel {
    /// Fetches it, where it is not here yet, and reads what it is.
    pub async fn find(
        from: ModelSource,
        attachments: &[JsValue],
        device: &SelectedDevice,
        inbox: &Inbox,
    ) -> Result<Self> {
        let picked = if from == ModelSource::Files { files(attachments)? } else { Vec::new() };
        let source = source(&from, &picked, inbox).await.map_err(|error| match error {
            Error::Interrupted => {
                Error::Usage("stopped; what has arrived is kept, and the next try goes on from there".into())
            }
            error => error,
        })?;
        source.check_fits(&device.info)?;
        let codec = Codec::new(&source)?;
        Ok(Self { from, source, codec, picked })
    }
}

impl OpenModel {
    /// Reads the model onto `device`.
    pub async fn open(found: FoundModel, device: &SelectedDevice, inbox: &Inbox) -> Result<(Self, Model)> {
        let FoundModel { from, source, codec, picked } = found;
        let what = format!("loading {}", source.name);
        let progress =
            |done, total| post(&Event::Progress { what: what.clone(), done: done as u64, total: total as u64 });
        let holding = Holding::f32(device.info.max_tensor_bytes);
        let model = Model::load_with(&source, &device.device, &holding, progress).await?;
        let mut report = report(&from, &source, &codec);
        let from = match from {
            ModelSource::Files => match keep(&source.name, &picked, inbox).await {
                Ok(()) => ModelSource::Stored { name: source.name.clone() },
                Err(error) => {
                    let is_stopped = matches!(error, Error::Interrupted);
                    let why = if is_stopped { "the copy was stopped".to_owned() } else { error.to_string() };
                    report.not_kept = Some(why);
                    ModelSource::Files
                }
            },
            from => from,
        };
        let config = model.config.clone();
        let device = device.info.clone();
        Ok((Self { from, name: source.name, codec, config, device, report }, model))
    }

    /// The tokens of a conversation, or of a text where the model knows no conversations.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match &self.codec.template {
            Some(_) => self.codec.encode_chat(messages),
            None => self.codec.encode(&messages.iter().filter_map(Message::text).collect::<Vec<_>>().join("\n")),
        }
    }
}

/// Copies the user's files into the browser's storage, so that the model opens without them from now on.
async fn keep(name: &str, picked: &[(String, File)], inbox: &Inbox) -> Result<()> {
    let cancel = cancellable(inbox);
    store::keep(name, picked, &mut Told::new("keeping"), &cancel).await
}

/// What ends the thing that begins now, where the user wants it.
fn cancellable(inbox: &Inbox) -> Cancel {
    let cancel = Cancel::default();
    inbox.wishes().cancel.replace(cancel.clone());
    cancel
}

async fn source(from: &ModelSource, picked: &[(String, File)], inbox: &Inbox) -> Result<Source> {
    let cancel = cancellable(inbox);
    let mut progress = Told::new("downloading");
    match from {
        ModelSource::Demo => {
            let mut files = Vec::new();
            for name in DEMO_FILES {
                let bytes = fetch(&format!("demo/model/{name}")).await?;
                files.push((name.to_owned(), Storage::from_bytes(format!("{}/{name}", demo::NAME), bytes)));
            }
            Source::from_files(demo::NAME, files).await
        }
        ModelSource::Files => {
            let storage = |(name, file): &(String, File)| (name.clone(), Storage::from_blob(name, file.clone().into()));
            Source::from_files(files_name(picked.iter().map(|(_, file)| file)), picked.iter().map(storage).collect())
                .await
        }
        ModelSource::Hub { name, revision } => {
            let files = hub().open(name, revision, &mut progress, &cancel).await?;
            Source::from_files(name.trim(), files).await
        }
        ModelSource::Stored { name } => {
            let files = hub().open_stored(name, &mut progress, &cancel).await?;
            Source::from_files(name.clone(), files).await
        }
    }
}

/// The hub, or the one that the page's address names: `?hub=https://mirror.example`.
fn hub() -> Hub {
    let search = scope().location().search();
    let named = web_sys::UrlSearchParams::new_with_str(&search).ok().and_then(|search| search.get("hub"));
    named.map_or_else(Hub::default, |endpoint| Hub { endpoint, ..Hub::default() })
}

/// Tells the page how far something is.
struct Told {
    doing: &'static str,
    last: Option<Instant>,
}

impl Told {
    fn new(doing: &'static str) -> Self {
        Self { doing, last: None }
    }
}

impl Progress for Told {
    fn downloaded(&mut self, file: &str, done: u64, total: u64) {
        if done >= total || self.last.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.last = Some(Instant::now());
            post(&Event::Progress { what: format!("{} {file}", self.doing), done, total });
        }
    }

    fn waiting(&mut self, why: &str, pause: Duration) {
        let what = format!("the connection broke ({why}); going on in {:.0} s", pause.as_secs_f64());
        post(&Event::Progress { what, done: 0, total: 0 });
    }
}

/// The attached files that are of a model, by their names without folders.
fn files(attachments: &[JsValue]) -> Result<Vec<(String, File)>> {
    let known = |name: &str| [".json", ".jinja", ".safetensors", ".gguf"].iter().any(|end| name.ends_with(end));
    let files = || attachments.iter().filter_map(|file| file.dyn_ref::<File>());
    let mut found: Vec<_> = files().map(|file| (file.name(), file.clone())).filter(|(name, _)| known(name)).collect();
    // One GGUF file is a model by itself, whatever lies beside it.
    if let Some(at) = found.iter().position(|(name, _)| name.ends_with(".gguf")) {
        found = vec![found.swap_remove(at)];
    }
    if found.is_empty() {
        let what = "no model among these files; a model is a .gguf file, or config.json, tokenizer.json and \
                    model.safetensors together";
        return Err(Error::model(files_name(files()), what));
    }
    Ok(found)
}

/// The folder that the files were picked from, or the largest one's name.
fn files_name<'a>(files: impl Iterator<Item = &'a File>) -> String {
    let Some(largest) = files.max_by(|a, b| a.size().total_cmp(&b.size())) else { return "the files".into() };
    let path = js_sys::Reflect::get(largest, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
    let folder = path.as_deref().and_then(|path| path.split_once('/')).map(|(folder, _)| folder.to_owned());
    folder.unwrap_or_else(|| largest.name())
}

fn report(from: &ModelSource, source: &Source, codec: &Codec) -> ModelReport {
    let config = &source.config;
    let modules = Projection::DEFAULT.to_vec();
    let is_demo = *from == ModelSource::Demo;
    let set = Set::ALL[0];
    let method = if is_demo { set.adapter().method } else { Method::default_diablo(&modules, config) };
    let mut train = if is_demo { set.settings() } else { TrainConfig::default() };
    train.save_every = SAVE_EVERY;
    train.max_seq_length = train.max_seq_length.min(config.max_position_embeddings);
    ModelReport {
        name: source.name.clone(),
        parameters: source.parameter_count() as u64,
        dtype: source.dtype_name().to_owned(),
        layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        max_positions: config.max_position_embeddings,
        has_chat_template: codec.template.is_some(),
        not_kept: None,
        device_bytes: source.parameter_count() as u64 * 4,
        sizes: Projection::ALL.iter().map(|module| (*module, module.size(config))).collect(),
        defaults: Settings { method, modules, dropout: 0.0, train, prompts: Vec::new() },
    }
}
