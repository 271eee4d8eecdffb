//! Files that lie beside the page.

use super::post::scope;
use crate::error::{Error, Result};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

/// The file at `path`, relative to the page.
pub async fn fetch(path: &str) -> Result<Vec<u8>> {
    let failed = |thrown: JsValue| Error::browser(path, "fetching", &thrown);
    let done = async |promise: Promise| JsFuture::from(promise).await.map_err(failed);
    let response: Response = done(scope().fetch_with_str(path)).await?.unchecked_into();
    if !response.ok() {
        return Err(Error::model(path, format!("the page's server answers {}", response.status())));
    }
    Ok(Uint8Array::new(&done(response.array_buffer().map_err(failed)?).await?).to_vec())
}
