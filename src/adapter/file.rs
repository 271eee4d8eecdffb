//! The adapter on disk: `adapter_model.safetensors` and `adapter_config.json`.

use super::config::{AdapterConfig, shapes_hash};
use super::slots::{Slot, slots};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::weights::{plain, quoted, safetensors};
use ::safetensors::tensor::{Dtype, SafeTensors};

/// File names inside an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// See [`CONFIG_FILE`].
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Key of the base's hash, in `adapter_config.json` (DiaBlo) or in the weights' metadata (LoRA, whose
/// configuration PEFT reads and would not know it).
const BASE_HASH: &str = "base_shapes_sha256";

/// An adapter read from a file: configuration, and the values of every slot in order.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAdapter {
    /// What it is made of.
    pub config: AdapterConfig,
    /// Name of the model it was trained on.
    pub base: String,
    /// One list for each of [`slots`].
    pub values: Vec<Vec<f32>>,
}

impl StoredAdapter {
    /// Both files as bytes, by name.
    ///
    /// # Errors
    /// If the values do not have the sizes of the slots.
    pub fn to_files(&self, model: &ModelConfig) -> Result<[(&'static str, Vec<u8>); 2]> {
        let slots = slots(&self.config, model);
        let tensors = slots
            .iter()
            .zip(&self.values)
            .map(|(slot, values)| (slot.name.clone(), slot.shape.as_slice(), values.as_slice()));
        let weights = safetensors::to_bytes(tensors, &header_metadata(model), WEIGHTS_FILE)?;
        let mut config =
            serde_json::to_vec_pretty(&self.config.to_json(&self.base, model)).expect("JSON of plain values");
        config.push(b'\n');
        Ok([(WEIGHTS_FILE, weights), (CONFIG_FILE, config)])
    }

    /// Reads both files and checks them against `model`; `place` names the folder in errors.
    ///
    /// # Errors
    /// On broken files, another base, and on any tensor that is missing, left over, or of another shape or type:
    /// an adapter is loaded whole or not at all.
    pub fn from_files(config: &[u8], weights: &[u8], model: &ModelConfig, place: &str) -> Result<Self> {
        let config_place = format!("{place}/{CONFIG_FILE}");
        let json: serde_json::Value = serde_json::from_slice(config)
            .map_err(|e| Error::adapter(&config_place, format!("is not valid JSON: {e}")))?;
        let config = AdapterConfig::from_json(&json, &config_place)?;
        let config = config
            .checked(model)
            .map_err(|e| Error::adapter(&config_place, format!("{e}; is it an adapter for this model?")))?;

        let place = format!("{place}/{WEIGHTS_FILE}");
        let wrong = |what: String| Error::adapter(&place, what);
        let (_, header) = SafeTensors::read_metadata(weights)
            .map_err(|e| wrong(format!("is not a safetensors file: {}", plain(&e.to_string()))))?;
        let in_header = header.metadata().as_ref().and_then(|metadata| metadata.get(BASE_HASH)).map(String::as_str);
        let hash = json[BASE_HASH].as_str().or(in_header);
        let base = json["base_model_name_or_path"].as_str().unwrap_or_default().to_owned();
        if hash.is_some_and(|hash| hash != shapes_hash(model)) {
            return Err(wrong(format!(
                "the adapter was trained on another model ({}): tensor names or shapes differ",
                quoted(&base)
            )));
        }
        let tensors = SafeTensors::deserialize(weights)
            .map_err(|e| wrong(format!("is not a safetensors file: {}", plain(&e.to_string()))))?;
        let slots = slots(&config, model);
        if let Some(extra) = tensors.names().into_iter().find(|name| !slots.iter().any(|slot| slot.name == *name)) {
            return Err(wrong(format!("holds the tensor {}, which {CONFIG_FILE} does not account for", quoted(extra))));
        }
        let values = slots.iter().map(|slot| read_slot(&tensors, slot, &place)).collect::<Result<_>>()?;
        Ok(Self { config, base, values })
    }
}

/// What the header of [`WEIGHTS_FILE`] says besides the tensors.
pub(crate) fn header_metadata(model: &ModelConfig) -> [(&'static str, String); 2] {
    [("format", "pt".to_owned()), (BASE_HASH, shapes_hash(model))]
}

/// The values of `slot` as f32, from any float type.
fn read_slot(tensors: &SafeTensors<'_>, slot: &Slot, place: &str) -> Result<Vec<f32>> {
    let wrong = |what: String| Error::adapter(place, format!("tensor \"{}\" {what}", slot.name));
    let tensor = tensors.tensor(&slot.name).map_err(|_| wrong("is missing".into()))?;
    if tensor.shape() != slot.shape {
        return Err(wrong(format!("has shape {:?}, expected {:?}", tensor.shape(), slot.shape)));
    }
    let halves = tensor.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => halves.map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => halves.map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        other => return Err(wrong(format!("has type {other:?}; expected F32, F16 or BF16"))),
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(wrong(format!("holds a value that is not finite, at {at}"))),
        None => Ok(values),
    }
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use super::{CONFIG_FILE, StoredAdapter, WEIGHTS_FILE};
    use crate::error::{Error, Result};
    use crate::files::{create_folder, write_atomically};
    use crate::model::ModelConfig;
    use std::path::Path;

    impl StoredAdapter {
        /// Writes the adapter folder; each file appears whole or not at all.
        ///
        /// # Errors
        /// Where the system refuses.
        pub fn save(&self, folder: &Path, model: &ModelConfig) -> Result<()> {
            create_folder(folder)?;
            for (name, bytes) in self.to_files(model)? {
                write_atomically(&folder.join(name), |file| file.write_all(&bytes))?;
            }
            Ok(())
        }

        /// Reads an adapter folder; see [`StoredAdapter::from_files`].
        ///
        /// # Errors
        /// If the folder or a file is missing, and as [`StoredAdapter::from_files`].
        pub fn load(folder: &Path, model: &ModelConfig) -> Result<Self> {
            let place = folder.display().to_string();
            if !folder.is_dir() {
                return Err(Error::adapter(
                    place,
                    "no such adapter folder; --adapter-path takes the folder that finetune wrote",
                ));
            }
            let read = |name: &str| {
                let path = folder.join(name);
                std::fs::read(&path).map_err(|e| Error::io(path, "reading the adapter", e))
            };
            Self::from_files(&read(CONFIG_FILE)?, &read(WEIGHTS_FILE)?, model, &place)
        }
    }
}
