//! The page: it draws, and asks the worker.
//!
//! - `dom`: elements by id, new ones, text as text
//! - `link`: the worker, requests out, events in
//! - `device`, `model`, `data`, `settings`, `train`, `talk`: one view each, over `web/index.html`
//! - `chart`, `heat`: what the run's view draws
//! - `controls`: what every button does
//! - `drop`: files dropped anywhere

mod chart;
mod controls;
mod data;
mod device;
mod dom;
mod drop;
mod heat;
mod link;
mod model;
mod settings;
mod talk;
mod train;

use crate::train::TrainEvent;
use crate::web::protocol::{DataSource, Event, PlanReport, Request, Settings};
use crate::write;
use dom::{announce, set_text, show};
use gloo::timers::callback::Timeout;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// How long a field must rest before the worker is asked, in milliseconds.
const REST_MS: u32 = 250;

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    None,
    Training,
    Paused,
    Stopping,
}

/// The page.
struct Page {
    link: Rc<Link>,
    model: Rc<model::ModelView>,
    data: data::DataView,
    settings: settings::SettingsView,
    train: train::TrainView,
    talk: Rc<talk::TalkView>,
    run: Cell<Run>,
    is_broken: Cell<bool>,
    has_model: Cell<bool>,
    has_data: Cell<bool>,
    has_adapter: Cell<bool>,
    /// Steps done of how many.
    steps: Cell<(usize, usize)>,
    plan: RefCell<Option<PlanReport>>,
    unfinished: RefCell<Option<Settings>>,
    /// Of the run that goes on.
    running: RefCell<Option<Settings>>,
    resting: RefCell<Option<Timeout>>,
}

use link::Link;

/// Starts the page; it lives as long as the tab.
pub fn run() {
    console_error_panic_hook::set_once();
    // Fails only if there is a logger already.
    _ = console_log::init_with_level(log::Level::Warn);
    let page = Rc::new_cyclic(|page: &std::rc::Weak<Page>| {
        let page = page.clone();
        let listener = move |event, attached| {
            if let Some(page) = page.upgrade() {
                page.hear(event, attached);
            }
        };
        let link = Rc::new(Link::new(Rc::new(listener)));
        Page {
            model: Rc::new(model::ModelView::new(link.clone())),
            data: data::DataView::new(link.clone()),
            settings: settings::SettingsView::default(),
            train: train::TrainView::default(),
            talk: Rc::new(talk::TalkView::new(link.clone())),
            link,
            run: Cell::new(Run::None),
            is_broken: Cell::new(false),
            has_model: Cell::new(false),
            has_data: Cell::new(false),
            has_adapter: Cell::new(false),
            steps: Cell::new((0, 0)),
            plan: RefCell::new(None),
            unfinished: RefCell::new(None),
            running: RefCell::new(None),
            resting: RefCell::new(None),
        }
    });
    heat::draw_scale();
    settings::fill_data_options();
    talk::fill_options();
    controls::connect(&page);
    drop::connect(&page);
    page.train.stale();
    page.update();
    page.link.start();
}

