// AdamW with decoupled weight decay (arXiv 1711.05101), as PyTorch computes it: one pass over parameter,
// moments and gradient, in place. The gradient's global norm stays on the device: the clip factor is made
// from it here, and where it is not a finite number nothing is written, so that the last good state remains.
// Twin: src/kernels/adamw.rs.

struct Params {
    length: u32,
    learning_rate: f32,
    beta2: f32,
    // 1 - beta, rounded from f64: in f32, 1 - 0.999 is already off by 5e-5 of itself.
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    // 1 - learning_rate * weight_decay
    keep: f32,
    // 1 - beta1^step, and the root of 1 - beta2^step
    correction1: f32,
    correction2_sqrt: f32,
    // Largest norm let through; 0 or less: no clipping.
    max_grad_norm: f32,
    pad0: f32,
    pad1: f32,
}

// Four at a time where the buffers' length allows.
//#if VECTORS
alias Value = vec4<f32>;
//#else
alias Value = f32;
//#end

@group(0) @binding(0) var<storage, read_write> parameter: array<Value>;
@group(0) @binding(1) var<storage, read_write> moment1: array<Value>;
@group(0) @binding(2) var<storage, read_write> moment2: array<Value>;
@group(0) @binding(3) var<storage, read_write> gradient: array<Value>;
@group(0) @binding(4) var<storage, read_write> grad_norm: array<f32>; // the first of its values
@group(0) @binding(5) var<uniform> p: Params;

// Neither infinite nor NaN, told by the exponent's bits: compilers may assume that floats are finite.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

// One invocation for each value.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let at = id.y * groups.x * {{ WG_X }}u + id.x;
    let norm = grad_norm[0];
    if (at >= p.length || !is_finite(norm)) {
        return;
    }
    var clip = 1.0;
    if (p.max_grad_norm > 0.0) {
        clip = min(1.0, p.max_grad_norm / (norm + 1e-6));
    }
    let g = gradient[at] * clip;
    let before = moment1[at];
    let m = before + p.one_minus_beta1 * (g - before);
    let v = p.beta2 * moment2[at] + p.one_minus_beta2 * g * g;
    moment1[at] = m;
    moment2[at] = v;
    let denominator = sqrt(v) / p.correction2_sqrt + p.epsilon;
    parameter[at] = p.keep * parameter[at] - p.learning_rate / p.correction1 * (m / denominator);
}
