//! What several unit tests share.

use crate::kernels::Form;
use crate::model::{Architecture, ModelConfig};
use crate::random::Random;
use burn::backend::{BackendTensor, DispatchTensorKind, wgpu::CubeTensor};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::{Mutex, OnceLock};

/// The first GPU of this machine, software ones included; `tests/run` installs one where there is none.
pub(crate) fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    let start =
        || pollster::block_on(crate::device::select(crate::device::Request::Gpu)).expect("a GPU; see tests/run").device;
    GPU.get_or_init(start).clone()
}

/// The primitive beneath a tensor on a GPU.
pub(crate) fn cube(tensor: burn::backend::DispatchTensor) -> CubeTensor {
    match tensor.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        other => panic!("not a float tensor on a GPU: {other:?}"),
    }
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

/// Those values as a tensor.
pub(crate) fn random_on<const D: usize>(device: &Device, seed: u64, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(random(seed, shape.iter().product()), shape), device)
}

/// What a layer gives, and the gradients of `Σ y·g` to its input and to the blocks of its adapter.
pub(crate) struct LayerResults {
    pub(crate) y: Tensor<2>,
    pub(crate) dx: Tensor<2>,
    pub(crate) d_blocks: Option<Tensor<3>>,
}

impl LayerResults {
    pub(crate) fn of(y: Tensor<2>, g: Tensor<2>, x: &Tensor<2>, blocks: Option<&Tensor<3>>) -> Self {
        let mut grads = (y.clone() * g).sum().backward();
        let dx = x.grad_remove(&mut grads).expect("the input is tracked");
        let d_blocks = blocks.map(|blocks| blocks.grad_remove(&mut grads).expect("the blocks are tracked"));
        Self { y: y.inner(), dx, d_blocks }
    }

    /// Fails unless all are within `tolerance` of those of `other`.
    pub(crate) fn assert_close(self, other: Self, tolerance: f64, what: &str) {
        assert_close(self.y, other.y, tolerance, what);
        assert_close(self.dx, other.dx, tolerance, what);
        assert_eq!(self.d_blocks.is_some(), other.d_blocks.is_some(), "{what}");
        if let (Some(blocks), Some(others)) = (self.d_blocks, other.d_blocks) {
            assert_close(blocks, others, tolerance, what);
        }
    }
}

/// Fails unless `gradient` is what differences of `loss` around `at` say, one value after the other. The loss must be
/// linear in each of them: a wide step is then exact but for rounding.
pub(crate) fn assert_differences<const D: usize>(
    loss: impl Fn(Tensor<D>) -> f64,
    at: &Tensor<D>,
    gradient: Tensor<D>,
    what: &str,
) {
    const STEP: f32 = 0.25;
    let gradient = gradient.into_data().try_into_vec::<f32>().expect("f32");
    for (index, expected) in gradient.iter().enumerate() {
        let nudge: Vec<f32> = (0..gradient.len()).map(|i| if i == index { STEP } else { 0.0 }).collect();
        let nudge = Tensor::from_data(TensorData::new(nudge, at.dims()), &at.device());
        let difference = loss(at.clone() + nudge.clone()) - loss(at.clone() - nudge);
        let found = difference / f64::from(2.0 * STEP);
        assert!((found - f64::from(*expected)).abs() <= 1e-5, "{what} {index}: {found}, not {expected}");
    }
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
