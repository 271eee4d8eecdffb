//! Names and shapes of a model's tensors, as Hugging Face stores them.

use super::config::ModelConfig;
use super::projection::Projection;

/// Every tensor that a model of this configuration has, with its shape: `[out, in]` for a matrix. The order is that
/// of the forward pass: embedding, layers, final norm, head (where it is not the embedding).
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden])];
    for layer in 0..config.num_hidden_layers {
        let norm = |part: &str, width: usize| (format!("model.layers.{layer}.{part}.weight"), vec![width]);
        tensors.push(norm("input_layernorm", hidden));
        for projection in Projection::ALL {
            if projection == Projection::Gate {
                if config.qk_norm {
                    tensors.push(norm("self_attn.q_norm", config.head_dim));
                    tensors.push(norm("self_attn.k_norm", config.head_dim));
                }
                tensors.push(norm("post_attention_layernorm", hidden));
            }
            let [d_in, d_out] = projection.size(config);
            let path = projection.path(layer);
            tensors.push((format!("{path}.weight"), vec![d_out, d_in]));
            if projection.has_bias(config) {
                tensors.push((format!("{path}.bias"), vec![d_out]));
            }
        }
    }
    tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !config.tie_word_embeddings {
        tensors.push(("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]));
    }
    tensors
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Heads that are wider together than the residual stream.
    pub(crate) fn config() -> ModelConfig {
        ModelConfig { head_dim: 24, eos_token_ids: vec![], bos_token_id: None, ..crate::testing::tiny_config() }
    }

    #[test]
    fn a_tied_model_without_biases() {
        let tensors = expected_tensors(&config());
        assert_eq!(tensors.len(), 1 + 2 * 9 + 1);
        assert_eq!(tensors[0], ("model.embed_tokens.weight".into(), vec![300, 64]));
        assert_eq!(tensors[1], ("model.layers.0.input_layernorm.weight".into(), vec![64]));
        assert_eq!(tensors[2], ("model.layers.0.self_attn.q_proj.weight".into(), vec![96, 64]));
        assert_eq!(tensors[3], ("model.layers.0.self_attn.k_proj.weight".into(), vec![48, 64]));
        assert_eq!(tensors[5], ("model.layers.0.self_attn.o_proj.weight".into(), vec![64, 96]));
        assert_eq!(tensors[6], ("model.layers.0.post_attention_layernorm.weight".into(), vec![64]));
        assert_eq!(tensors[9], ("model.layers.0.mlp.down_proj.weight".into(), vec![64, 128]));
        assert_eq!(tensors[19], ("model.norm.weight".into(), vec![64]));
    }

    #[test]
    fn options_add_their_tensors() {
        let plain = expected_tensors(&config());
        let all = ModelConfig { qkv_bias: true, o_bias: true, qk_norm: true, tie_word_embeddings: false, ..config() };
        let added: Vec<_> = expected_tensors(&all).into_iter().filter(|t| !plain.contains(t)).collect();
        let mut expected = vec![];
        for layer in 0..2 {
            for (part, width) in [
                ("q_proj.bias", 96),
                ("k_proj.bias", 48),
                ("v_proj.bias", 48),
                ("o_proj.bias", 64),
                ("q_norm.weight", 24),
                ("k_norm.weight", 24),
            ] {
                expected.push((format!("model.layers.{layer}.self_attn.{part}"), vec![width]));
            }
        }
        expected.push(("lm_head.weight".into(), vec![300, 64]));
        assert_eq!(added, expected);
    }
}
