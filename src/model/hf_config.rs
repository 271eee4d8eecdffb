//! Hugging Face's `config.json`.

use super::config::{Architecture, MAX_LAYERS, ModelConfig};
use super::frequencies::RopeScaling;
use crate::error::{Error, Result};
use crate::weights::quoted;
use serde_json::{Value, json};

/// Every how many layers a SmolLM3 has one without rotary embedding, unless told otherwise. GGUF files never tell.
pub(crate) const NOPE_INTERVAL: usize = 4;

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `place` names the file in errors. Keys that are not there have the values
    /// that `transformers` gives them.
    ///
    /// # Errors
    /// On a missing or mistyped key, an unsupported family or feature, or sizes that do not fit together.
    pub fn from_hf(config: &Value, place: &str) -> Result<Self> {
        let reader = Reader { config, place };
        let no_type = "no \"model_type\"; is this the config.json of a language model?";
        let model_type = config["model_type"].as_str().ok_or_else(|| reader.wrong(no_type))?;
        let architecture = Architecture::from_name(model_type, place)?;
        let size = |key: &str| reader.size(config, key);
        let optional_size = |key: &str| reader.optional_size(key);
        reader.refuse_other_computations()?;

        let hidden_size = size("hidden_size")?;
        let num_hidden_layers = size("num_hidden_layers")?;
        let num_attention_heads = size("num_attention_heads")?;
        let max_position_embeddings = optional_size("max_position_embeddings")?.unwrap_or(2048);
        let head_dim = match architecture {
            Architecture::Qwen3 => 128,
            _ => hidden_size / num_attention_heads,
        };
        let nope_layers = match architecture {
            Architecture::SmolLm3 => reader.nope_layers(num_hidden_layers)?,
            _ => vec![],
        };
        if architecture != Architecture::Llama {
            reader.refuse_sliding_window(architecture, num_hidden_layers, &nope_layers)?;
        }
        let bias = reader.flag("attention_bias")?.unwrap_or(false);
        let rope_theta = if architecture == Architecture::SmolLm3 { 2e6 } else { 1e4 };
        let tied = architecture == Architecture::SmolLm3;
        Self {
            architecture,
            vocab_size: size("vocab_size")?,
            hidden_size,
            intermediate_size: size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim: optional_size("head_dim")?.unwrap_or(head_dim),
            rms_norm_eps: reader.number(config, "rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta: match reader.number(config, "rope_theta")? {
                Some(theta) => theta,
                None => reader.number(&config["rope_parameters"], "rope_theta")?.unwrap_or(rope_theta),
            },
            rope_scaling: reader.rope_scaling(max_position_embeddings)?,
            nope_layers,
            max_position_embeddings,
            qkv_bias: bias || architecture == Architecture::Qwen2,
            o_bias: bias && architecture != Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
            tie_word_embeddings: reader.flag("tie_word_embeddings")?.unwrap_or(tied),
            eos_token_ids: eos_token_ids(config),
            bos_token_id: token_id(&config["bos_token_id"]),
        }
        .checked(place)
    }

    /// The same model as Hugging Face's `config.json`, for a model that came without one (GGUF).
    pub fn to_hf(&self) -> Value {
        let class = match self.architecture {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
            Architecture::SmolLm3 => "SmolLM3ForCausalLM",
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": self.architecture.name(),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling,
            "attention_bias": self.qkv_bias,
            "mlp_bias": false,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tie_word_embeddings,
            "vocab_size": self.vocab_size,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
            "torch_dtype": "float32",
        });
        if self.architecture == Architecture::SmolLm3 {
            let rotated = |layer| u8::from(!self.nope_layers.contains(&layer));
            config["no_rope_layers"] = (0..self.num_hidden_layers).map(rotated).collect();
        }
        config
    }
}

