//! What only one tab may do at a time.

use super::scope;
use crate::error::{Error, Result};
use futures_channel::oneshot;
use js_sys::{Function, Object, Promise, Reflect};
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};

/// A lock that this tab holds. It ends when this is dropped, and with the tab.
#[derive(Debug)]
pub struct Lock {
    _held: oneshot::Sender<()>,
}

/// Takes the lock `name`; `None` if another tab holds it.
///
/// # Errors
/// If the browser has no locks for this page.
pub async fn lock(name: &str) -> Result<Option<Lock>> {
    let (held, released) = oneshot::channel::<()>();
    let (answer, answered) = oneshot::channel();
    // Whoever comes first answers: the browser with the lock or without, or the request that failed.
    let answer = Rc::new(Cell::new(Some(answer)));
    let tell = move |outcome: Result<bool, JsValue>| {
        if let Some(answer) = answer.take() {
            let _ = answer.send(outcome); // nobody waits any more
        }
    };
    let granted = {
        let tell = tell.clone();
        move |lock: JsValue| {
            tell(Ok(!lock.is_null()));
            // The browser takes the lock back when this promise is kept.
            future_to_promise(async move {
                if !lock.is_null() {
                    let _ = released.await;
                }
                Ok(JsValue::UNDEFINED)
            })
        }
    };
    let request = request(name, Closure::once_into_js(granted)).map_err(|e| failed(name, &e))?;
    spawn_local(async move {
        if let Err(thrown) = JsFuture::from(request).await {
            tell(Err(thrown));
        }
    });
    match answered.await {
        Ok(Ok(is_granted)) => Ok(is_granted.then_some(Lock { _held: held })),
        Ok(Err(thrown)) => Err(failed(name, &thrown)),
        Err(_) => Err(failed(name, &JsValue::UNDEFINED)),
    }
}

/// `navigator.locks.request(name, { ifAvailable: true }, granted)`: of `web-sys` it is an unstable part.
fn request(name: &str, granted: JsValue) -> Result<Promise, JsValue> {
    let locks = Reflect::get(&scope().navigator(), &"locks".into())?;
    let request: Function = Reflect::get(&locks, &"request".into())?.dyn_into()?;
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &true.into())?;
    request.call3(&locks, &name.into(), &options, &granted)?.dyn_into()
}

fn failed(name: &str, thrown: &JsValue) -> Error {
    Error::browser(name, "locking", thrown)
}
