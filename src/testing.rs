//! What several unit tests share.

use crate::kernels::Form;
use crate::model::{Architecture, ModelConfig};
use crate::random::Random;
use burn::tensor::{Device, Tensor};
use std::sync::{Mutex, OnceLock};

/// The first GPU of this machine, software ones included; `tests/run` installs one where there is none.
pub(crate) fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    let start =
        || pollster::block_on(crate::device::select(crate::device::Request::Gpu)).expect("a GPU; see tests/run").device;
    GPU.get_or_init(start).clone()
}

/// Runs `test` with every kernel in `form`; one test at a time, since the choice is the process's.
pub(crate) fn with_form<T>(form: Form, test: impl FnOnce() -> T) -> T {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Form::force(Some(form));
    let result = test();
    Form::force(None);
    result
}

/// `len` values in ±1 that depend on nothing but `seed`.
pub(crate) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| 2.0 * random.next_f32() - 1.0).collect()
}

/// Fails unless `a` is within `tolerance` of `b`, relative in norm.
pub(crate) fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f64, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let values = |tensor: Tensor<D>| tensor.into_data().try_into_vec::<f32>().expect("f32");
    let (a, b) = (values(a), values(b));
    let off: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = b.iter().map(|b| f64::from(*b).powi(2)).sum();
    let distance = off.sqrt() / size.sqrt().max(1e-30);
    assert!(distance <= tolerance, "{what}: relative distance {distance:.2e}");
}

/// The sizes of a small Llama.
pub(crate) fn tiny_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 300,
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 1e4,
        max_position_embeddings: 256,
        rope_scaling: None,
        nope_layers: vec![],
        qkv_bias: false,
        o_bias: false,
        qk_norm: false,
        tie_word_embeddings: true,
        eos_token_ids: vec![2],
        bos_token_id: Some(1),
    }
}