/// Every `interval`th of so many layers, which is what has no rotary embedding in a model that does not list them.
pub(crate) fn every_nth_layer(layers: usize, interval: usize) -> Vec<usize> {
    let layers = layers.min(MAX_LAYERS); // more are refused, but later
    (0..layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect()
}

/// Typed access to a configuration.
struct Reader<'a> {
    config: &'a Value,
    place: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::model(self.place, what)
    }

    fn size(&self, config: &Value, key: &str) -> Result<usize> {
        let value = config.get(key).ok_or_else(|| self.wrong(format!("no \"{key}\"")))?;
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        size.ok_or_else(|| self.wrong(format!("\"{key}\" is {value}; expected a positive whole number")))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match &self.config[key] {
            Value::Null => Ok(None),
            _ => self.size(self.config, key).map(Some),
        }
    }

    fn number(&self, config: &Value, key: &str) -> Result<Option<f64>> {
        match &config[key] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| self.wrong(format!("\"{key}\" is not a number"))),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match &self.config[key] {
            Value::Null => Ok(None),
            value => value.as_bool().map(Some).ok_or_else(|| self.wrong(format!("\"{key}\" is not true or false"))),
        }
    }

    /// Errors on what would change the model's answers and is not computed here.
    fn refuse_other_computations(&self) -> Result<()> {
        if self.flag("mlp_bias")? == Some(true) {
            return Err(self.wrong("a bias in the MLP is not supported"));
        }
        if let Some(act) = self.config["hidden_act"].as_str().filter(|act| *act != "silu") {
            return Err(self.wrong(format!("activation {} is not supported; supported: silu", quoted(act))));
        }
        for settings in [self.config, &self.config["rope_scaling"], &self.config["rope_parameters"]] {
            if let Some(part) = self.number(settings, "partial_rotary_factor")?.filter(|part| *part != 1.0) {
                return Err(self.wrong(format!("a rotary embedding of {part} of each head is not supported")));
            }
        }
        Ok(())
    }

    /// Layers with a 0 in `no_rope_layers` (whose name says the opposite), else every `no_rope_layer_interval`th.
    fn nope_layers(&self, layers: usize) -> Result<Vec<usize>> {
        let value = &self.config["no_rope_layers"];
        if value.is_null() {
            let interval = self.optional_size("no_rope_layer_interval")?.unwrap_or(NOPE_INTERVAL);
            return Ok(every_nth_layer(layers, interval));
        }
        let rotated = |value: &Value| value.as_u64().filter(|rotated| *rotated < 2);
        let flags = value.as_array().and_then(|flags| flags.iter().map(rotated).collect::<Option<Vec<_>>>());
        let flags = flags
            .filter(|flags| flags.len() >= layers)
            .ok_or_else(|| self.wrong(format!("\"no_rope_layers\" is not a list of {layers} times 0 or 1")))?;
        Ok((0..layers).filter(|layer| flags[*layer] == 0).collect())
    }

    /// Errors if any layer may attend to a window only.
    fn refuse_sliding_window(&self, family: Architecture, layers: usize, nope_layers: &[usize]) -> Result<()> {
        let in_use = self.flag("use_sliding_window")? == Some(true) && !self.config["sliding_window"].is_null();
        let windowed = match self.config["layer_types"].as_array() {
            Some(types) => types.iter().any(|kind| kind != "full_attention"),
            None if family == Architecture::SmolLm3 => in_use && !nope_layers.is_empty(),
            None => {
                let first = self.number(self.config, "max_window_layers")?;
                in_use && first.is_none_or(|first| first < layers as f64)
            }
        };
        if windowed {
            return Err(self.wrong("layers that attend to a sliding window only are not supported"));
        }
        Ok(())
    }

    /// From `rope_scaling`, or `rope_parameters` in newer files.
    fn rope_scaling(&self, max_position_embeddings: usize) -> Result<Option<RopeScaling>> {
        let places = [&self.config["rope_scaling"], &self.config["rope_parameters"]];
        let kind = |settings: &&Value| settings["rope_type"].is_string() || settings["type"].is_string();
        let Some(settings) = places.into_iter().find(kind) else { return Ok(None) };
        let kind = settings["rope_type"].as_str().or(settings["type"].as_str()).unwrap_or_default();
        let number = |key: &str| {
            self.number(settings, key)?
                .ok_or_else(|| self.wrong(format!("rotary embedding of type \"{kind}\" without \"{key}\"")))
        };
        match kind {
            "default" => Ok(None),
            "linear" => Ok(Some(RopeScaling::Linear { factor: number("factor")? })),
            "llama3" => Ok(Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: match &settings["original_max_position_embeddings"] {
                    Value::Null => max_position_embeddings,
                    _ => self.size(settings, "original_max_position_embeddings")?,
                },
            })),
            other => Err(self.wrong(format!(
                "rotary embedding of type {} is not supported; supported: default, linear, llama3",
                quoted(other)
            ))),
        }
    }
}

