//! The way to the worker.

use crate::web::protocol::{Cause, Event, Request};
use std::cell::RefCell;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

/// The worker's script, beside the page.
const WORKER: &str = "./worker-start.js";

type Listener = std::rc::Rc<dyn Fn(Event, Vec<JsValue>)>;

/// The worker, and who listens to it. A worker that is broken is replaced by a new one.
pub struct Link {
    listener: Listener,
    worker: RefCell<Option<Connection>>,
}

struct Connection {
    worker: Worker,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl Link {
    /// Without a worker yet.
    pub fn new(listener: Listener) -> Self {
        Self { listener, worker: RefCell::new(None) }
    }

    /// Ends the worker there is, and starts a new one.
    pub fn start(&self) {
        if let Some(old) = self.worker.take() {
            old.worker.terminate();
        }
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        // What the page's address says is the worker's to read: `?hub=`.
        let search = web_sys::window().and_then(|window| window.location().search().ok()).unwrap_or_default();
        let worker = match Worker::new_with_options(&format!("{WORKER}{search}"), &options) {
            Ok(worker) => worker,
            Err(error) => return broken(&self.listener, &format!("{error:?}")),
        };
        let listener = self.listener.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| hear(&listener, &message));
        let listener = self.listener.clone();
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |error: ErrorEvent| broken(&listener, &error.message()));
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        *self.worker.borrow_mut() = Some(Connection { worker, _on_message: on_message, _on_error: on_error });
        self.send(&Request::Start);
    }

    /// Sends a request.
    pub fn send(&self, request: &Request) {
        self.send_with(request, std::iter::empty());
    }

    /// Sends a request with what is attached to it.
    pub fn send_with(&self, request: &Request, attached: impl Iterator<Item = JsValue>) {
        let worker = self.worker.borrow();
        let Some(connection) = worker.as_ref() else { return };
        match serde_json::to_string(request) {
            Ok(text) => {
                let message: js_sys::Array = std::iter::once(JsValue::from(text)).chain(attached).collect();
                if let Err(error) = connection.worker.post_message(&message) {
                    log::error!("a request could not be sent: {error:?}");
                }
            }
            Err(error) => log::error!("a request could not be written: {error}"),
        }
    }
}

fn hear(listener: &Listener, message: &MessageEvent) {
    let mut parts = js_sys::Array::from(&message.data()).into_iter();
    let text = parts.next().and_then(|text| text.as_string()).unwrap_or_default();
    match serde_json::from_str(&text) {
        Ok(event) => listener(event, parts.collect()),
        Err(error) => log::error!("the worker said what the page does not understand: {error}"),
    }
}

fn broken(listener: &Listener, why: &str) {
    let why = if why.is_empty() { "its program could not be loaded" } else { why };
    let message = format!("The worker ended: {why}. Start again; if that does not help, reload the page.");
    listener(Event::Broken { message, cause: Cause::Bug }, Vec::new());
}
