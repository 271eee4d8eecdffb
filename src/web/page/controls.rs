//! What every button and field does.

use super::dom::{self, by_id, element, on, on_click, set_text, show};
use super::{Page, Run};
use crate::web::protocol::{DataSource, ModelSource, Request};
use gloo::timers::callback::Timeout;
use gloo::utils::{document, window};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventTarget, HtmlElement, HtmlInputElement, KeyboardEvent};

/// How long an object URL is kept for the download that it starts, in milliseconds.
const DOWNLOAD_MS: u32 = 60_000;

/// Connects all of them.
pub fn connect(page: &Rc<Page>) {
    connect_run(page);
    connect_model(page);
    connect_data(page);
    connect_settings(page);
    connect_talk(page);
    connect_adapter(page);
    connect_page(page);
    draw_every_frame(page.clone());
}

/// Calls `action` with the page at every press of the button `id`.
fn press(page: &Rc<Page>, id: &str, action: impl Fn(&Rc<Page>) + 'static) {
    let page = page.clone();
    on_click(id, move || action(&page));
}

fn connect_run(page: &Rc<Page>) {
    press(page, "train", |page| {
        page.begin();
        if page.is_running() {
            reveal("train-section");
            focus("pause");
        }
    });
    press(page, "pause", |page| {
        page.link.send(&Request::Pause);
        set_text("status", "Pausing after this step …");
    });
    press(page, "resume", |page| page.link.send(&Request::Resume));
    press(page, "stop", |page| {
        if page.run.replace(Run::Stopping) != Run::Stopping {
            page.link.send(&Request::Stop);
        }
        page.update();
    });
    press(page, "continue", |page| page.go_on());
    press(page, "discard", |page| {
        page.unfinished.take();
        show("unfinished", false);
        page.link.send(&Request::Discard);
    });
    press(page, "restart", |page| page.restart());
    let pointed = page.clone();
    on(&element("loss-chart"), "pointermove", move |event| {
        let x = event.dyn_ref::<web_sys::PointerEvent>().map(|pointer| f64::from(pointer.client_x()));
        pointed.train.point_at(x);
    });
    let left = page.clone();
    on(&element("loss-chart"), "pointerleave", move |_| left.train.point_at(None));
    let table = page.clone();
    dom::toggle("loss-table-toggle", "loss-table", move || table.train.fill_table());
    let table = page.clone();
    dom::toggle("heat-table-toggle", "heat-table", move || table.train.fill_heat_table());
}

fn connect_model(page: &Rc<Page>) {
    press(page, "open-demo", |page| page.model.open(ModelSource::Demo, Vec::new()));
    press(page, "cancel-open", |page| page.link.send(&Request::CancelOpen));
    for id in ["model-folder", "model-files"] {
        on_files(page, id, |page, files| page.model.open_files(files));
    }
    let page = page.clone();
    on(&element("hub-form"), "submit", move |event| {
        event.prevent_default();
        page.model.open_hub();
    });
}

fn connect_data(page: &Rc<Page>) {
    on_files(page, "data-files", |page, files| {
        if !files.is_empty() {
            page.data.choose(DataSource::Files, files);
        }
    });
    for (id, name) in [("data-facts", "demo/facts"), ("data-style", "demo/style")] {
        press(page, id, move |page| page.data.choose(DataSource::Demo { name: name.into() }, Vec::new()));
    }
    press(page, "paste-use", |page| page.data.choose_text());
    for id in ["mask-prompt", "max-seq-length", "val-split"] {
        let page = page.clone();
        on(&element(id), "change", move |_| page.data.read());
    }
}

fn connect_settings(page: &Rc<Page>) {
    press(page, "settings-reset", |page| {
        page.settings.reset();
        page.data.read();
    });
    let changed = page.clone();
    on(&element("settings-form"), "input", move |event| {
        let id = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok()).map(|field| field.id());
        changed.settings.follow(&id.unwrap_or_default());
        changed.ask_plan();
        changed.update();
    });
}

