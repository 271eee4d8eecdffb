//! From a source on disk to a model on a device, tensor by tensor.

use super::{Attention, Layer, Linear, Mlp, Model, ModelConfig, Projection, RmsNorm, RotaryTables, Weight};
use crate::error::{Error, Result};
use crate::kernels::StoredWeight;
use crate::source::{Holding, Source};
use burn::tensor::{Device, Tensor, TensorData};

impl Model {
    /// Reads all weights of `source` as f32 onto `device`, one at a time, each in one piece.
    ///
    /// # Errors
    /// If the source breaks its format.
    pub async fn load(source: &Source, device: &Device) -> Result<Self> {
        Self::load_with(source, device, &Holding::f32(u64::MAX), |_, _| ()).await
    }

    /// The same with matrices held as `holding` says; `progress` hears how many layers are there, and of how many.
    ///
    /// # Errors
    /// If the source breaks its format, or holds a value that is beyond the form asked for.
    pub async fn load_with(
        source: &Source,
        device: &Device,
        holding: &Holding,
        progress: impl Fn(usize, usize),
    ) -> Result<Self> {
        let loader = Loader { source, device, holding };
        let config = source.config.clone();
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            progress(index, config.num_hidden_layers);
            layers.push(loader.layer(&config, index).await?);
        }
        Ok(Self {
            embedding: loader.matrix("model.embed_tokens.weight").await?,
            norm: loader.norm("model.norm.weight", &config).await?,
            head: if config.tie_word_embeddings { None } else { Some(loader.matrix("lm_head.weight").await?) },
            layers,
            config,
            tables: RotaryTables::default(),
        })
    }
}

struct Loader<'a> {
    source: &'a Source,
    device: &'a Device,
    holding: &'a Holding,
}

impl Loader<'_> {
    async fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>> {
        let wrong = |what: String| Error::model(format!("{}: {name}", self.source.name), what);
        let shape = self.source.shape(name).ok_or_else(|| wrong("is missing".into()))?;
        let shape: [usize; D] =
            shape.try_into().map_err(|_| wrong(format!("has shape {shape:?}, expected {D} dimensions")))?;
        let values = self.source.read_f32(name).await?;
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    async fn matrix(&self, name: &str) -> Result<Weight> {
        let Some((format, parts)) = self.source.parts(name, self.holding) else {
            return Ok(Weight::Dense(self.tensor(name).await?));
        };
        let shape = self.source.shape(name).and_then(|shape| shape.try_into().ok()).expect("a matrix");
        let mut weight = StoredWeight { format, shape, parts: Vec::new() };
        for rows in parts {
            let words = self.source.read_words(name, format, rows.clone()).await?;
            weight.push(rows, words, self.device);
        }
        Ok(Weight::Stored(weight))
    }

    async fn norm(&self, name: &str, config: &ModelConfig) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: self.tensor(name).await?, eps: config.rms_norm_eps })
    }

    async fn linear(&self, config: &ModelConfig, layer: usize, projection: Projection) -> Result<Linear> {
        let path = projection.path(layer);
        let bias = if projection.has_bias(config) { Some(self.tensor(&format!("{path}.bias")).await?) } else { None };
        Ok(Linear { weight: self.matrix(&format!("{path}.weight")).await?, bias })
    }

    async fn layer(&self, config: &ModelConfig, index: usize) -> Result<Layer> {
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let qk_norm = if config.qk_norm {
            let [q, k] = ["self_attn.q_norm", "self_attn.k_norm"].map(name);
            Some((self.norm(&q, config).await?, self.norm(&k, config).await?))
        } else {
            None
        };
        Ok(Layer {
            input_norm: self.norm(&name("input_layernorm"), config).await?,
            attention: Attention {
                q: self.linear(config, index, Projection::Q).await?,
                k: self.linear(config, index, Projection::K).await?,
                v: self.linear(config, index, Projection::V).await?,
                o: self.linear(config, index, Projection::O).await?,
                qk_norm,
                head_dim: config.head_dim,
            },
            post_attention_norm: self.norm(&name("post_attention_layernorm"), config).await?,
            mlp: Mlp {
                gate: self.linear(config, index, Projection::Gate).await?,
                up: self.linear(config, index, Projection::Up).await?,
                down: self.linear(config, index, Projection::Down).await?,
            },
        })
    }
}
