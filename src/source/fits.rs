//! Whether a device can bind what cannot be cut into parts.

use super::Source;
use crate::adapter::{AdapterConfig, slots};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::names::expected_tensors;

/// Bytes of a value.
const F32: u64 = 4;

/// What to take where a model does not fit: the values of its longest row, and the classes that it tells apart.
const OTHERS: [(&str, u64, u64); 4] = [
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 8192, 49_152),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", 2560, 49_152),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", 1536, 49_152),
    ("the bundled model", 448, 1024),
];

impl Source {
    /// Says whether `device` can bind every row of every tensor; matrices are held in parts where it cannot bind them
    /// whole.
    ///
    /// # Errors
    /// If one cannot: which, what limit it breaks, and which model would fit.
    pub fn check_fits(&self, device: &DeviceInfo) -> Result<()> {
        check(&self.name, "a row of ", longest_row(&self.config), device, &what_fits(device, 0))
    }
}

/// Says whether `device` can bind every tensor that `adapter` trains of the model `name`.
///
/// # Errors
/// If one cannot: which, and what limit it breaks.
pub fn check_trained_fits(name: &str, model: &ModelConfig, adapter: &AdapterConfig, device: &DeviceInfo) -> Result<()> {
    let sizes = slots(adapter, model).into_iter().map(|slot| (F32 * slot.len() as u64, slot.tensor));
    let (bytes, tensor) = sizes.max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
    check(name, "training ", (tensor, bytes), device, "diablo's blocks or lora take less, and ")
}

/// Which of the other models `device` can bind, and train with rows of `tokens`, for people; empty where it is none.
pub(crate) fn what_fits(device: &DeviceInfo, tokens: u64) -> String {
    let fits =
        |(_, row, classes): &&(&str, u64, u64)| F32 * (tokens * row.max(classes)).max(*row) <= device.max_tensor_bytes;
    OTHERS.iter().find(fits).map_or(String::new(), |(name, ..)| format!("{name} would fit, and "))
}

fn check(model: &str, what: &str, (name, bytes): (String, u64), device: &DeviceInfo, advice: &str) -> Result<()> {
    match device.cannot_bind(&format!("{what}{name}"), bytes, || advice.to_owned()) {
        None => Ok(()),
        Some(why) => Err(Error::model(model, why)),
    }
}

/// The longest row of a model's tensors: the tensor's name, and the row's bytes as f32.
fn longest_row(config: &ModelConfig) -> (String, u64) {
    let row = |shape: &[usize]| F32 * shape.last().copied().unwrap_or(1) as u64;
    let rows = expected_tensors(config).into_iter().map(|(name, shape)| (row(&shape), name));
    let (bytes, name) = rows.max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
    (name, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn what_does_not_fit_is_named_with_the_limit() {
        let mut device = cpu("").info;
        let largest = || ("model.layers.0.mlp.down_proj.weight".to_owned(), 519 << 20);
        let check =
            |model, what, tensor, device: &DeviceInfo| check(model, what, tensor, device, "less would fit, and ");
        check("mine", "training ", largest(), &device).unwrap();
        (device.name, device.max_tensor_limit) = ("Some GPU".into(), "maxBufferSize");
        device.max_tensor_bytes = 519 << 20;
        check("mine", "training ", largest(), &device).unwrap();
        device.max_tensor_bytes = 128 << 20;
        let error = check("mine", "training ", largest(), &device).unwrap_err().to_string();
        for part in [
            "mine: training model.layers.0.mlp.down_proj.weight takes 544 MB",
            "Some GPU",
            "134 MB (maxBufferSize); less would",
        ] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_names_another_model() {
        let mut device = cpu("").info;
        let row = || ("model.layers.0.mlp.down_proj.weight".to_owned(), 44_032);
        for (limit, at) in [(44_031, Some(0)), (10_240, Some(1)), (10_239, Some(2)), (1792, Some(3)), (1791, None)] {
            device.max_tensor_bytes = limit;
            let error = check("mine", "a row of ", row(), &device, &what_fits(&device, 0)).unwrap_err().to_string();
            match at {
                Some(at) => assert!(error.contains(&format!("{} would fit, and ", OTHERS[at].0)), "{limit}: {error}"),
                None => assert!(!error.contains("would fit"), "{limit}: {error}"),
            }
        }
    }

    #[test]
    fn what_fits_can_be_trained() {
        let mut device = cpu("").info;
        // The logits of a token are longer than any row.
        for (limit, at) in [(4 * 64 * 49_152, Some(0)), (4 * 64 * 49_152 - 1, Some(3)), (4 * 64 * 1024 - 1, None)] {
            device.max_tensor_bytes = limit;
            let expected = at.map_or(String::new(), |at: usize| format!("{} would fit, and ", OTHERS[at].0));
            assert_eq!(what_fits(&device, 64), expected, "{limit}");
        }
    }

    #[test]
    fn the_largest_of_the_other_models_stands_first() {
        assert!(OTHERS.is_sorted_by(|(_, a, _), (_, b, _)| a > b));
    }

    #[test]
    fn the_longest_row_is_the_widest_input() {
        let config = crate::testing::tiny_config();
        let (name, bytes) = longest_row(&config);
        assert!(name.ends_with("down_proj.weight"), "{name}");
        assert_eq!(bytes, 4 * config.intermediate_size as u64);
    }
}