fn connect_talk(page: &Rc<Page>) {
    press(page, "talk-reset", |page| page.talk.reset());
    press(page, "stop-talking", |page| page.talk.stop());
    let asked = page.clone();
    on(&element("talk-form"), "submit", move |event| {
        event.prevent_default();
        asked.talk.ask_typed();
    });
    let typed = page.clone();
    on(&element("question"), "keydown", move |event| {
        let Some(key) = event.dyn_ref::<KeyboardEvent>() else { return };
        // Enter asks; with Shift, or inside of an input method, it is a new line.
        if key.key() == "Enter" && !key.shift_key() && !key.is_composing() {
            event.prevent_default();
            typed.talk.ask_typed();
        }
    });
}

fn connect_adapter(page: &Rc<Page>) {
    press(page, "download", |page| {
        set_text("adapter-error", "");
        page.link.send(&Request::DownloadAdapter);
    });
    on_files(page, "upload", upload);
}

/// Gives an adapter's files to the worker.
pub fn upload(page: &Page, files: Vec<web_sys::File>) {
    if !files.is_empty() {
        set_text("adapter-error", "");
        page.link.send_with(&Request::UploadAdapter, files.into_iter().map(JsValue::from));
    }
}

fn connect_page(page: &Rc<Page>) {
    // Some browsers put a tab to sleep, or throw it away, with only one of these before.
    for (target, event) in [
        (EventTarget::from(document()), "visibilitychange"),
        (document().into(), "freeze"),
        (window().into(), "pagehide"),
    ] {
        let page = page.clone();
        on(&target, event, move |event| {
            let is_back = event.type_() == "visibilitychange" && !document().hidden();
            if page.is_running() && !is_back {
                page.link.send(&Request::Save);
            }
        });
    }
    let resized = page.clone();
    on(&window(), "resize", move |_| resized.train.stale());
}

/// What is done in a frame; it asks for the next one itself.
type Frame = Rc<RefCell<Option<Closure<dyn FnMut()>>>>;

/// Draws once a frame, and only what has changed.
fn draw_every_frame(page: Rc<Page>) {
    let frame = Frame::default();
    let next = frame.clone();
    *frame.borrow_mut() = Some(Closure::new(move || {
        page.train.draw();
        request_frame(&next);
    }));
    request_frame(&frame);
}

fn request_frame(frame: &Frame) {
    if let Some(frame) = frame.borrow().as_ref() {
        // It fails only where there is no window, and no page then.
        _ = window().request_animation_frame(frame.as_ref().unchecked_ref());
    }
}

/// Calls `action` with what is chosen in the file input `id`.
fn on_files(page: &Rc<Page>, id: &str, action: impl Fn(&Page, Vec<web_sys::File>) + 'static) {
    let (page, input) = (page.clone(), by_id::<HtmlInputElement>(id));
    on(&input.clone(), "change", move |_| action(&page, dom::take_files(&input)));
}

/// Brings a section into view; on a wide window it is there already.
fn reveal(id: &str) {
    let width = window().inner_width().ok().and_then(|width| width.as_f64()).unwrap_or(0.0);
    if width < 1000.0 {
        element(id).scroll_into_view();
    }
}

fn focus(id: &str) {
    // A button that is gone again in the meantime cannot be focused, and need not be.
    _ = element(id).focus();
}

/// Saves an attached blob as a file.
pub fn save_file(name: &str, attached: Option<&JsValue>) {
    let Some(blob) = attached.and_then(|blob| blob.dyn_ref::<web_sys::Blob>()) else {
        return set_text("adapter-error", "The worker sent no file: try again.");
    };
    let Ok(url) = web_sys::Url::create_object_url_with_blob(blob) else {
        return set_text("adapter-error", "The browser refused to save the file.");
    };
    let link: web_sys::HtmlAnchorElement = dom::new("a", "", "").unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    Timeout::new(DOWNLOAD_MS, move || _ = web_sys::Url::revoke_object_url(&url)).forget();
    set_text("adapter-state", &format!("saved as {name}"));
}
