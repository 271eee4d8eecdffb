//! `diablo devices`: what `--device` can name, and what it takes by itself.

use super::output;
use crate::device::{self, DeviceInfo, Kind, Request};
use crate::error::Result;

/// List the GPUs and the CPU of this machine, and which one is used
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  diablo devices")]
pub struct Args {}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        let devices = device::list().await;
        // A GPU that does not start fails the command, but only after everything was listed.
        let chosen = device::select(Request::Auto).await;
        let is_chosen = |device: &DeviceInfo| chosen.as_ref().is_ok_and(|chosen| chosen.info.id == device.id);
        if json {
            for device in &devices {
                let mut object = serde_json::to_value(device).expect("JSON of plain values");
                object["auto"] = is_chosen(device).into();
                output::json(&object)?;
            }
            return chosen.map(|_| ());
        }
        let style = output::Style::stdout();
        let lines = table(&devices);
        output::line(&style.heading(&lines[0]))?;
        for (device, line) in devices.iter().zip(&lines[1..]) {
            output::line(&if is_chosen(device) { style.strong(line) } else { line.clone() })?;
        }
        let chosen = chosen?;
        output::line(&format!("\n--device auto takes {}: {}", chosen.info.id, chosen.reason))
    }
}

/// A heading and a line for each device, in columns.
fn table(devices: &[DeviceInfo]) -> Vec<String> {
    let headings = ["id", "name", "kind", "backend", "driver", "largest tensor"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(headings).chain(devices.iter().map(cells)).collect();
    let widths: Vec<usize> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

fn cells(device: &DeviceInfo) -> [String; 6] {
    let kind = match device.kind {
        Kind::Cpu => "CPU",
        Kind::Gpu => "GPU",
        Kind::Software => "software GPU",
    };
    // The CPU backend allows what memory holds.
    let largest = match device.kind {
        Kind::Cpu => "-".to_owned(),
        _ => format!("{} MiB", output::thousands((device.max_tensor_bytes >> 20) as usize)),
    };
    let driver = if device.driver.is_empty() { "-" } else { &device.driver };
    [&device.id, &device.name, kind, &device.backend, driver, &largest].map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let gpu = DeviceInfo {
            id: "gpu:0".into(),
            name: "Some GPU".into(),
            kind: Kind::Gpu,
            backend: "Vulkan".into(),
            driver: "driver 1.2".into(),
            max_tensor_bytes: 2 << 30,
            max_tensor_limit: "maxBufferSize",
        };
        let lines = table(&[gpu, device::cpu("").info]);
        let column = |line: &str, text: &str| line.find(text).expect("there");
        assert_eq!(column(&lines[0], "backend"), column(&lines[1], "Vulkan"));
        assert_eq!(column(&lines[1], "Vulkan"), column(&lines[2], "Flex"));
        assert!(lines[1].ends_with("2,048 MiB") && lines[2].ends_with('-'), "{lines:?}");
    }
}
