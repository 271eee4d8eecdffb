//! The start-up check, and a toy run.

use crate::support::*;
use diablo::kernels::Form;
use diablo::selftest::{check_kernels, toy_losses};
use pollster::block_on;
use std::collections::BTreeSet;

#[test]
fn every_kernel_agrees_with_its_twin_on_this_gpu() {
    let _form = keep_form();
    let checks = block_on(check_kernels(&gpu().device, &Form::ALL)).expect("self-test");
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).expect("shaders/");
    let files: Vec<_> = folder.map(|entry| entry.expect("entry").path()).collect();
    let shaders = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "wgsl"));
    let shaders: BTreeSet<_> = shaders.map(|path| path.file_stem().expect("a name").to_string_lossy()).collect();
    for (form, of_the_other) in [(Form::Register, "matmul_tiled"), (Form::Workgroup, "")] {
        let shaders: BTreeSet<_> = shaders.iter().filter(|name| **name != of_the_other).cloned().collect();
        let of_form = checks.iter().filter(|check| check.form == format!("{form:?}"));
        let checked: BTreeSet<_> = of_form.map(|check| check.name.into()).collect();
        assert_eq!(checked, shaders, "{form:?}: every shader is in the self-test");
    }
    for check in checks {
        assert!(check.error <= 1e-5, "{check:?}");
    }
}

/// The same losses on the CPU and on the GPU path.
#[test]
fn a_toy_learns_alike_everywhere() {
    let cpu = block_on(toy_losses(&flex(), 10)).expect("toy");
    let on_gpu = block_on(toy_losses(&gpu().device, 10)).expect("toy");
    assert!(cpu[9] < cpu[0] - 0.1, "{cpu:?}");
    for (cpu, gpu) in cpu.iter().zip(&on_gpu) {
        assert!((cpu - gpu).abs() <= 1e-4 * cpu, "{cpu} on the CPU, {gpu} on the GPU");
    }
}
