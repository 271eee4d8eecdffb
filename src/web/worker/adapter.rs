//! Adapters on their way out of the browser and in again.

use crate::adapter::{CONFIG_FILE, StoredAdapter, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::weights::Storage;
use std::io::{Cursor, Read, Write};
use wasm_bindgen::{JsCast, JsValue};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// No adapter is larger; keeps a hostile zip from filling the memory.
const MAX_BYTES: u64 = 1 << 30;

/// The zip of `adapter`'s folder.
pub fn to_zip(adapter: &StoredAdapter, model: &ModelConfig) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Error::adapter("adapter.zip", format!("cannot be written: {e}"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Weights hardly get smaller, and stored files can be read by anything.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in adapter.to_files(model)? {
        zip.start_file(format!("adapters/{name}"), options).map_err(|e| failed(&e))?;
        zip.write_all(&bytes).map_err(|e| failed(&e))?;
    }
    Ok(zip.finish().map_err(|e| failed(&e))?.into_inner())
}

/// The adapter in the attached files: a zip, or the two files of an adapter folder.
pub async fn from_files(attachments: &[JsValue], model: &ModelConfig) -> Result<StoredAdapter> {
    let mut parts = [None, None];
    let mut place = "the files".to_owned();
    for file in attachments.iter().filter_map(|file| file.dyn_ref::<web_sys::File>()) {
        place = file.name();
        let bytes = Storage::from_blob(place.as_str(), file.clone().into()).read_all(MAX_BYTES).await?;
        if place.to_ascii_lowercase().ends_with(".zip") {
            parts = unzip(bytes, &place)?;
        } else if let Some(part) = [CONFIG_FILE, WEIGHTS_FILE].iter().position(|name| place == *name) {
            parts[part] = Some(bytes);
        }
    }
    let [Some(config), Some(weights)] = parts else {
        let what = format!("is no adapter; give the zip of an adapter folder, or its {CONFIG_FILE} and {WEIGHTS_FILE}");
        return Err(Error::adapter(place, what));
    };
    StoredAdapter::from_files(&config, &weights, model, &place)
}

fn unzip(bytes: Vec<u8>, place: &str) -> Result<[Option<Vec<u8>>; 2]> {
    let broken = |e: &dyn std::fmt::Display| Error::adapter(place, format!("cannot be read as a zip file: {e}"));
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(&e))?;
    let names = zip.file_names().map(|name| name.map(std::borrow::Cow::into_owned));
    let names = names.collect::<Result<Vec<String>, _>>().map_err(|e| broken(&e))?;
    let mut parts = [None, None];
    for (part, wanted) in parts.iter_mut().zip([CONFIG_FILE, WEIGHTS_FILE]) {
        // In whatever folder it lies; the one nearest to the top, should there be checkpoints beside it.
        let named = names.iter().filter(|name| name.rsplit('/').next() == Some(wanted));
        let Some(name) = named.min_by_key(|name| name.matches('/').count()) else { continue };
        let file = zip.by_name(name).map_err(|e| broken(&e))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
        *part = Some(bytes);
    }
    Ok(parts)
}
