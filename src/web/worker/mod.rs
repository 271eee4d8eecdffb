//! The page's worker: it owns device, model, data and run, and serves the page's requests.

mod adapter;
mod data;
mod fetch;
mod inbox;
mod model;
mod plan;
mod post;
mod run;
mod start;
mod talk;

use crate::adapter::{Adapters, StoredAdapter, update_norms};
use crate::device::SelectedDevice;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::train::Snapshot;
use crate::web::checkpoints::{self, Checkpoint};
use crate::web::files::Lock;
use crate::web::hub::store;
use crate::web::protocol::{Cause, Event, ModelSource, Request, Settings, UnfinishedRun};
use data::{DataFiles, OpenData};
use inbox::{Inbox, Letter};
use model::{FoundModel, OpenModel};
use plan::Speed;
use post::{post, post_broken, post_with, scope};
use run::{SavedRun, Setup};
use std::rc::Rc;
use talk::Speaker;
use wasm_bindgen::prelude::*;
use web_sys::MessageEvent;

/// What the adapter is called when it leaves the browser.
const ADAPTER_FILE: &str = "adapters.zip";

/// Serves the page until it goes.
pub fn serve() {
    watch_for_bugs();
    let inbox = Rc::new(Inbox::default());
    let receiver = inbox.clone();
    let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| receive(&receiver, &message));
    scope().set_onmessage(Some(listener.as_ref().unchecked_ref()));
    listener.forget(); // it lives as long as the worker
    wasm_bindgen_futures::spawn_local(async move {
        Worker { inbox, device: None, model: None, weights: None, data: None, adapter: None, speed: None }.serve().await
    });
}

fn receive(inbox: &Inbox, message: &MessageEvent) {
    let parts = js_sys::Array::from(&message.data());
    let text = parts.get(0).as_string().unwrap_or_default();
    match serde_json::from_str(&text) {
        Ok(request) => inbox.receive(Letter { request, attachments: parts.iter().skip(1).collect() }),
        Err(error) => {
            post_broken(format!("page and worker are not of one version ({error}); reload the page"), Cause::Bug)
        }
    }
}

/// A panic ends the worker, and so does an error that the GPU layer logs: it goes on as if nothing were wrong.
fn watch_for_bugs() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        tell_broken(&info.to_string());
    }));
    struct Log;
    impl log::Log for Log {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Warn
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                console_log::log(record);
                if record.level() == log::Level::Error {
                    tell_broken(&record.args().to_string());
                }
            }
        }

        fn flush(&self) {}
    }
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Says why the worker cannot go on, by what CubeCL logs of a lost device, and panics with at an error of the GPU.
fn tell_broken(what: &str) {
    let what = what.lines().collect::<Vec<_>>().join(" ");
    let (message, cause) = if what.contains("device was lost") || what.contains("DevicePoisoned") {
        (format!("{what}; training can go on from its last save"), Cause::DeviceLost)
    } else if what.contains("wgpu error") {
        (format!("the GPU refused what it was given ({what}); update browser and graphics driver"), Cause::Kernel)
    } else {
        (format!("a bug of this program ({what}); start again to go on from the last save"), Cause::Bug)
    };
    post_broken(message, cause);
}

/// Says that the request called `name` failed.
fn refuse(name: &str, error: &Error) {
    post(&Event::Failed { request: name.to_owned(), message: error.to_string() });
}

/// Sends the adapter to the page.
fn send_adapter(adapter: &StoredAdapter, open: &OpenModel) -> Result<()> {
    let bytes = adapter::to_zip(adapter, &open.config)?;
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes.as_slice()));
    let blob = web_sys::Blob::new_with_u8_array_sequence(&parts)
        .map_err(|e| Error::browser(ADAPTER_FILE, "making the file", &e))?;
    post_with(&Event::Adapter { name: ADAPTER_FILE.into() }, &[blob.into()]);
    Ok(())
}

