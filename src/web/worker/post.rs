//! What the worker sends to the page.

use crate::web::protocol::{Cause, Event};
use std::sync::atomic::{AtomicBool, Ordering};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::DedicatedWorkerGlobalScope;

/// Whether the worker has said that it cannot go on.
static IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// The global object of the worker.
pub fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Sends `event`.
pub fn post(event: &Event) {
    post_with(event, &[]);
}

/// Sends `event` with `attachments`.
pub fn post_with(event: &Event, attachments: &[JsValue]) {
    let text = serde_json::to_string(event).expect("JSON of plain values");
    let message = js_sys::Array::of1(&text.into());
    attachments.iter().for_each(|attachment| {
        message.push(attachment);
    });
    // Fails only for objects that cannot be copied, and none of ours is such a one.
    let _ = scope().post_message(&message);
}

/// Says once that the worker cannot go on.
pub fn post_broken(message: String, cause: Cause) {
    if !IS_BROKEN.swap(true, Ordering::Relaxed) {
        post(&Event::Broken { message, cause });
    }
}