/// The ids in `eos_token_id` of a `config.json` or `generation_config.json`: one or a list, without doubles. Anything
/// else has none.
pub(crate) fn eos_token_ids(config: &Value) -> Vec<u32> {
    let all: Vec<u32> = match &config["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(token_id).collect(),
        id => token_id(id).into_iter().collect(),
    };
    let mut ids = Vec::new();
    for id in all {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model_type: &str) -> Value {
        json!({
            "model_type": model_type, "vocab_size": 40, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
        })
    }

    fn with(model_type: &str, keys: Value) -> Result<ModelConfig> {
        let mut config = config(model_type);
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        ModelConfig::from_hf(&config, "config.json")
    }

    fn error(model_type: &str, keys: Value) -> String {
        let error = with(model_type, keys).unwrap_err().to_string();
        error.strip_prefix("config.json: ").unwrap().to_owned()
    }

    #[test]
    fn families_and_what_they_leave_out() {
        for (name, architecture) in Architecture::KNOWN {
            let config = with(name, json!({})).unwrap();
            assert_eq!((config.architecture, architecture.name()), (architecture, name));
            assert_eq!(config.head_dim, if name == "qwen3" { 128 } else { 16 }, "{name}");
            assert_eq!(config.rope_theta, if name == "smollm3" { 2e6 } else { 1e4 }, "{name}");
            assert_eq!(config.tie_word_embeddings, name == "smollm3", "{name}");
            assert_eq!((config.qkv_bias, config.o_bias), (name == "qwen2", false), "{name}");
            assert_eq!(config.qk_norm, name == "qwen3", "{name}");
            assert_eq!(config.nope_layers, if name == "smollm3" { vec![3, 7] } else { vec![] }, "{name}");
            let biased = with(name, json!({"attention_bias": true})).unwrap();
            assert_eq!((biased.qkv_bias, biased.o_bias), (true, name != "qwen2"), "{name}");
        }
        let known = "supported: llama, qwen2, qwen3, smollm3";
        assert_eq!(error("mamba", json!({})), format!("model type \"mamba\" is not supported; {known}"));
        assert!(error("\x1b[2J", json!({})).contains(r#""\u{1b}[2J""#));
    }

    #[test]
    fn what_is_written_reads_back() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 8192});
        for name in Architecture::KNOWN.map(|(name, _)| name) {
            for rope in [Value::Null, json!({"rope_type": "linear", "factor": 2.5}), scaling.clone()] {
                let keys = json!({"rope_scaling": rope, "rope_theta": 5e5, "head_dim": 24, "attention_bias": true,
                                  "eos_token_id": [2, 3], "max_position_embeddings": 64});
                let config = with(name, keys).unwrap();
                assert_eq!(ModelConfig::from_hf(&config.to_hf(), "").unwrap(), config, "{name}");
            }
        }
        let config = with("smollm3", json!({"no_rope_layers": [0, 1, 1, 1, 1, 0, 1, 1]})).unwrap();
        assert_eq!(config.nope_layers, [0, 5]);
        assert_eq!(ModelConfig::from_hf(&config.to_hf(), "").unwrap(), config);
    }

    #[test]
    fn layers_without_rotary_embedding() {
        assert_eq!(with("smollm3", json!({"no_rope_layer_interval": 3})).unwrap().nope_layers, [2, 5]);
        assert_eq!(
            with("smollm3", json!({"no_rope_layers": [1, 1, 1, 1, 1, 1, 1, 1, 0]})).unwrap().nope_layers,
            [0; 0]
        );
        assert!(error("smollm3", json!({"num_hidden_layers": u64::MAX})).contains("expected 1 to 1024"));
        for flags in [json!([0, 1]), json!([1, 1, 1, 1, 1, 1, 1, 2]), json!("all"), json!([-1, 1, 1, 1, 1, 1, 1, 1])] {
            let error = error("smollm3", json!({"no_rope_layers": flags}));
            assert_eq!(error, "\"no_rope_layers\" is not a list of 8 times 0 or 1");
        }
    }

    #[test]
    fn scaled_rotary_embeddings() {
        let (factor, low_freq_factor, high_freq_factor) = (32.0, 1.0, 4.0);
        let llama3 = |original_max_position_embeddings| RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        };
        let mut rope = json!({"rope_type": "llama3", "factor": 32, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 8192, "rope_theta": 7.0});
        let old = with("llama", json!({"rope_scaling": rope, "rope_theta": 5.0})).unwrap();
        assert_eq!((old.rope_scaling, old.rope_theta), (Some(llama3(8192)), 5.0));
        let new = with("llama", json!({"rope_parameters": rope})).unwrap();
        assert_eq!((new.rope_scaling, new.rope_theta), (Some(llama3(8192)), 7.0));
        rope["original_max_position_embeddings"] = Value::Null;
        let keys = json!({"rope_scaling": rope, "max_position_embeddings": 77});
        assert_eq!(with("llama", keys).unwrap().rope_scaling, Some(llama3(77)));
        rope["factor"] = json!(0);
        assert!(
            error("llama", json!({"rope_scaling": rope})).starts_with("the scaling of the rotary embedding is out")
        );

        let linear = json!({"rope_scaling": {"type": "linear", "factor": 2.0}});
        assert_eq!(with("qwen2", linear).unwrap().rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
        let default = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}});
        assert_eq!(with("qwen3", default).unwrap().rope_scaling, None);
        assert_eq!(
            error("qwen2", json!({"rope_scaling": {"type": "yarn", "factor": 4.0}})),
            "rotary embedding of type \"yarn\" is not supported; supported: default, linear, llama3"
        );
        assert_eq!(
            error("llama", json!({"rope_scaling": {"rope_type": "linear"}})),
            "rotary embedding of type \"linear\" without \"factor\""
        );
        assert!(
            error("llama", json!({"rope_parameters": {"partial_rotary_factor": 0.5}})).contains("0.5 of each head")
        );
    }

    #[test]
    fn sliding_windows() {
        let window = json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 4});
        for name in ["qwen2", "qwen3", "smollm3"] {
            assert!(error(name, window.clone()).contains("a sliding window only are not supported"), "{name}");
            for (key, value) in [("use_sliding_window", json!(false)), ("sliding_window", Value::Null)] {
                let mut unused = window.clone();
                unused[key] = value;
                assert!(with(name, unused).is_ok(), "{name} {key}");
            }
            let mut types = vec!["full_attention"; 8];
            assert!(with(name, json!({"layer_types": types})).is_ok());
            types[5] = "sliding_attention";
            assert!(error(name, json!({"layer_types": types})).contains("a sliding window"));
        }
        for (layers, used) in [(json!(8), false), (json!(0), true), (Value::Null, true)] {
            let keys = json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": layers});
            assert_eq!(with("qwen3", keys).is_err(), used, "{layers}");
        }
    }

    #[test]
    fn wrong_kinds_of_values() {
        assert!(error("qwen2", json!({"attention_bias": "yes"})).contains("\"attention_bias\" is not true or false"));
        assert!(error("qwen2", json!({"rope_theta": "big"})).contains("\"rope_theta\" is not a number"));
        assert!(error("qwen2", json!({"head_dim": 0})).contains("expected a positive whole number"));
        assert!(error("qwen2", json!({"hidden_act": "gelu"})).contains("activation \"gelu\" is not supported"));
        assert!(error("llama", json!({"mlp_bias": true})).contains("a bias in the MLP"));
    }
}
