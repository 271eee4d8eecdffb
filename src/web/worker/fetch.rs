//! Files that lie beside the page, and files that the user gave.

use super::post::{js_error, scope, wait};
use crate::error::{Error, Result};
use js_sys::Uint8Array;
use wasm_bindgen::JsCast;
use web_sys::{Blob, Response};

/// The file at `path`, relative to the page.
pub async fn fetch(path: &str) -> Result<Vec<u8>> {
    let what = || format!("fetching {path}");
    let response: Response = wait(scope().fetch_with_str(path), &what()).await?.unchecked_into();
    if !response.ok() {
        return Err(Error::model(path, format!("the page's server answers {}", response.status())));
    }
    let body = response.array_buffer().map_err(|e| js_error(&what(), &e))?;
    Ok(Uint8Array::new(&wait(body, &what()).await?).to_vec())
}

/// The bytes of a file that the user gave, if there are at most `max`.
pub async fn read(blob: &Blob, place: &str, max: u64) -> Result<Vec<u8>> {
    let size = blob.size() as u64;
    if size > max {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(Error::data(place, format!("has {} MiB; at most {} fit here", mib(size), mib(max))));
    }
    let bytes = wait(blob.array_buffer(), &format!("reading {place}")).await?;
    Ok(Uint8Array::new(&bytes).to_vec())
}
