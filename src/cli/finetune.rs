//! `diablo finetune`: trains an adapter.

mod flags;
mod plan;

use super::common::{self, DataArgs, DeviceArgs, ModelArgs, Opened};
use super::progress::Progress;
use super::results::{self, Results};
use super::run_folder::{DEFAULT_FOLDER, Earlier, RunFolder};
use super::{interrupt, output};
use crate::adapter::Adapters;
use crate::data::{Dataset, TrainRows};
use crate::device::available_memory;
use crate::error::{Error, Result};
use crate::report::Sample;
use crate::source::check_trained_fits;
use crate::train::{BaseBytes, BatchShape, MemorySetup, Run, TrainEvent, Trainer, check_batches, too_much};
use flags::{AdapterFlags, TrainFlags};
use plan::Plan;
use std::path::PathBuf;

/// Train an adapter for a model on your own data
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo finetune --model SmolLM2-135M-Instruct --data train.jsonl
  diablo finetune --model SmolLM2-135M-Instruct --data chats --mask-prompt --iters 300 --blocks 32")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Folder in which the adapter is saved
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_FOLDER)]
    adapter_path: PathBuf,
    #[command(flatten)]
    adapter: AdapterFlags,
    #[command(flatten)]
    train: TrainFlags,
    /// Go on with the run in --adapter-path from its newest checkpoint
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Train even where the run would take more memory than is free
    #[arg(long)]
    ignore_memory: bool,
    /// Replace a run in --adapter-path that was not finished
    #[arg(long)]
    overwrite: bool,
    /// Share of the training rows set apart for validation, where the data has no validation rows
    #[arg(long, value_name = "SHARE")]
    val_split: Option<f64>,
    /// Held-out questions that base and tuned model answer at the end; 0: none
    #[arg(long, value_name = "N", default_value_t = 4)]
    samples: usize,
    /// Steps between lines about the loss, where there is no terminal
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps_per_report: usize,
    #[command(flatten)]
    device: DeviceArgs,
    /// TOML file of flags, such as: iters = 300; flags given here count more, and paths in it start from this folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// All settings of the run, as such a file.
    #[arg(skip)]
    pub settings: String,
}

/// The rows of a run.
struct Rows {
    train: Dataset,
    valid: Option<Dataset>,
    test: Option<Dataset>,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        // Cheap checks first: nobody wants to hear of a typing error after the weights were read.
        self.model.path()?;
        self.data.path()?;
        let config = self.train.config(self.data.max_seq_length)?;
        let opened = self.model.open().await?;
        let adapter = self.adapter.config(&opened.source.config)?;
        let rows = self.rows(&opened, config.seed)?;
        common::check_writable(&self.adapter_path)?;
        let (folder, resume) = RunFolder::open(&self.adapter_path, &opened.source.config, self.earlier())?;
        let device = self.device.select(true).await?;
        let holding = self.device.holding(&opened, &device)?;
        check_trained_fits(&opened.source.name, &opened.source.config, &adapter, &device.info)?;

        let (train, valid) = (&rows.train, rows.valid.as_ref());
        let dealt = TrainRows::new(train, config.pack_capacity());
        let setup = {
            let model = &opened.source.config;
            let shape = |data: &Dataset| BatchShape { rows: data.summary.rows, length: data.summary.longest };
            let trained = BatchShape { rows: dealt.count(), length: dealt.longest() };
            let all = [Some(trained), valid.map(shape), rows.test.as_ref().map(shape)];
            let (base, device) = (BaseBytes::held(&opened.source, &holding), device.info.kind);
            MemorySetup::of_run(model, base, &adapter, &config, device, all)
        };
        check_batches(&opened.source.name, &setup, &device.info)?;
        self.check_memory(&setup)?;
        let memory = setup.plan();
        let mut progress = Progress::new(json, folder, config.iters, self.steps_per_report);
        let plan = Plan {
            model: &opened,
            adapter: &adapter,
            device: &device,
            holding: &holding,
            train,
            rows: &dealt,
            valid,
            config: &config,
            memory,
        };
        progress.header(&plan.to_json(), &plan.to_text())?;
        let settings = plan.settings();

