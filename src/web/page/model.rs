//! The view of the model: the open one, how to open another, and what is stored.

use super::dom::{self, add, announce, element, set_text};
use super::link::Link;
use crate::web::protocol::{ModelReport, ModelSource, Request, StoredModel};
use crate::write;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// The view of the model.
pub struct ModelView {
    link: Rc<Link>,
    has_asked_to_persist: Cell<bool>,
    /// What was asked for last, and what is open.
    asked: RefCell<Option<Opened>>,
    opened: RefCell<Option<Opened>>,
}

/// Where a model comes from, with its files.
type Opened = (ModelSource, Vec<web_sys::File>);

impl ModelView {
    /// Nothing is open yet.
    pub fn new(link: Rc<Link>) -> Self {
        Self { link, has_asked_to_persist: Cell::new(false), asked: RefCell::default(), opened: RefCell::default() }
    }

    /// Asks for a model, with its files where it comes from the disk.
    pub fn open(&self, source: ModelSource, files: Vec<web_sys::File>) {
        set_text("model-error", "");
        set_text("model-state", "opening …");
        if matches!(source, ModelSource::Hub { .. }) {
            self.persist();
        }
        let request = Request::OpenModel { source: source.clone() };
        self.link.send_with(&request, files.iter().map(JsValue::from));
        *self.asked.borrow_mut() = Some((source, files));
    }

    /// Asks for the model that was open when the last worker ended, or the bundled one.
    pub fn reopen(&self) {
        let (source, files) = self.opened.take().unwrap_or((ModelSource::Demo, Vec::new()));
        self.open(source, files);
    }

    /// Opens what the user's disk holds; of a folder only what lies directly in it.
    pub fn open_files(&self, files: Vec<web_sys::File>) {
        let files: Vec<_> = files.into_iter().filter(|file| path_of(file).matches('/').count() < 2).collect();
        if !files.is_empty() {
            self.open(ModelSource::Files, files);
        }
    }

    /// Fetches what the form names.
    pub fn open_hub(&self) {
        let name = dom::value("hub-name");
        if name.split('/').filter(|part| !part.is_empty()).count() < 2 {
            return set_text(
                "model-error",
                "A hub name has two parts: org/name, such as HuggingFaceTB/SmolLM2-135M-Instruct.",
            );
        }
        self.open(ModelSource::Hub { name, revision: dom::value("hub-revision") }, Vec::new());
    }

    /// Asks the browser, once, to keep what this page stores; some ask the user, so it follows a press of a button.
    pub fn persist(&self) {
        if !self.has_asked_to_persist.replace(true)
            && let Ok(promise) = gloo::utils::window().navigator().storage().persist()
        {
            wasm_bindgen_futures::spawn_local(async move {
                // A refusal is no error: the browser may then clear the storage when space runs out.
                _ = wasm_bindgen_futures::JsFuture::from(promise).await;
            });
        }
    }

    /// The model is open.
    pub fn set(&self, model: &ModelReport) {
        set_text("model-name", &model.name);
        let template = if model.has_chat_template { "" } else { " · no chat template: it continues text" };
        let facts = format!(
            "{} weights ({}) · {} layers of {} · {} positions · {} on the device{template}",
            write::count(model.parameters),
            model.dtype,
            model.layers,
            model.hidden_size,
            write::count(model.max_positions as u64),
            write::bytes(model.device_bytes),
        );
        set_text("model-facts", &facts);
        if let Some(why) = &model.not_kept {
            let text = format!("Not kept in this browser: {why}. After a reload, choose its files again.");
            set_text("model-warning", &text);
            announce(&text);
        }
        dom::show("model-warning", model.not_kept.is_some());
        set_text("model-state", "");
        if let Some(asked) = self.asked.take() {
            *self.opened.borrow_mut() = Some(asked);
        }
        set_text("model-error", "");
        self.end_progress();
    }

    /// Opening failed; what was open before still is.
    pub fn fail(&self, message: &str) {
        set_text("model-error", message);
        set_text("model-state", "");
        dom::unfold("model-choices", true);
        self.end_progress();
    }

    /// Something is being fetched or read.
    pub fn progress(&self, what: &str, done: u64, total: u64) {
        element("model-progress").set_class_name("doing on");
        let figures = if total > 1_000_000 && !what.starts_with("check") {
            format!(" · {} of {}", write::bytes(done), write::bytes(total))
        } else {
            String::new()
        };
        set_text("model-progress-text", &format!("{what}{figures}"));
        dom::progress("model-progress-bar", done as f64, total as f64);
    }

    /// Nothing is being fetched any more.
    pub fn end_progress(&self) {
        element("model-progress").set_class_name("doing");
    }

    /// Lists what this browser holds.
    pub fn set_stored(self: &Rc<Self>, models: &[StoredModel], used: u64, quota: u64) {
        let list = element("stored");
        dom::clear(&list);
        if models.is_empty() {
            add(
                &list,
                &dom::new("li", "note", "Nothing yet. What you fetch is kept here and opens without the network."),
            );
        }
        for model in models {
            add(&list, &self.item(model));
        }
        let of = if quota > 0 { format!(" of {} that the browser allows", write::bytes(quota)) } else { String::new() };
        set_text("quota", &format!("{} used{of}", write::bytes(used)));
        let meter: web_sys::HtmlMeterElement = dom::by_id("quota-meter");
        meter.set_value(if quota > 0 { used as f64 / quota as f64 } else { 0.0 });
        dom::show("quota-meter", quota > 0);
    }

    fn item(self: &Rc<Self>, model: &StoredModel) -> web_sys::Element {
        let item = dom::new("li", "", "");
        let what = dom::new("div", "what", "");
        add(&what, &dom::foreign("p", "words", &model.name));
        let part = if model.is_complete { "" } else { " · not all of it; opening goes on" };
        add(&what, &dom::new("p", "note", &format!("{}{part}", write::bytes(model.bytes))));
        add(&item, &what);
        let open = button("Open", &format!("Open {}", model.name));
        let (view, name) = (self.clone(), model.name.clone());
        dom::on(&open, "click", move |_| view.open(ModelSource::Stored { name: name.clone() }, Vec::new()));
        add(&item, &open);
        let delete = button("Delete", &format!("Delete {}", model.name));
        let (link, name, target) = (self.link.clone(), model.name.clone(), delete.clone());
        let is_sure = Cell::new(false);
        // Twice, since what is deleted may take an hour to fetch again.
        dom::on(&delete, "click", move |_| {
            if is_sure.replace(true) {
                link.send(&Request::DeleteStored { name: name.clone() });
            } else {
                target.set_text_content(Some("Really?"));
                dom::attribute(&target, "aria-label", &format!("Press again to delete {name}"));
            }
        });
        add(&item, &delete);
        item
    }
}

fn button(text: &str, label: &str) -> web_sys::Element {
    let button = dom::new("button", "small", text);
    dom::attribute(&button, "type", "button");
    dom::attribute(&button, "aria-label", label);
    button
}

/// The path inside the chosen folder, or the name.
fn path_of(file: &web_sys::File) -> String {
    let path = js_sys::Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
    path.filter(|path| !path.is_empty()).unwrap_or_else(|| file.name())
}
