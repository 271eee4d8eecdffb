//! The colour scale of heat maps: dark violet over blue and green to light yellow, its steps equally far apart to the
//! eye.

/// Lightness, chroma and hue (degrees) at the lower end of the scale.
const LOW: [f64; 3] = [0.28, 0.12, 305.0];
/// The same at the upper end.
const HIGH: [f64; 3] = [0.92, 0.17, 105.0];
/// Chroma in the middle: greens and blues of sRGB reach less far than its yellows.
const MIDDLE_CHROMA: f64 = 0.11;

/// The colour at `position` (0 to 1), as `#rrggbb`.
pub fn heat(position: f64) -> String {
    let t = position.clamp(0.0, 1.0);
    let mix = |i: usize| LOW[i] + (HIGH[i] - LOW[i]) * t;
    let dip = (1.0 - (2.0 * t - 1.0).powi(2)) * ((LOW[1] + HIGH[1]) / 2.0 - MIDDLE_CHROMA);
    let [r, g, b] = oklch(mix(0), mix(1) - dip, mix(2));
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// OKLCH to sRGB (Björn Ottosson, "A perceptual color space for image processing"; CSS Color 4, section 9.3).
fn oklch(lightness: f64, chroma: f64, hue: f64) -> [u8; 3] {
    let (sin, cos) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
    .map(|linear| (gamma(linear.clamp(0.0, 1.0)) * 255.0).round() as u8)
}

/// Linear light to the value that sRGB stores (IEC 61966-2-1).
fn gamma(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        assert_eq!(oklch(1.0, 0.0, 0.0), [255; 3]);
        assert_eq!(oklch(0.0, 0.0, 0.0), [0; 3]);
        // sRGB red, as CSS Color 4 gives it.
        assert_eq!(oklch(0.627_96, 0.257_68, 29.234), [255, 0, 0]);
    }

    #[test]
    fn it_gets_lighter_all_the_way() {
        let light = |t: f64| {
            let hex = u32::from_str_radix(&heat(t)[1..], 16).unwrap();
            2126 * (hex >> 16) + 7152 * (hex >> 8 & 255) + 722 * (hex & 255)
        };
        let lights: Vec<u32> = (0..=50).map(|i| light(f64::from(i) / 50.0)).collect();
        assert!(lights.windows(2).all(|pair| pair[0] < pair[1]), "{lights:?}");
        assert_eq!(heat(-1.0), heat(0.0));
        assert_eq!(heat(f64::NAN).len(), 7);
    }
}
