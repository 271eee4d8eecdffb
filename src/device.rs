//! Which GPU or CPU computes, and what it allows.

use crate::error::{Error, Result};
use crate::write;
use burn::tensor::{Device, wgpu::wgpu as gpu};
use serde::Serialize;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This machine's processor, through the CPU backend.
    Cpu,
    /// A graphics card or integrated GPU.
    Gpu,
    /// A processor posing as a GPU (software Vulkan, SwiftShader, WARP): for tests; the CPU is faster.
    Software,
}

/// One line of `diablo devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// What `--device` takes: `cpu` or `gpu:N`.
    pub id: String,
    /// The device as it names itself.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// `Vulkan`, `Metal`, `Dx12`, `BrowserWebGpu`, or `Flex` for the CPU backend.
    pub backend: String,
    /// Driver and its version; empty where it does not tell.
    pub driver: String,
    /// Largest tensor it can bind, in bytes.
    pub max_tensor_bytes: u64,
    /// The WebGPU limit that says so; empty where there is none.
    pub max_tensor_limit: &'static str,
}

impl DeviceInfo {
    /// Why `what`, of so many bytes in one piece, is too much for this device, and with `advice`, a list that ends in
    /// "and ", what to do; `None` where it is not.
    pub(crate) fn cannot_bind(&self, what: &str, bytes: u64, advice: impl FnOnce() -> String) -> Option<String> {
        if bytes <= self.max_tensor_bytes {
            return None;
        }
        let elsewhere = if cfg!(target_family = "wasm") {
            "the program diablo can do it on a processor"
        } else {
            "--device cpu has no such limit"
        };
        let [takes, most] = [bytes, self.max_tensor_bytes].map(write::bytes);
        let (device, limit, advice) = (&self.name, self.max_tensor_limit, advice());
        let limit = format!("this device ({device}) binds at most {most} ({limit})");
        Some(format!("{what} takes {takes} in one piece, and {limit}; {advice}{elsewhere}"))
    }
}

/// A device that is ready to compute.
#[derive(Debug, Clone)]
pub struct SelectedDevice {
    /// Burn's handle.
    pub device: Device,
    /// What it is.
    pub info: DeviceInfo,
    /// Why this one was chosen, for people.
    pub reason: String,
}

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A real GPU if there is one, else the CPU.
    Auto,
    /// The CPU backend.
    Cpu,
    /// The first GPU.
    Gpu,
    /// The GPU with this number, software ones included.
    GpuNumber(usize),
}

impl std::str::FromStr for Request {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            _ => text.strip_prefix("gpu:").and_then(|n| n.parse().ok()).map(Self::GpuNumber).ok_or_else(|| {
                Error::Usage(format!("--device is \"{text}\"; expected auto, cpu, gpu or gpu:N (see diablo devices)"))
            }),
        }
    }
}

/// The CPU backend.
pub fn cpu(reason: impl Into<String>) -> SelectedDevice {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = DeviceInfo {
        id: "cpu".into(),
        name: format!("CPU, {threads} threads"),
        kind: Kind::Cpu,
        backend: "Flex".into(),
        driver: String::new(),
        max_tensor_bytes: isize::MAX as u64,
        max_tensor_limit: "",
    };
    SelectedDevice { device: Device::flex(), info, reason: reason.into() }
}

fn describe(id: String, info: &gpu::AdapterInfo, limits: &gpu::Limits) -> DeviceInfo {
    let (binding, buffer) = (limits.max_storage_buffer_binding_size, limits.max_buffer_size);
    let software = info.device_type == gpu::DeviceType::Cpu || info.name.to_lowercase().contains("swiftshader");
    DeviceInfo {
        id,
        name: if info.name.is_empty() { "GPU".into() } else { info.name.clone() },
        kind: if software { Kind::Software } else { Kind::Gpu },
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_tensor_bytes: binding.min(buffer),
        max_tensor_limit: if binding <= buffer { "maxStorageBufferBindingSize" } else { "maxBufferSize" },
    }
}

/// The browser's GPU.
///
/// # Errors
/// If the browser has no WebGPU or gives no adapter.
#[cfg(target_family = "wasm")]
pub async fn select(_: Request) -> Result<SelectedDevice> {
    Ok(select_with_limits().await?.0)
}

/// The browser's GPU, and its limits by name.
///
/// # Errors
/// If the browser has no WebGPU or gives no adapter.
#[cfg(target_family = "wasm")]
pub async fn select_with_limits() -> Result<(SelectedDevice, Vec<(String, u64)>)> {
    // Few dispatches a submission, and the pages of the default memory configuration: both tried in the browser.
    let (device, setup) = Device::wgpu_options()
        .tasks_max(32)
        .init_with_setup_async()
        .await
        .map_err(|e| Error::Device(format!("this browser gives no WebGPU device: {e}")))?;
    let limits = setup.device.limits();
    let info = describe("gpu:0".into(), &setup.adapter.get_info(), &limits);
    let limits = [
        ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size),
        ("max_buffer_size", limits.max_buffer_size),
        ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage.into()),
        ("max_compute_workgroup_storage_size", limits.max_compute_workgroup_storage_size.into()),
        ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup.into()),
    ];
    let limits = limits.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Ok((SelectedDevice { device, info, reason: "the browser's GPU".into() }, limits))
}

#[cfg(not(target_family = "wasm"))]
pub use native::{available_memory, list, select};

