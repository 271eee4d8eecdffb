//! From a WGSL file to a launch: forms, template constants, bindings.

use super::template;
use burn::backend::wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous};
use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::cubecl::{
    CubeCount,
    client::Client,
    prelude::{ExecutionMode, KernelId},
    server::{KernelArguments, MetadataBindingInfo},
};
use burn::tensor::{DType, Device, Shape, Tensor};
use std::sync::atomic::{AtomicU8, Ordering};

/// How a kernel spreads its work over the device.
///
/// A real GPU is fast through workgroup memory and barriers; a processor posing as one (software Vulkan,
/// SwiftShader) pays dearly for both and wants each invocation to keep a tile in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Every invocation computes a register tile straight from global memory; no barrier.
    Register,
    /// A workgroup stages tiles in workgroup memory, at most 16 KiB of it and 256 invocations.
    Workgroup,
}

/// 0: chosen by the adapter; 1: register; 2: workgroup.
static FORCED: AtomicU8 = AtomicU8::new(0);

impl Form {
    /// Both forms, for tests and the start-up self-test.
    pub const ALL: [Self; 2] = [Self::Register, Self::Workgroup];

    /// The form that suits the device behind `client`.
    pub fn of(client: &Client) -> Self {
        match FORCED.load(Ordering::Relaxed) {
            1 => return Self::Register,
            2 => return Self::Workgroup,
            _ => {}
        }
        let identity = &client.properties().identity;
        // Natively a software adapter has no card behind it; a browser only tells by name.
        let name = identity.name.to_lowercase();
        let software =
            identity.physical.is_none() || ["swiftshader", "llvmpipe", "warp"].iter().any(|s| name.contains(s));
        if software { Self::Register } else { Self::Workgroup }
    }

    /// The form that suits `device`; `None` for the CPU backend, which has no kernels.
    pub fn on(device: &Device) -> Option<Self> {
        match Tensor::<1>::empty([1], device).into_dispatch().kind {
            DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => Some(Self::of(&tensor.client)),
            _ => None,
        }
    }

    /// Overrides [`Form::of`] for the whole process; `None` gives the choice back to the adapter.
    pub fn force(form: Option<Self>) {
        let code = match form {
            None => 0,
            Some(Self::Register) => 1,
            Some(Self::Workgroup) => 2,
        };
        FORCED.store(code, Ordering::Relaxed);
    }
}

/// One compiled variant of a shader: its text, the form, and every constant its template depends on.
#[derive(Debug, Clone)]
pub struct Shader {
    /// Name of the file in `shaders/`, without its ending.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
    /// Which form of it.
    pub form: Form,
    /// Values for the `{{ NAME }}` places of the text.
    pub constants: Vec<(&'static str, u32)>,
    /// Invocations per workgroup; the text sees them as `WG_X`, `WG_Y` and `WG_Z`.
    pub workgroup: [u32; 3],
}

impl Shader {
    /// The WGSL of this variant, from the template that the file is.
    pub fn wgsl(&self) -> String {
        let form = match self.form {
            Form::Register => "register",
            Form::Workgroup => "workgroup",
        };
        let [x, y, z] = self.workgroup;
        let own = [(form, 1), ("WG_X", x), ("WG_Y", y), ("WG_Z", z)];
        template::expand(self.text, self.constants.iter().copied().chain(own).collect())
    }

    /// Workgroups of an element-wise kernel: one invocation for each of `count` elements.
    pub(crate) fn for_elements(&self, count: u32) -> [u32; 3] {
        spread(count.div_ceil(self.workgroup[0]))
    }

    /// Workgroups of a row-wise kernel: for each row one invocation in the register form, in the other one workgroup.
    pub(crate) fn for_rows(&self, rows: u32) -> [u32; 3] {
        match self.form {
            Form::Register => [rows.div_ceil(self.workgroup[0]), 1, 1],
            Form::Workgroup => spread(rows),
        }
    }

    /// Launches on `count` workgroups with `buffers` bound in order at group 0 and `params` as the uniform
    /// block after them.
    pub fn launch<P: bytemuck::Pod>(self, client: &Client, count: [u32; 3], buffers: &[&CubeTensor], params: P) {
        let [x, y, z] = count;
        if x * y * z == 0 {
            return;
        }
        let [wx, wy, wz] = self.workgroup;
        let dim = CubeDim::new_3d(wx, wy, wz);
        let bindings = buffers.iter().map(|tensor| tensor.handle.clone().binding()).collect();
        client.launch(
            Box::new(SourceKernel::new(self, dim)),
            CubeCount::Static(x, y, z),
            KernelArguments::new().with_buffers(bindings).with_info(MetadataBindingInfo::custom(words(&params))),
        );
    }
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.wgsl())
    }

    fn id(&self) -> KernelId {
        // The cache is keyed by this alone, never by the text: it names all that the text depends on.
        KernelId::new::<Self>()
            .info((self.name, self.form, self.constants.clone(), self.workgroup))
            .mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// A uniform block as CubeCL takes it: 8-byte words, padded to the 16 bytes WebGPU asks for.
fn words<P: bytemuck::Pod>(params: &P) -> Vec<u64> {
    let mut bytes = bytemuck::bytes_of(params).to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("chunks of 8"))).collect()
}

/// `tensor` as contiguous f32.
pub(crate) fn contiguous(tensor: CubeTensor) -> CubeTensor {
    assert_eq!(tensor.dtype, DType::F32, "kernels take f32 tensors");
    into_contiguous(tensor)
}

/// `tensor` as contiguous f32 that may be written: itself where nothing else holds it, else a copy.
pub(crate) fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// An uninitialised f32 tensor beside `like`.
pub(crate) fn empty_like(like: &CubeTensor, shape: Shape) -> CubeTensor {
    let handle = like.client.empty(shape.num_elements() * size_of::<f32>());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, DType::F32)
}

/// Spreads `groups` workgroups over x and y, since one dimension ends at 65,535.
/// Shaders undo it with `workgroup_id.x + workgroup_id.y * num_workgroups.x`.
pub(crate) fn spread(groups: u32) -> [u32; 3] {
    const MAX: u32 = 65_535;
    let y = groups.div_ceil(MAX).max(1);
    [groups.div_ceil(y), y, 1]
}
