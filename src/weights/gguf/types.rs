//! Number formats by the number that stands for them in the file.

/// Number, name, elements and bytes of a block, of every format in ggml.
const TYPES: [(u32, &str, u64, u64); 34] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

/// A number format as GGUF knows it: also those that this crate does not read, to check where such a tensor ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct GgmlType {
    pub name: &'static str,
    /// Elements in a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

impl GgmlType {
    pub fn from_id(id: u32) -> Option<Self> {
        let (_, name, elements, bytes) = *TYPES.iter().find(|(known, ..)| *known == id)?;
        Some(Self { name, elements, bytes })
    }

    /// The format called `name` and the number that stands for it.
    pub fn from_name(name: &str) -> Option<(u32, Self)> {
        let (id, name, elements, bytes) = *TYPES.iter().find(|(_, known, ..)| *known == name)?;
        Some((id, Self { name, elements, bytes }))
    }
}

#[cfg(test)]
pub(super) fn id(name: &str) -> u32 {
    GgmlType::from_name(name).unwrap().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::TensorType;

    #[test]
    fn formats_that_are_read_have_the_sizes_they_are_read_with() {
        for ty in TensorType::ALL {
            let ggml = GgmlType::from_id(id(ty.name())).unwrap();
            assert_eq!((ggml.elements, ggml.bytes), (ty.block().0 as u64, ty.block().1 as u64), "{}", ty.name());
        }
    }
}