impl Page {
    /// Takes in what the worker tells.
    fn hear(self: &Rc<Self>, event: Event, attached: Vec<JsValue>) {
        let before = (self.run.get(), self.has_adapter.get());
        // Of these come many a second, and they change no button.
        let is_frequent = matches!(event, Event::Training(_) | Event::Norms { .. } | Event::Sample { .. });
        match event {
            Event::Started(report) => {
                device::set(&report);
                self.model.reopen();
            }
            Event::Stored { models, used, quota } => self.model.set_stored(&models, used, quota),
            Event::Unfinished(run) => {
                let text =
                    format!("{} on {}: {} of {} steps are saved.", run.model_name, run.data_name, run.step, run.iters);
                set_text("unfinished-text", &text);
                *self.unfinished.borrow_mut() = Some(run.settings);
                show("unfinished", true);
                announce("A training was cut off and can go on.");
            }
            Event::Progress { what, done, total } => self.progress(&what, done, total),
            Event::Model(report) => {
                self.has_model.set(true);
                self.has_adapter.set(false);
                self.model.set(&report);
                self.settings.set_model(&report);
                self.talk.reset();
                announce(&format!("The model {} is open.", report.name));
                if let Some(settings) = self.running.borrow().as_ref().filter(|_| self.is_running()) {
                    self.settings.fill(settings);
                } else {
                    self.forget_run(&report.defaults);
                    if self.data.is_chosen() {
                        self.data.read();
                    } else {
                        self.data.choose(DataSource::Demo { name: "demo/facts".into() }, Vec::new());
                    }
                }
            }
            Event::Data(report) => {
                self.has_data.set(true);
                self.model.end_progress();
                self.data.set(&report);
                if !self.is_running() {
                    self.settings.set_prompts(&report.prompts);
                }
                self.talk.suggest(&report.prompts);
                announce(&format!("The data {} is read: {}.", report.name, write::plural(report.rows[0], "row")));
                self.ask_plan();
            }
            Event::Plan(plan) => {
                self.settings.show_plan(Some(&plan));
                set_text("settings-error", "");
                *self.plan.borrow_mut() = Some(plan);
            }
            Event::Training(event) => self.training(&event),
            Event::Norms { matrices, .. } => self.train.set_norms(matrices),
            Event::Sample { step, prompt, text } => self.train.sample(step, prompt, &text),
            Event::Paused { step } => {
                self.run.set(Run::Paused);
                announce(&format!("Paused at step {step}."));
            }
            Event::Resumed { .. } => self.run.set(Run::Training),
            Event::Idle { has_adapter } => self.idle(has_adapter),
            Event::Token { id, side, text } => return self.talk.token(id, side, &text),
            Event::Answered { id, side, tokens, seconds, stopped } => {
                return self.talk.answered(id, side, tokens, seconds, stopped);
            }
            Event::Adapter { name } => controls::save_file(&name, attached.first()),
            Event::AdapterLoaded { what, matrices } => {
                self.has_adapter.set(true);
                set_text("adapter-what", &what);
                set_text("adapter-state", "on the model");
                set_text("adapter-error", "");
                self.train.set_norms(matrices);
                announce("The adapter is on the model.");
            }
            Event::Failed { request, message } => self.failed(&request, &message),
            Event::Broken { message, cause } => {
                self.is_broken.set(true);
                self.run.set(Run::None);
                device::broken(&message, cause);
            }
        }
        if is_frequent && before == (self.run.get(), self.has_adapter.get()) {
            self.update_status();
        } else {
            self.update();
        }
    }

    fn progress(&self, what: &str, done: u64, total: u64) {
        if self.run.get() == Run::None {
            self.model.progress(what, done, total);
        } else {
            set_text("train-state", what);
        }
    }

    fn training(&self, event: &TrainEvent) {
        if let Some(step) = self.train.hear(event) {
            self.steps.set((step, self.steps.get().1));
            self.has_adapter.set(true);
            if self.run.get() == Run::None {
                self.run.set(Run::Training);
            }
        }
    }

    fn idle(&self, has_adapter: bool) {
        let was_running = self.is_running();
        self.run.set(Run::None);
        self.has_adapter.set(has_adapter);
        self.train.end();
        set_text("train-state", "");
        if was_running && has_adapter {
            set_text("adapter-state", "ready");
            announce("Training is over. Talk to the model, or download the adapter.");
        }
        self.ask_plan();
    }

    /// Shows what failed where it was asked.
    fn failed(&self, request: &str, message: &str) {
        match request {
            "open_model" | "cancel_open" | "delete_stored" => self.model.fail(message),
            "set_data" => {
                self.model.end_progress();
                self.data.fail(message);
            }
            "plan" => {
                *self.plan.borrow_mut() = None;
                self.settings.show_plan(None);
                set_text("settings-error", message);
            }
            "generate" | "stop_generating" => self.talk.fail(message),
            "download_adapter" | "upload_adapter" => set_text("adapter-error", message),
            _ => {
                set_text("train-error", message);
                self.run.set(Run::None);
                set_text("train-state", "");
            }
        }
    }

    fn is_running(&self) -> bool {
        self.run.get() != Run::None
    }

    /// Clears what a run with another model has drawn.
    fn forget_run(&self, settings: &Settings) {
        self.train.begin(settings);
        self.train.set_norms(Vec::new());
        self.steps.set((0, settings.train.iters));
        set_text("adapter-state", "");
    }