#[cfg(not(target_family = "wasm"))]
mod native {
    use super::*;
    use burn::tensor::{DeviceKind, wgpu::WgpuBackend};

    /// An adapter and how Burn is asked for it.
    struct Found {
        info: DeviceInfo,
        kind: DeviceKind,
        api: WgpuBackend,
    }

    /// Every GPU through Vulkan, Metal or DX12: real ones first, then software.
    async fn find() -> Vec<Found> {
        let backends = gpu::Backends::VULKAN | gpu::Backends::METAL | gpu::Backends::DX12;
        let descriptor = gpu::InstanceDescriptor { backends, ..gpu::InstanceDescriptor::new_without_display_handle() };
        let adapters = gpu::Instance::new(descriptor).enumerate_adapters(backends).await;
        let mut seen: Vec<(gpu::Backend, gpu::DeviceType)> = Vec::new();
        let mut found: Vec<Found> = adapters
            .iter()
            .filter_map(|adapter| {
                let info = adapter.get_info();
                // Burn counts the adapters of one API and kind from zero.
                let key = (info.backend, info.device_type);
                let index = seen.iter().filter(|other| **other == key).count();
                seen.push(key);
                let kind = match info.device_type {
                    gpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(index),
                    gpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(index),
                    gpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu(index),
                    gpu::DeviceType::Cpu if index == 0 => DeviceKind::Cpu,
                    _ => return None,
                };
                let api = match info.backend {
                    gpu::Backend::Vulkan => WgpuBackend::Vulkan,
                    gpu::Backend::Metal => WgpuBackend::Metal,
                    gpu::Backend::Dx12 => WgpuBackend::Dx12,
                    _ => return None,
                };
                Some(Found { info: describe(String::new(), &info, &adapter.limits()), kind, api })
            })
            .collect();
        found.sort_by_key(|found| match found.kind {
            DeviceKind::DiscreteGpu(_) => 0,
            DeviceKind::IntegratedGpu(_) => 1,
            DeviceKind::VirtualGpu(_) => 2,
            _ => 3,
        });
        for (number, found) in found.iter_mut().enumerate() {
            found.info.id = format!("gpu:{number}");
        }
        found
    }

    /// Bytes of main memory that a program can still take without swapping; `None` where the system does not tell.
    pub fn available_memory() -> Option<u64> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        // Linux, proc(5).
        let available = available_in(&read("/proc/meminfo")?)?;
        // A container may be allowed less (cgroup v2, seen from inside).
        let limit = read("/sys/fs/cgroup/memory.max").and_then(|limit| limit.trim().parse::<u64>().ok());
        let used = || {
            let current: u64 = read("/sys/fs/cgroup/memory.current")?.trim().parse().ok()?;
            // What files are cached there is given up where it is needed.
            let stat = read("/sys/fs/cgroup/memory.stat")?;
            let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse().ok()?;
            Some(current.saturating_sub(cached))
        };
        let allowed = limit.and_then(|limit| Some(limit.saturating_sub(used()?)));
        Some(allowed.map_or(available, |allowed| allowed.min(available)))
    }

    /// `MemAvailable` of `/proc/meminfo`, in bytes.
    fn available_in(meminfo: &str) -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    /// Every device of this machine, as `--device` names them.
    pub async fn list() -> Vec<DeviceInfo> {
        let gpus = find().await.into_iter().map(|found| found.info);
        gpus.chain([cpu("").info]).collect()
    }

    /// The device that `request` asks for, ready to compute.
    ///
    /// # Errors
    /// If a GPU was asked for and there is none, or it does not start.
    pub async fn select(request: Request) -> Result<SelectedDevice> {
        if request == Request::Cpu {
            return Ok(cpu("asked for"));
        }
        let mut found = find().await;
        let chosen = match request {
            Request::Auto => match found.iter().position(|found| found.info.kind == Kind::Gpu) {
                Some(index) => index,
                None if found.is_empty() => return Ok(cpu("no GPU found")),
                None => return Ok(cpu("only a software GPU found, and the CPU backend is faster")),
            },
            Request::Gpu => 0,
            Request::GpuNumber(index) => index,
            Request::Cpu => unreachable!("answered above"),
        };
        if chosen >= found.len() {
            let what = if let Request::GpuNumber(index) = request { format!("gpu:{index}") } else { "GPU".into() };
            let there = found.iter().map(|found| found.info.id.as_str()).chain(["cpu"]).collect::<Vec<_>>().join(", ");
            return Err(Error::Device(format!("no {what} on this machine; there is {there} (see diablo devices)")));
        }
        let Found { info, kind, api } = found.swap_remove(chosen);
        let device = Device::wgpu_options()
            .device_kind(kind)
            .graphics_api(api)
            .init_async()
            .await
            .map_err(|e| Error::Device(format!("{} ({}) does not start: {e}", info.id, info.name)))?;
        let reason = if request == Request::Auto { "the first real GPU" } else { "asked for" };
        Ok(SelectedDevice { device, info, reason: reason.into() })
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn available_memory_is_read_as_linux_writes_it() {
            let meminfo = "MemTotal:       24689764 kB\nMemFree:         1219660 kB\nMemAvailable:   21804332 kB\n";
            assert_eq!(super::available_in(meminfo), Some(21_804_332 * 1024));
            for other in ["", "MemFree: 5 kB", "MemAvailable: many kB", "MemAvailable: 99999999999999999999 kB"] {
                assert_eq!(super::available_in(other), None, "{other}");
            }
        }
    }
}