struct Worker {
    inbox: Rc<Inbox>,
    device: Option<SelectedDevice>,
    model: Option<OpenModel>,
    /// Those of the open model; a run has them while it lasts.
    weights: Option<Model>,
    data: Option<OpenData>,
    /// What was trained or uploaded, for the open model.
    adapter: Option<StoredAdapter>,
    speed: Option<Speed>,
}

impl Worker {
    async fn serve(mut self) {
        loop {
            let Letter { request, attachments } = self.inbox.next().await;
            let name = request.name();
            if let Err(error) = self.answer(request, &attachments).await {
                refuse(name, &error);
            }
        }
    }

    async fn answer(&mut self, request: Request, attachments: &[JsValue]) -> Result<()> {
        match request {
            Request::Start => self.start().await,
            Request::OpenModel { source } => {
                self.open(source, attachments).await?;
                post(&stored().await?);
                Ok(())
            }
            Request::DeleteStored { name } => {
                store::remove(&name).await?;
                post(&stored().await?);
                Ok(())
            }
            Request::SetData { source, options } => {
                let files = DataFiles::read(source, options, attachments).await?;
                self.set_data(files, 0)
            }
            Request::Plan { settings } => {
                let plan = plan::plan(&settings, self.model()?, self.data.as_ref(), self.speed()?)?;
                post(&Event::Plan(plan));
                Ok(())
            }
            Request::Train { settings } => self.train(settings, None).await,
            Request::Continue => self.go_on().await,
            Request::Discard => {
                let _lock = lock().await?;
                checkpoints::clear().await
            }
            Request::Generate { .. } => {
                let (open, weights) = (self.model()?, self.weights.as_ref().ok_or_else(no_model)?);
                let adapters = self.adapter.clone().map(|adapter| Adapters::of(adapter, weights));
                talk::answer(open, Speaker::Resting(weights, adapters.as_ref()), request, &self.inbox).await
            }
            Request::DownloadAdapter => {
                let none = || Error::Usage("there is no adapter yet; train one first".into());
                send_adapter(self.adapter.as_ref().ok_or_else(none)?, self.model()?)
            }
            Request::UploadAdapter => {
                let config = &self.model()?.config;
                let adapter = adapter::from_files(attachments, config).await?;
                let matrices = update_norms(&adapter, config);
                post(&Event::AdapterLoaded { what: adapter.config.to_string(), matrices });
                self.adapter = Some(adapter);
                Ok(())
            }
            // Nothing runs that they could act on.
            Request::Pause
            | Request::Resume
            | Request::Stop
            | Request::Save
            | Request::StopGenerating
            | Request::CancelOpen => Ok(()),
        }
    }

    async fn start(&mut self) -> Result<()> {
        match start::start().await {
            Err((error, cause)) => post_broken(error.to_string(), cause),
            Ok((device, report)) => {
                self.speed = Some(Speed { matmul: report.matmul_gflops * 1e9, measured: None });
                self.device = Some(device);
                post(&Event::Started(report));
                post(&stored().await?);
                if let Some(run) = unfinished().await? {
                    post(&Event::Unfinished(run));
                }
            }
        }
        Ok(())
    }

    /// Opens a model. Where it cannot be, the old one is still open.
    async fn open(&mut self, source: ModelSource, attachments: &[JsValue]) -> Result<()> {
        let found = FoundModel::find(source, attachments, self.device()?, &self.inbox).await?;
        // The memory of the old one is free before the new one needs it.
        (self.model, self.weights, self.data, self.adapter) = (None, None, None, None);
        let (open, weights) = OpenModel::open(found, self.device()?, &self.inbox).await?;
        post(&Event::Model(open.report.clone()));
        (self.model, self.weights) = (Some(open), Some(weights));
        Ok(())
    }

    fn set_data(&mut self, files: DataFiles, seed: u64) -> Result<()> {
        let data = OpenData::new(files, self.model()?, seed)?;
        post(&Event::Data(data.report.clone()));
        self.data = Some(data);
        Ok(())
    }

