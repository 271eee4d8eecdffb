//! Ending a download from outside, and waiting.

use crate::error::{Error, Result};
use futures_channel::oneshot;
use gloo::timers::callback::Timeout;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use web_sys::AbortController;

/// Ends a download from outside: one part of the worker holds it while another calls [`cancel`](Self::cancel).
#[derive(Debug, Clone, Default)]
pub struct Cancel(Rc<State>);

#[derive(Debug, Default)]
struct State {
    is_cancelled: Cell<bool>,
    /// Of the request that is under way.
    request: RefCell<Option<AbortController>>,
}

impl Cancel {
    /// Ends the download that was given this, at once.
    pub fn cancel(&self) {
        self.0.is_cancelled.set(true);
        if let Some(request) = self.0.request.take() {
            request.abort();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.get()
    }

    /// An error if it was.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The request that is under way from now on.
    pub(super) fn watch(&self, request: &AbortController) {
        self.0.request.replace(Some(request.clone()));
    }

    /// Waits, and less where it is cancelled.
    pub(super) async fn pause(&self, pause: Duration) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(200);
        let mut left = pause;
        while !left.is_zero() {
            self.check()?;
            let step = left.min(LOOK);
            sleep(step).await;
            left -= step;
        }
        self.check()
    }
}

async fn sleep(pause: Duration) {
    let (over, wait) = oneshot::channel();
    let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
    let _timer = Timeout::new(millis, move || {
        let _ = over.send(()); // nobody waits any more
    });
    let _ = wait.await; // the timer is still there, so it sends
}
