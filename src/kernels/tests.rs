//! Tests that concern every kernel: the files belong together, the WGSL is valid, uniform blocks agree.

use super::launch::{Form, Shader};
use super::{
    adamw, block_matmul, causal_softmax, cross_entropy, dequantize, dequantize::With, global_norm, matmul,
    matmul_tiled, merge_blocks, rms_norm, rotary, step_guard, swiglu,
};
use crate::weights::TensorType;
use std::mem::offset_of;
use std::path::Path;

/// Every variant of every shader that a launch can ask for, or at least one of each form and tile.
fn variants() -> Vec<Shader> {
    let widths = [1, 3, 9, 12, 16, 64, 100];
    let mut variants = Vec::new();
    variants.extend([true, false].map(matmul::shader));
    for tile in [32, 64] {
        variants.extend([true, false].map(|vectors| matmul_tiled::shader(tile, vectors)));
    }
    for form in Form::ALL {
        variants.extend([true, false].map(|vectors| adamw::shader(form, vectors)));
        variants.extend([global_norm::shader(form), merge_blocks::shader(form)]);
        variants.extend([rotary::shader(form), step_guard::shader(form)]);
        let parts: &[_] = match form {
            Form::Register => &[Some("PARTIAL"), Some("NORM"), Some("GRADIENT")],
            Form::Workgroup => &[None, Some("GRADIENT")],
        };
        variants.extend(parts.iter().map(|part| cross_entropy::shader(form, *part)));
        for format in TensorType::KEPT {
            for with in [With::Nothing, With::Blocks, With::Ids] {
                variants.extend([256, 513].map(|width| dequantize::shader(form, format, width, with)));
            }
        }
        for backward in [true, false] {
            variants.extend([true, false].map(|packed| causal_softmax::shader(form, backward, packed)));
            variants.push(rms_norm::shader(form, backward));
            variants.push(swiglu::shader(form, backward));
        }
        for inner in widths {
            for transposed in [true, false] {
                variants.extend(widths.map(|outer| block_matmul::product_shader(form, inner, outer, transposed)));
            }
        }
        variants.push(block_matmul::sum_shader(form));
        for d_in in widths {
            variants.extend(widths.map(|d_out| block_matmul::gradient_shader(form, d_in, d_out)));
        }
    }
    variants
}

fn parse(shader: &Shader) -> naga::Module {
    let text = shader.wgsl();
    assert!(!text.contains("{{") && !text.contains("//#"), "{}: a template mark is left\n{text}", shader.name);
    naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{} {:?}: {}", shader.name, shader.form, e.emit_to_string(&text)))
}

#[test]
fn every_variant_is_valid_wgsl_within_webgpu_limits() {
    for shader in variants() {
        let module = parse(&shader);
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
        validator.validate(&module).unwrap_or_else(|e| panic!("{} {:?}: {e:?}", shader.name, shader.form));
        let invocations: u32 = shader.workgroup.iter().product();
        assert!(invocations <= 256 && shader.workgroup[2] <= 64, "{} {:?}", shader.name, shader.workgroup);
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
            .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
            .sum();
        assert!(shared <= 16 << 10, "{} {:?} {:?}: {shared} bytes", shader.name, shader.form, shader.workgroup);
        assert!(
            shader.form == Form::Workgroup || shared == 0,
            "{}: the register form has no shared memory",
            shader.name
        );
    }
}

#[test]
fn uniform_blocks_are_the_same_in_rust_and_wgsl() {
    macro_rules! fields {
        ($type:ty: $($field:ident),*) => {
            (vec![$((stringify!($field).to_owned(), offset_of!($type, $field) as u32)),*], size_of::<$type>() as u32)
        };
    }
    let rust = [
        (
            block_matmul::product_shader(Form::Register, 4, 4, false),
            fields!(block_matmul::ProductParams: tokens, blocks, inner, outer),
        ),
        (
            block_matmul::gradient_shader(Form::Register, 4, 4),
            fields!(block_matmul::GradientParams: tokens, blocks, d_in, d_out, tokens_per_split, splits, pad0, pad1),
        ),
        (
            matmul::shader(false),
            fields!(matmul::Params: tokens, width, terms, batch, x_row, x_block, x_step, x_matrix, x_last, w_row, w_block,
                w_step, w_matrix, w_last, x_turned, w_turned),
        ),
        (
            matmul_tiled::shader(64, true),
            fields!(matmul::Params: tokens, width, terms, batch, x_row, x_block, x_step, x_matrix, x_last, w_row,
                w_block, w_step, w_matrix, w_last, x_turned, w_turned),
        ),
        (cross_entropy::shader(Form::Workgroup, None), fields!(cross_entropy::Params: rows, classes, stretches, pad)),
        (
            causal_softmax::shader(Form::Register, false, false),
            fields!(causal_softmax::Params: score_rows, length, rows_per_row, seen, start, scale, all_queries,
                first_query),
        ),
        (rms_norm::shader(Form::Register, false), fields!(rms_norm::Params: rows, width, eps, pad)),
        (
            rotary::shader(Form::Register),
            fields!(rotary::Params: pairs, pairs_per_row, length, half, sign, pad0, pad1, pad2),
        ),
        (
            dequantize::shader(Form::Register, TensorType::Q4_1, 32, With::Blocks),
            fields!(dequantize::Params: groups, width, row_bytes, first, held, row, d_in, d_out),
        ),
        (swiglu::shader(Form::Register, false), fields!(swiglu::Params: length, pad0, pad1, pad2)),
        (merge_blocks::shader(Form::Register), fields!(merge_blocks::Params: blocks, d_in, d_out, with_update)),
        (global_norm::shader(Form::Register), fields!(global_norm::Params: length, stretch, square, root)),
        (
            adamw::shader(Form::Register, true),
            fields!(adamw::Params: length, learning_rate, beta2, one_minus_beta1, one_minus_beta2, epsilon, keep,
                correction1, correction2_sqrt, max_grad_norm, pad0, pad1),
        ),
    ];
    for (shader, (fields, size)) in rust {
        let module = parse(&shader);
        let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params")).expect("struct Params");
        let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("Params is a struct") };
        let wgsl: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect();
        assert_eq!((wgsl, *span), (fields, size), "{}", shader.name);
        assert_eq!(size % 16, 0, "{}: WebGPU rounds uniform blocks to 16 bytes", shader.name);
    }
}

#[test]
fn a_shader_a_module_and_a_line_in_the_readme_carry_one_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("shaders/README.md")).expect("shaders/README.md");
    let known: Vec<_> = variants().iter().map(|shader| shader.name).collect();
    for entry in std::fs::read_dir(root.join("shaders")).expect("shaders/") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|ending| ending == "wgsl") {
            let name = path.file_stem().expect("name").to_string_lossy().into_owned();
            let lines = std::fs::read_to_string(&path).expect("a shader").lines().count();
            assert!(lines < 200, "{name} has {lines} lines; a shader is read as a whole");
            assert!(readme.contains(&format!("| `{name}` |")), "{name} has no line in shaders/README.md");
            assert!(known.contains(&name.as_str()), "{name} is not among the variants that the tests compile");
            let module = name.trim_end_matches("_dd");
            assert!(root.join(format!("src/kernels/{module}.rs")).exists(), "{name} has no module in src/kernels");
        }
    }
}