    async fn train(&mut self, settings: Settings, resume: Option<(Snapshot, String)>) -> Result<()> {
        let missing = || Error::Usage("there is no data yet; choose some first".into());
        let (device, speed) = (self.device()?.info.name.clone(), self.speed()?);
        let (open, data) = (self.model.as_ref().ok_or_else(no_model)?, self.data.as_ref().ok_or_else(missing)?);
        let _lock = lock().await?;
        let weights = self.weights.take().ok_or_else(no_model)?;
        let setup = Setup { open, data, device: &device, inbox: &self.inbox, speed };
        let outcome = run::train(setup, weights, settings, resume).await;
        self.weights = outcome.weights;
        if let (Some(measured), Some(speed)) = (outcome.speed, &mut self.speed) {
            speed.measured = Some(measured);
        }
        if outcome.adapter.is_some() {
            self.adapter = outcome.adapter;
        }
        let result = match outcome.result {
            Err(Error::Interrupted) => Ok(()),
            result => result,
        };
        if let Err(error) = &result {
            refuse("train", error);
        }
        post(&Event::Idle { has_adapter: self.adapter.is_some() });
        Ok(())
    }

    /// Goes on with the run that was cut off.
    async fn go_on(&mut self) -> Result<()> {
        let none = || Error::Usage("there is no run to go on with".into());
        let SavedRun { model, model_name, data, settings } = saved_run().await?.ok_or_else(none)?;
        if self.model.as_ref().is_none_or(|open| open.from != model || open.name != model_name) {
            if model == ModelSource::Files {
                return Err(Error::Usage(format!("open the model {model_name} again, then go on")));
            }
            self.open(model, &[]).await?;
        } else {
            post(&Event::Model(self.model()?.report.clone()));
        }
        let open = self.model()?;
        let Some(Checkpoint { place, mut files, log, .. }) = newest().await? else { return Err(none()) };
        let file = |name: &str| files.remove(name).ok_or_else(|| Error::adapter(&place, format!("{name} is missing")));
        let snapshot = Snapshot::from_files(file, &open.config, &place)?;
        self.set_data(data, settings.train.seed)?;
        self.train(settings, Some((snapshot, log))).await
    }

    fn device(&self) -> Result<&SelectedDevice> {
        self.device.as_ref().ok_or_else(|| Error::Device("the device is not started yet".into()))
    }

    fn model(&self) -> Result<&OpenModel> {
        self.model.as_ref().ok_or_else(no_model)
    }

    fn speed(&self) -> Result<Speed> {
        self.speed.ok_or_else(|| Error::Device("the device is not started yet".into()))
    }
}

fn no_model() -> Error {
    Error::Usage("there is no model yet; open one first".into())
}

/// What this browser's storage holds.
async fn stored() -> Result<Event> {
    let (models, usage) = (store::list().await?, store::usage().await?);
    Ok(Event::Stored { models, used: usage.used, quota: usage.quota })
}

/// The right to train, and to remove what was trained.
async fn lock() -> Result<Lock> {
    let taken = || Error::Usage("another tab of this browser is training; stop it there, or wait".into());
    checkpoints::lock().await?.ok_or_else(taken)
}

async fn newest() -> Result<Option<Checkpoint>> {
    checkpoints::newest(|error| log::warn!("{error}")).await
}

async fn saved_run() -> Result<Option<SavedRun>> {
    // One that this version cannot read is of no use to it.
    Ok(checkpoints::run().await?.and_then(|run| serde_json::from_value(run).ok()))
}

async fn unfinished() -> Result<Option<UnfinishedRun>> {
    let Some(SavedRun { model, model_name, data, settings }) = saved_run().await? else { return Ok(None) };
    let Some(Checkpoint { step, .. }) = newest().await? else { return Ok(None) };
    let iters = settings.train.iters;
    Ok(Some(UnfinishedRun { model, model_name, data_name: data.name, step, iters, settings }))
}
