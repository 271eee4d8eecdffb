//! Requests that wait, and what was asked of the thing that runs now.

use crate::web::hub::Cancel;
use crate::web::protocol::Request;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use wasm_bindgen::JsValue;

/// A request and what is attached to it.
pub struct Letter {
    pub request: Request,
    pub attachments: Vec<JsValue>,
}

/// Requests in order; those that act on what runs now are heard at once, whatever waits before them.
#[derive(Default)]
pub struct Inbox {
    waiting: RefCell<VecDeque<Letter>>,
    wishes: Wishes,
    /// Letters so far.
    count: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// What was asked of a running training, answer or download.
#[derive(Default)]
pub struct Wishes {
    /// Hold after this step.
    pub pause: Cell<bool>,
    /// End after this step.
    pub stop: Cell<bool>,
    /// Save after this step.
    pub save: Cell<bool>,
    /// End the answer that is being given.
    pub stop_generating: Cell<bool>,
    /// Ends the download that is under way.
    pub cancel: RefCell<Cancel>,
}

impl Inbox {
    /// Takes a letter in.
    pub fn receive(&self, letter: Letter) {
        let wishes = &self.wishes;
        match letter.request {
            Request::Pause => wishes.pause.set(true),
            Request::Resume => wishes.pause.set(false),
            Request::Stop => wishes.stop.set(true),
            Request::Save => wishes.save.set(true),
            Request::StopGenerating => wishes.stop_generating.set(true),
            Request::CancelOpen => wishes.cancel.borrow().cancel(),
            _ => self.waiting.borrow_mut().push_back(letter),
        }
        self.count.set(self.count.get() + 1);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What was asked of the thing that runs now.
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// Whether a letter waits.
    pub fn has_letters(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// The next letter, if one waits.
    pub fn take(&self) -> Option<Letter> {
        self.waiting.borrow_mut().pop_front()
    }

    /// The next letter.
    pub async fn next(&self) -> Letter {
        loop {
            if let Some(letter) = self.take() {
                return letter;
            }
            self.changed().await;
        }
    }

    /// Waits for a letter to arrive.
    pub async fn changed(&self) {
        let seen = self.count.get();
        poll_fn(|context| {
            if self.count.get() != seen {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