        let model = opened.load(&device, &holding).await?;
        let batch_size = config.batch_size;
        let mut trainer = Trainer::new(model, opened.source.name.clone(), adapter, config)?;
        interrupt::watch("stopping after this step, and saving")?;
        let run = Run::new(&mut trainer, dealt, valid, &device.info.name, resume.as_ref()).await?;
        // A resumed run holds the base as before, whatever memory is free then.
        let settled = format!("base-dtype = \"{}\"", holding.dtype.name());
        progress.folder().begin(resume.as_ref(), &self.settings.replace("base-dtype = \"auto\"", &settled))?;
        let result = run.train(&mut progress).await;
        progress.finish();
        if let Err(error @ Error::Io { .. }) = &result {
            progress.folder().say_what_is_left(error);
        }
        result?;

        let folder = progress.folder();
        let adapter = folder.adapter()?;
        let model = trainer.into_base();
        let adapters = Adapters::of(adapter.clone(), &model);
        let results = Results { opened: &opened, model: &model, folder, adapter, adapters, batch_size, json };
        self.show(results, &rows, settings).await
    }

    /// An error where the run would take more memory than is free, as far as that is known.
    fn check_memory(&self, setup: &MemorySetup<'_>) -> Result<()> {
        let room = if self.ignore_memory { None } else { available_memory() };
        match room.and_then(|room| too_much(setup, room)) {
            None => Ok(()),
            Some(why) => Err(Error::Device(format!("{why}; --ignore-memory trains all the same"))),
        }
    }

    /// The rows of all splits as tokens.
    fn rows(&self, opened: &Opened, seed: u64) -> Result<Rows> {
        let splits = self.data.splits()?;
        let read = |file| self.data.dataset(file, None, opened);
        let mut rows = Rows {
            train: read(&splits.train)?,
            valid: splits.valid.as_ref().map(read).transpose()?,
            test: splits.test.as_ref().map(read).transpose()?,
        };
        match self.val_split {
            Some(_) if rows.valid.is_some() => {
                return Err(Error::Usage(
                    "--val-split sets training rows apart, but the data has validation rows; leave it out".into(),
                ));
            }
            Some(share) => {
                let (train, valid) = rows.train.split(share, seed)?;
                (rows.train, rows.valid) = (train, Some(valid));
            }
            None => {}
        }
        Ok(rows)
    }

    /// What is shown and written once the steps are done.
    async fn show(&self, mut results: Results<'_>, rows: &Rows, settings: Vec<(String, String)>) -> Result<()> {
        let json = results.json;
        if !json {
            results::show_curve(results.folder.events())?;
        }
        if let Some(test) = &rows.test {
            results.test(test).await?;
        }
        let samples: Vec<Sample> = match rows.test.as_ref().or(rows.valid.as_ref()) {
            Some(held_out) => results.samples(held_out, self.samples).await?,
            None => Vec::new(),
        };
        let report = results.report(&settings, &samples)?;
        if json {
            output::json(&serde_json::json!({"event": "report", "path": report.display().to_string()}))?;
            let done = results.folder.events().iter().rfind(|event| matches!(event, TrainEvent::Done { .. }));
            return done.map_or(Ok(()), output::json);
        }
        output::line(&format!(
            "\nreport   {}\ntry it   diablo chat --model {} --adapter-path {}",
            report.display(),
            output::shell_word(self.model.path()?),
            output::shell_word(&self.adapter_path)
        ))
    }

    fn earlier(&self) -> Earlier {
        match (self.resume, self.overwrite) {
            (true, _) => Earlier::Resume,
            (false, true) => Earlier::Overwrite,
            (false, false) => Earlier::KeepUnfinished,
        }
    }
}
