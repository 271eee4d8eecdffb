//! Whether a device can bind a model's largest tensor.

use super::Source;
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::names::expected_tensors;
use crate::write;

/// Bytes of a weight on the device.
const F32: u64 = 4;
/// What to take where a model does not fit, by the rows and columns of the embedding, its largest tensor.
const OTHERS: [(&str, [u64; 2]); 4] = [
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", [49_152, 2048]),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", [49_152, 960]),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", [49_152, 576]),
    ("the bundled model", [1024, 192]),
];

impl Source {
    /// Says whether every tensor can be bound on `device`.
    ///
    /// # Errors
    /// If one cannot: which, what limit it breaks, and which model would fit.
    pub fn check_fits(&self, device: &DeviceInfo) -> Result<()> {
        check(&self.name, largest(&self.config), device)
    }
}

fn check(model: &str, (name, bytes): (String, u64), device: &DeviceInfo) -> Result<()> {
    if bytes <= device.max_tensor_bytes {
        return Ok(());
    }
    let other = OTHERS.iter().find(|(_, [rows, columns])| F32 * rows * columns <= device.max_tensor_bytes);
    let other = other.map_or(String::new(), |(name, _)| format!("{name} would fit, and "));
    let elsewhere = if cfg!(target_family = "wasm") {
        "the program diablo can train this one on a processor"
    } else {
        "--device cpu has no such limit"
    };
    let (takes, most) = (write::bytes(bytes), write::bytes(device.max_tensor_bytes));
    let (device, limit) = (&device.name, device.max_tensor_limit);
    Err(Error::model(
        model,
        format!("{name} takes {takes}, and this device ({device}) binds at most {most} ({limit}); {other}{elsewhere}"),
    ))
}

/// The largest tensor of a model: its name, and its bytes on the device.
fn largest(config: &ModelConfig) -> (String, u64) {
    let bytes = |shape: &[usize]| F32 * shape.iter().product::<usize>() as u64;
    let sizes = expected_tensors(config).into_iter().map(|(name, shape)| (name, bytes(&shape)));
    sizes.max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn a_model_that_does_not_fit_names_limit_and_another() {
        let mut device = cpu("").info;
        let largest = || ("model.embed_tokens.weight".to_owned(), 519 << 20);
        check("mine", largest(), &device).unwrap();
        (device.name, device.max_tensor_limit) = ("Some GPU".into(), "maxBufferSize");
        device.max_tensor_bytes = 519 << 20;
        check("mine", largest(), &device).unwrap();
        for (limit, at) in [((519 << 20) - 1, 0), (128 << 20, 2), (64 << 20, 3)] {
            device.max_tensor_bytes = limit;
            let error = check("mine", largest(), &device).unwrap_err().to_string();
            for part in ["mine: ", "embed_tokens.weight takes 544 MB", "Some GPU", "(maxBufferSize)", OTHERS[at].0] {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        }
        device.max_tensor_bytes = 1 << 16;
        assert!(!check("mine", largest(), &device).unwrap_err().to_string().contains("would fit"));
    }

    #[test]
    fn the_largest_of_the_other_models_stands_first() {
        assert!(OTHERS.is_sorted_by(|(_, a), (_, b)| a[0] * a[1] > b[0] * b[1]));
    }
}
