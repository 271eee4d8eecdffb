//! Flags and steps that several subcommands share.

use super::{download, output};
use crate::adapter::StoredAdapter;
use crate::data::{DataFile, Dataset, RowOptions, Splits, load_rows};
use crate::demo::{self, Set};
use crate::device::{self, SelectedDevice};
use crate::error::{Error, Result};
use crate::model::{Model, ModelConfig};
use crate::source::hub::HubName;
use crate::source::{BaseDtype, HeldDtype, Holding, Source};
use crate::text::Codec;
use crate::train::TrainConfig;
use crate::write;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::{Path, PathBuf};

/// How the names of the bundled data sets begin.
const BUNDLED: &str = "demo/";

/// Which model.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model: a Hugging Face folder, a .gguf file, or a name on the hub (org/name, org/name/file.gguf);
    /// demo is the bundled one
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Branch, tag or commit of a model on the hub
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
}

/// Which data, and how its rows become tokens.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// Data: a .jsonl, .json, .csv, .tsv or .txt file, or a folder with a train file of these kinds and, if you like,
    /// valid and test files; demo/style and demo/facts are bundled
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Train (and evaluate) answers only, not prompts
    #[arg(long)]
    mask_prompt: bool,
    /// Tokens after which a row is cut; never more than the model was made for
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().max_seq_length)]
    pub max_seq_length: usize,
}

/// Which finished adapter.
#[derive(Debug, clap::Args)]
pub struct AdapterArgs {
    /// Folder of an adapter that finetune wrote
    #[arg(long, value_name = "FOLDER")]
    adapter_path: Option<PathBuf>,
}

/// Which device.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, gpu or gpu:N (see diablo devices)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// How the base's matrices are held there: f32 (fastest), f16, or as they are in the file (GGUF's Q8_0, Q4_0, Q4_1,
    /// Q4_K, Q6_K; f16, bf16); auto: f32 where that fits half of the free memory
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = BaseDtype::Auto)]
    base_dtype: BaseDtype,
}

impl ModelArgs {
    /// Opens the model: headers, tokenizer and chat template, but no weights. One on the hub is fetched first.
    pub async fn open(&self) -> Result<Opened> {
        let path = self.path()?;
        if path.as_os_str() == demo::NAME {
            return Opened::new(demo::source().await?);
        }
        let Some(name) = HubName::find(path, self.revision.as_deref())? else {
            return Opened::new(Source::open(path).await?);
        };
        let mut source = Source::open(download::fetch(&name)?).await?;
        source.name = name.to_string(); // it means more than a path in the cache, in adapters too
        Opened::new(source)
    }

    /// The model's path, or its name on the hub.
    pub fn path(&self) -> Result<&Path> {
        let files = "config.json, tokenizer.json, model.safetensors";
        let missing = || {
            Error::Usage(format!(
                "--model is missing; give a Hugging Face folder ({files}), a .gguf file, org/name on the hub, or demo"
            ))
        };
        self.model.as_deref().ok_or_else(missing)
    }
}

impl DataArgs {
    /// The data's path.
    pub fn path(&self) -> Result<&Path> {
        let missing = || Error::Usage("--data is missing; give a .jsonl file, or a folder with train.jsonl".into());
        self.data.as_deref().ok_or_else(missing)
    }

    /// All files of the data, or the bundled data set that it names.
    pub fn splits(&self) -> Result<Splits> {
        self.bundled()?.map_or_else(|| load_rows(self.path()?), Ok)
    }

    /// The files of the bundled data set that the path names, if it names one.
    pub fn bundled(&self) -> Result<Option<Splits>> {
        let path = self.path()?;
        let name = path.to_str().filter(|name| name.starts_with(BUNDLED) && !path.exists());
        name.map(|name| Ok(Set::from_name(name)?.splits())).transpose()
    }

    /// How rows become tokens for this model, which was made for texts of a certain length.
    fn options(&self, model: &Opened) -> RowOptions {
        RowOptions {
            mask_prompt: self.mask_prompt,
            max_seq_length: self.max_seq_length.min(model.source.config.max_position_embeddings),
            eos_id: model.codec.eos_id,
        }
    }

