//! A Hugging Face folder.

use super::Source;
use super::assets::{Assets, chat_template};
use super::tensors::{Found, Layout, Tensors};
use crate::error::{Error, Result};
use crate::model::config::ModelConfig;
use crate::model::hf_config::eos_token_ids;
use crate::weights::{Storage, quoted, safetensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const GENERATION_CONFIG: &str = "generation_config.json";
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub(super) const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// No file but weights is larger; the largest tokenizers have about 35 MB.
pub(super) const MAX_TEXT: u64 = 256 << 20;

/// Opens those files of a folder that [`read`] may ask for.
#[cfg(not(target_family = "wasm"))]
pub(super) fn open(folder: &Path) -> Result<Vec<(String, Storage)>> {
    let listing = |e| Error::io(folder, "listing the folder", e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(listing)? {
        names.extend(entry.map_err(listing)?.file_name().into_string()); // no file of a model has another name
    }
    names.sort();

    let place = folder.display().to_string();
    let ending =
        |ending: &str| names.iter().filter(|name| name.ends_with(ending)).map(|name| quoted(name)).collect::<Vec<_>>();
    let (gguf, pickle) = (ending(".gguf"), ending(".bin"));
    if !names.iter().any(|name| name == CONFIG) && !gguf.is_empty() {
        let what = format!("no {CONFIG} here, but GGUF files; give one of them instead: {}", gguf.join(", "));
        return Err(Error::model(place, what));
    }
    if !pickle.is_empty() && ending(".safetensors").is_empty() {
        let what = format!(
            "no {WEIGHTS} here; {} may hold weights as a Python pickle, which can run any code and is never read; \
             save the model as safetensors",
            pickle.join(", ")
        );
        return Err(Error::model(place, what));
    }

    let texts = [CONFIG, TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS, CHAT_TEMPLATE, WEIGHTS_INDEX];
    names.retain(|name| name.ends_with(".safetensors") || texts.contains(&name.as_str()));
    names.into_iter().map(|name| Ok((name.clone(), Storage::open(folder.join(name))?))).collect()
}

/// Reads configuration, tokenizer and headers.
pub(super) async fn read(name: String, files: Vec<(String, Storage)>) -> Result<Source> {
    let files = Files { place: &name, by_name: files.into_iter().map(|(name, file)| (name, Arc::new(file))).collect() };

    let config_file = files.required(CONFIG, "a model is a Hugging Face folder or a .gguf file")?;
    let config_json = json(config_file).await?;
    let mut config = ModelConfig::from_hf(&config_json, config_file.place())?;

    let generation_config = files.json(GENERATION_CONFIG).await?;
    for id in generation_config.iter().flat_map(eos_token_ids) {
        if !config.eos_token_ids.contains(&id) {
            config.eos_token_ids.push(id);
        }
    }

    let hint = "older folders hold only a tokenizer.model or vocab.json; save the tokenizer again with transformers";
    let tokenizer_json = files.required(TOKENIZER, hint)?.read_all(MAX_TEXT).await?;
    let tokenizer_config = files.json(TOKENIZER_CONFIG).await?;
    let chat_template = match (files.get(CHAT_TEMPLATE), &tokenizer_config) {
        (Some(file), _) => Some(text(file).await?),
        (None, Some(config)) => chat_template(config, &files.path(TOKENIZER_CONFIG))?,
        (None, None) => None,
    };

    let layout = Layout { place: &name, config_place: CONFIG, stored_name: str::to_owned, permuted: false };
    let tensors = Tensors::select(files.tensors().await?, &config, &layout)?;
    let special_tokens_map = files.json(SPECIAL_TOKENS).await?;
    let assets =
        Assets { config_json, tokenizer_json, tokenizer_config, generation_config, special_tokens_map, chat_template };
    Ok(Source { name, config, assets, tensors, gguf: None })
}

/// The files of a folder.
struct Files<'a> {
    place: &'a str,
    by_name: BTreeMap<String, Arc<Storage>>,
}

impl Files<'_> {
    fn get(&self, name: &str) -> Option<&Arc<Storage>> {
        self.by_name.get(name)
    }

    fn required(&self, name: &str, hint: &str) -> Result<&Arc<Storage>> {
        self.get(name).ok_or_else(|| Error::model(self.place, format!("no {name}; {hint}")))
    }

    /// What to call a file in an error, whether it is there or not.
    fn path(&self, name: &str) -> String {
        self.get(name).map_or_else(|| format!("{}/{name}", self.place), |file| file.place().to_owned())
    }

    async fn json(&self, name: &str) -> Result<Option<Value>> {
        match self.get(name) {
            Some(file) => json(file).await.map(Some),
            None => Ok(None),
        }
    }

    /// All tensors of the one weights file, else of those that the index lists.
    async fn tensors(&self) -> Result<BTreeMap<String, Found>> {
        if let Some(file) = self.get(WEIGHTS) {
            let found = |(name, info)| (name, Found { storage: file.clone(), info });
            return Ok(safetensors::read_header(file).await?.into_iter().map(found).collect());
        }
        let hint = format!("nor {WEIGHTS_INDEX}; the weights of a Hugging Face folder are in one of these");
        let index_file =
            self.get(WEIGHTS_INDEX).ok_or_else(|| Error::model(self.place, format!("no {WEIGHTS}, {hint}")))?;
        let place = index_file.place();
        let index = safetensors::parse_index(&index_file.read_all(MAX_TEXT).await?, place)?;
        let mut headers = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (tensor, shard) in index {
            let listed = format!("tensor {} is listed in file {}", quoted(&tensor), quoted(&shard));
            let storage =
                self.get(&shard).ok_or_else(|| Error::model(place, format!("{listed}, which is not in the folder")))?;
            if !headers.contains_key(&shard) {
                headers.insert(shard.clone(), safetensors::read_header(storage).await?);
            }
            let info = headers.get_mut(&shard).and_then(|header| header.remove(&tensor));
            let info = info.ok_or_else(|| Error::model(place, format!("{listed}, which does not hold it")))?;
            tensors.insert(tensor, Found { storage: storage.clone(), info });
        }
        Ok(tensors)
    }
}

async fn json(file: &Storage) -> Result<Value> {
    serde_json::from_slice(&file.read_all(MAX_TEXT).await?)
        .map_err(|e| Error::model(file.place(), format!("broken JSON: {e}")))
}

async fn text(file: &Storage) -> Result<String> {
    String::from_utf8(file.read_all(MAX_TEXT).await?)
        .map_err(|e| Error::model(file.place(), format!("is not UTF-8: {e}")))
}
