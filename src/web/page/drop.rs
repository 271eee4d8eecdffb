//! Files dropped anywhere on the page: their names say what they are.

use super::{Page, controls, dom};
use crate::web::protocol::DataSource;
use gloo::utils::document;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::{DragEvent, File};

/// Listens to drops.
pub fn connect(page: &Rc<Page>) {
    dom::on(&document(), "dragover", |event| {
        event.prevent_default();
        mark(true);
    });
    dom::on(&document(), "dragleave", |event| {
        // Only where it leaves the window, not where it passes from element to element.
        if event.dyn_ref::<DragEvent>().is_some_and(|drag| drag.related_target().is_none()) {
            mark(false);
        }
    });
    let page = page.clone();
    dom::on(&document(), "drop", move |event| {
        event.prevent_default();
        mark(false);
        let list = event.dyn_ref::<DragEvent>().and_then(|drag| drag.data_transfer()).and_then(|data| data.files());
        let files: Vec<File> = list.iter().flat_map(|list| (0..list.length()).filter_map(|i| list.get(i))).collect();
        take(&page, files);
    });
}

fn mark(is_over: bool) {
    if let Some(body) = document().body() {
        _ = body.class_list().toggle_with_force("dropping", is_over);
    }
}

fn take(page: &Rc<Page>, files: Vec<File>) {
    let has = |endings: &[&str]| {
        files.iter().any(|file| {
            let name = file.name().to_lowercase();
            endings.iter().any(|ending| name.ends_with(ending))
        })
    };
    if files.is_empty() {
        return;
    }
    if page.is_running() || page.is_broken.get() {
        return dom::set_text("data-error", "Files are taken when no training runs: stop it first.");
    }
    if has(&[".zip", "adapter_config.json", "adapter_model.safetensors"]) {
        controls::upload(page, files);
    } else if has(&[".safetensors", ".gguf", "tokenizer.json", "config.json"]) {
        page.model.open_files(files);
    } else if has(&[".jsonl", ".json", ".csv", ".tsv", ".txt"]) {
        page.data.choose(DataSource::Files, files);
    } else {
        let name = files[0].name();
        let message = format!(
            "{name}: neither data (.jsonl, .json, .csv, .tsv, .txt) nor a model (.safetensors, .gguf) nor an adapter \
             (.zip). A folder is opened with Folder … under Another model."
        );
        dom::set_text("data-error", &message);
    }
}