    /// Starts a run with the settings in the fields.
    fn begin(&self) {
        if let Some(settings) = self.settings.read() {
            self.data.settle();
            self.model.persist();
            self.expect_run(&settings);
            self.link.send(&Request::Train { settings });
        }
    }

    /// Goes on with the run that was cut off.
    fn go_on(&self) {
        if let Some(settings) = self.unfinished.take() {
            show("unfinished", false);
            self.settings.fill(&settings);
            self.expect_run(&settings);
            self.link.send(&Request::Continue);
        }
    }

    fn expect_run(&self, settings: &Settings) {
        self.train.begin(settings);
        *self.running.borrow_mut() = Some(settings.clone());
        self.steps.set((0, settings.train.iters));
        self.run.set(Run::Training);
        announce("Training starts.");
        self.update();
    }

    /// A new worker, since the old one is of no use any more.
    fn restart(&self) {
        show("broken", false);
        show("unfinished", false);
        for flag in [&self.is_broken, &self.has_model, &self.has_data, &self.has_adapter] {
            flag.set(false);
        }
        self.run.set(Run::None);
        self.talk.reset();
        self.link.start();
        self.update();
    }

    /// Asks what a run with these settings would take, once the fields rest.
    fn ask_plan(&self) {
        if !self.has_model.get() || !self.has_data.get() || self.is_running() {
            return;
        }
        let settings = self.settings.read();
        let link = self.link.clone();
        let ask = move || _ = settings.map(|settings| link.send(&Request::Plan { settings }));
        *self.resting.borrow_mut() = Some(Timeout::new(REST_MS, ask));
    }

    /// Brings buttons and status to what is the case.
    fn update(&self) {
        let focused = dom::focused();
        let run = self.run.get();
        let is_ready = self.has_model.get() && self.has_data.get() && !self.is_broken.get();
        let is_idle = run == Run::None && !self.is_broken.get();
        show("train", run == Run::None);
        dom::enable("train", is_ready);
        show("pause", run == Run::Training);
        show("resume", run == Run::Paused);
        show("stop", run != Run::None);
        dom::enable("model-form", is_idle);
        dom::enable("data-form", is_idle && self.has_model.get());
        dom::enable("continue", is_idle);
        self.settings.enable(is_idle && self.has_model.get());
        dom::enable("adapter-form", is_idle && self.has_model.get());
        dom::enable("download", is_idle && self.has_adapter.get());
        self.talk.set(self.has_model.get() && !self.is_broken.get(), self.has_adapter.get());
        show("to-talk", is_idle && self.has_adapter.get());
        dom::keep_focus(focused, &["pause", "resume", "to-talk", "train"]);
        set_text("train", if self.has_adapter.get() { "Train again" } else { "Train" });
        self.update_status();
    }

    fn update_status(&self) {
        let (step, iters) = self.steps.get();
        dom::progress("run-progress", step as f64, iters.max(1) as f64);
        set_text("status", &self.status());
    }

    fn status(&self) -> String {
        let (step, iters) = self.steps.get();
        match self.run.get() {
            _ if self.is_broken.get() => "Stopped".into(),
            Run::Training if step == 0 => "Starting …".into(),
            Run::Training => format!("Training: step {step} of {iters}"),
            Run::Paused => format!("Paused at step {step} of {iters}"),
            Run::Stopping => "Stopping after this step …".into(),
            Run::None if !self.has_model.get() => "Opening the model …".into(),
            Run::None if !self.has_data.get() => "Choose data".into(),
            Run::None if !dom::element("train-error").text_content().unwrap_or_default().is_empty() => {
                format!("Ended at step {step} of {iters}: see Train")
            }
            Run::None if self.has_adapter.get() => "Done: talk to it, take the adapter home".into(),
            Run::None => {
                let plan = self.plan.borrow();
                let steps = dom::value("iters").parse().unwrap_or(0);
                match plan.as_ref() {
                    Some(plan) => format!(
                        "Ready: {}, about {}",
                        write::plural(steps, "step"),
                        write::duration(plan.step_seconds * steps as f64)
                    ),
                    None => "Ready".into(),
                }
            }
        }
    }
}