    /// The rows of `file`, or the first `rows` of them, as tokens. Says how many had to be cut.
    pub fn dataset(&self, file: &DataFile, rows: Option<usize>, model: &Opened) -> Result<Dataset> {
        let options = self.options(model);
        let data = Dataset::from_file(file, rows, &model.codec.tokenizer, model.codec.template.as_ref(), &options)?;
        model.codec.check_data(&data)?;
        let (cut, rows) = (data.summary.truncated, data.summary.rows);
        if cut > 0 {
            let limit = options.max_seq_length;
            let why = if limit < self.max_seq_length { "what the model takes" } else { "--max-seq-length" };
            let place = &file.place;
            output::note(&format!("warning: {place}: {cut} of {rows} rows are cut after {limit} tokens ({why})"));
        }
        Ok(data)
    }
}

impl AdapterArgs {
    /// Whether there is one.
    pub fn is_given(&self) -> bool {
        self.adapter_path.is_some()
    }

    /// Reads the adapter, if there is one, and checks it against `model`.
    pub fn load(&self, model: &ModelConfig) -> Result<Option<StoredAdapter>> {
        self.adapter_path.as_deref().map(|folder| StoredAdapter::load(folder, model)).transpose()
    }

    /// The same where there must be one.
    pub fn required(&self, model: &ModelConfig) -> Result<StoredAdapter> {
        let missing = || Error::Usage("--adapter-path is missing; give the folder that finetune wrote".into());
        self.load(model)?.ok_or_else(missing)
    }
}

impl DeviceArgs {
    /// How the base is to be held on `device`.
    pub fn holding(&self, model: &Opened, device: &SelectedDevice) -> Result<Holding> {
        model.source.holding(self.base_dtype, &device.info, device::available_memory())
    }

    /// Starts the device, and on a terminal says which one it is and why, unless `quiet`.
    pub async fn select(&self, quiet: bool) -> Result<SelectedDevice> {
        let device = device::select(self.device.parse()?).await?;
        if !quiet {
            output::status(&describe(&device));
        }
        Ok(device)
    }
}

impl ValueEnum for BaseDtype {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Of(HeldDtype::F32), Self::Of(HeldDtype::F16), Self::Of(HeldDtype::File)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Of(dtype) => dtype.name(),
        }))
    }
}

/// `gpu:0, Some GPU (Vulkan): the first real GPU`.
pub fn describe(device: &SelectedDevice) -> String {
    let info = &device.info;
    format!("{}, {} ({}): {}", info.id, info.name, info.backend, device.reason)
}

/// A model that is ready for text; its weights are still where they were.
pub struct Opened {
    pub source: Source,
    pub codec: Codec,
}

impl Opened {
    fn new(source: Source) -> Result<Self> {
        Ok(Self { codec: Codec::new(&source)?, source })
    }

    /// Reads the weights onto `device`, to be held there as `holding` says.
    pub async fn load(&self, device: &SelectedDevice, holding: &Holding) -> Result<Model> {
        self.source.check_fits(&device.info)?;
        Model::load_with(&self.source, &device.device, holding, |_, _| ()).await
    }

    /// `as in the file (Q4_1), 91.7 MB: asked for`.
    pub fn held(&self, holding: &Holding) -> String {
        let form = match holding.dtype {
            HeldDtype::File => format!("as in the file ({})", self.source.dtype_name()),
            dtype => dtype.name().to_owned(),
        };
        format!("{form}, {}: {}", write::bytes(self.source.held_bytes(holding.dtype)), holding.reason)
    }
}

/// An error unless the folder `path` can be written: there, or in the nearest folder above it. Leaves nothing behind.
pub fn check_writable(path: &Path) -> Result<()> {
    let above = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    let probe = above.join(format!(".diablo-{}.tmp", std::process::id()));
    std::fs::File::create_new(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(|e| Error::io(path, "preparing the folder", e))
}
