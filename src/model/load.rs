//! From a source on disk to a model on a device, tensor by tensor.

use super::{Attention, Layer, Linear, Mlp, Model, ModelConfig, Projection, RmsNorm, RotaryTables};
use crate::error::{Error, Result};
use crate::source::Source;
use burn::tensor::{Device, Tensor, TensorData};

impl Model {
    /// Reads all weights of `source` as f32 onto `device`, one at a time; whether each fits there is for
    /// [`Source::check_fits`] to say.
    ///
    /// # Errors
    /// If the source breaks its format.
    pub async fn load(source: &Source, device: &Device) -> Result<Self> {
        Self::load_with(source, device, |_, _| ()).await
    }

    /// As [`Model::load`]; `progress` hears how many layers are there, and of how many.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub async fn load_with(source: &Source, device: &Device, progress: impl Fn(usize, usize)) -> Result<Self> {
        let loader = Loader { source, device };
        let config = source.config.clone();
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            progress(index, config.num_hidden_layers);
            layers.push(loader.layer(&config, index).await?);
        }
        Ok(Self {
            embedding: loader.tensor("model.embed_tokens.weight").await?,
            norm: loader.norm("model.norm.weight", &config).await?,
            head: if config.tie_word_embeddings { None } else { Some(loader.tensor("lm_head.weight").await?) },
            layers,
            config,
            tables: RotaryTables::default(),
        })
    }
}

struct Loader<'a> {
    source: &'a Source,
    device: &'a Device,
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

    async fn norm(&self, name: &str, config: &ModelConfig) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: self.tensor(name).await?, eps: config.rms_norm_eps })
    }

    async fn linear(&self, config: &ModelConfig, layer: usize, projection: Projection) -> Result<Linear> {
        let path = projection.path(layer);
        let bias = if projection.has_bias(config) { Some(self.tensor(&format!("{path}.bias")).await?) } else { None };
        Ok(Linear { weight: self.tensor(&format!("{path}.weight")).await?, bias })
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
