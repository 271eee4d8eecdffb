//! Well-formed, broken and hostile files.

use super::testing::{GgufWriter, array, string};
use super::*;
use crate::weights::TensorType;
use pollster::block_on;

fn read(file: Vec<u8>) -> Result<Gguf> {
    block_on(Gguf::read(&Storage::from_bytes("m.gguf", file)))
}

fn error(file: Vec<u8>) -> String {
    read(file).unwrap_err().to_string()
}

fn small() -> GgufWriter {
    let mut writer = GgufWriter::default();
    writer
        .key("u8", 0, [200])
        .key("i8", 1, [0xff])
        .key("u16", 2, 65535u16.to_le_bytes())
        .key("i16", 3, (-2i16).to_le_bytes())
        .u32("u32", 7)
        .key("i32", 5, (-7i32).to_le_bytes())
        .f32("eps", 1e-5)
        .flag("flag", true)
        .string("text", "ä")
        .key("u64", 10, u64::MAX.to_le_bytes())
        .key("i64", 11, (-1i64).to_le_bytes())
        .key("f64", 12, 0.1f64.to_le_bytes())
        .strings("strings", &["a", "", "ccc"])
        .integers("integers", &[1, -1])
        .key("floats", 9, array(6, 3, &[0; 12]))
        .key("words", 9, array(4, 1, &u32::MAX.to_le_bytes()))
        .tensor("a", &[3, 32], TensorType::Q4_1, vec![1; 60])
        .tensor("b", &[5], TensorType::F32, vec![2; 20]);
    writer
}

#[test]
fn metadata_of_every_type() {
    let metadata = read(small().finish()).unwrap().metadata;
    for (key, expected) in [("u8", 200), ("u16", 65535), ("u32", 7)] {
        assert_eq!(metadata.size(key).unwrap(), Some(expected), "{key}");
    }
    assert_eq!(metadata.number("i16").unwrap(), Some(-2.0));
    assert_eq!(metadata.number("eps").unwrap(), Some(1e-5));
    assert_eq!(metadata.number("f64").unwrap(), Some(0.1));
    assert_eq!(metadata.flag("flag").unwrap(), Some(true));
    assert_eq!(metadata.string("text").unwrap(), Some("ä"));
    assert_eq!(metadata.strings("strings").unwrap(), Some(&["a".into(), String::new(), "ccc".into()][..]));
    assert_eq!(metadata.integers("integers").unwrap(), Some(&[1, -1][..]));
    assert_eq!(metadata.integers("words").unwrap(), Some(&[i64::from(u32::MAX)][..]));
    assert_eq!(metadata.string("none").unwrap(), None);

    let error = metadata.required("none", Metadata::string).unwrap_err().to_string();
    assert_eq!(error, "m.gguf: no key \"none\" in the metadata");
    for (key, found) in [("i8", "-1"), ("i64", "-1"), ("text", "a string"), ("floats", "a list"), ("f64", "0.1")] {
        let error = metadata.size(key).unwrap_err().to_string();
        assert_eq!(error, format!("m.gguf: key \"{key}\" is {found}, expected a whole number that is not negative"));
    }
    assert!(metadata.integers("floats").is_err());
    assert!(metadata.flag("u8").is_err());
    assert!(metadata.strings("integers").is_err());
}

#[test]
fn tensors_lie_where_the_header_says() {
    let file = small().finish();
    let Gguf { tensors, .. } = read(file.clone()).unwrap();
    assert_eq!((&tensors["a"].ty, &tensors["a"].shape[..]), (&Ok(TensorType::Q4_1), &[3, 32][..]));
    assert_eq!((&tensors["b"].ty, &tensors["b"].shape[..]), (&Ok(TensorType::F32), &[5][..]));
    for (name, bytes) in [("a", vec![1; 60]), ("b", vec![2; 20])] {
        let range = &tensors[name].range;
        assert_eq!(file[range.start as usize..range.end as usize], bytes);
    }
}

#[test]
fn alignment_moves_the_data() {
    let mut writer = small();
    writer.u32("general.alignment", 256);
    let tensors = read(writer.finish_aligned(256)).unwrap().tensors;
    assert!(tensors["a"].range.start.is_multiple_of(256));
    assert_eq!(tensors["b"].range.start, tensors["a"].range.start + 256);
    for alignment in [0, 48] {
        let mut writer = small();
        writer.u32("general.alignment", alignment);
        assert!(error(writer.finish()).contains("not a power of two"));
    }
}

/// A header longer than one read-ahead, with strings that lie across its borders.
#[test]
fn long_headers() {
    let token = "x".repeat(1000);
    let tokens = vec![token.as_str(); 1000];
    let long = "y".repeat(600_000);
    let mut writer = small();
    writer.strings("tokens", &tokens).string("long", &long).integers("types", &[3; 100_000]).u32("after", 5);
    let metadata = read(writer.finish()).unwrap().metadata;
    assert_eq!(metadata.strings("tokens").unwrap().unwrap(), tokens);
    assert_eq!(metadata.string("long").unwrap(), Some(long.as_str()));
    assert_eq!(metadata.integers("types").unwrap().unwrap(), [3; 100_000]);
    assert_eq!(metadata.size("after").unwrap(), Some(5));
}

#[test]
fn every_cut_is_an_error() {
    let writer = small();
    let whole = writer.finish();
    let end = read(whole.clone()).unwrap().tensors["b"].range.end as usize;
    for length in 0..end {
        let error = error(whole[..length].to_vec());
        assert!(error.starts_with("m.gguf: truncated"), "{length}: {error}");
    }
    assert!(read(whole[..end].to_vec()).is_ok());
}

/// Whatever the damage, an error or a header, never a panic.
#[test]
fn damaged_bytes() {
    let whole = small().finish();
    for position in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut file = whole.clone();
            file[position] = value;
            if let Ok(gguf) = read(file) {
                assert!(gguf.tensors.values().all(|tensor| tensor.range.end <= whole.len() as u64));
            }
        }
    }
}

#[test]
fn other_files_and_versions() {
    assert_eq!(error(b"PK\x03\x04....".to_vec()), "m.gguf: not a GGUF file");
    let version = |version: u32| {
        let mut file = small().finish();
        file[4..8].copy_from_slice(&version.to_le_bytes());
        file
    };
    assert!(read(version(2)).is_ok());
    assert!(error(version(1)).contains("version 1 is not supported"));
    assert!(error(version(4)).contains("version 4 is not supported"));
    assert!(error(version(3 << 24)).contains("big-endian"));
}

/// The first 24 bytes: magic, version and counts.
fn start(tensors: u64, keys: u64) -> Vec<u8> {
    [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &keys.to_le_bytes()].concat()
}

#[test]
fn absurd_counts() {
    for count in [2, 1 << 32, u64::MAX / 13 + 1, u64::MAX] {
        let error_of = |file: Vec<u8>| error([file, vec![0; 20]].concat());
        assert!(error_of(start(0, count)).contains("truncated or damaged: metadata"));
        assert!(error_of(start(count, 0)).contains("truncated or damaged: descriptions"));
    }
    let file = [start(0, 100_000), vec![0; 2_000_000]].concat();
    assert!(error(file).contains("at most 65536 and 65536 are allowed"));
    let file = [start(100_000, 0), vec![0; 4_000_000]].concat();
    assert!(error(file).contains("at most 65536 and 65536 are allowed"));
}

#[test]
fn absurd_lengths() {
    let one_key = |value: &[u8]| error([&start(0, 1), value].concat());
    let absurd = [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 1000];
    for length in absurd {
        let name = [&length.to_le_bytes()[..], b"name and more of it"].concat();
        assert!(
            one_key(&name).contains(&format!("{length} × 1 bytes at byte 32, the file has 51")),
            "{}",
            one_key(&name)
        );
        let text = [&string("k")[..], &8u32.to_le_bytes(), &length.to_le_bytes(), b"text"].concat();
        assert!(one_key(&text).starts_with("m.gguf: truncated or damaged: key \"k\""), "{}", one_key(&text));
        for kind in (0..=12).filter(|kind| *kind != 9) {
            let list = [&string("k")[..], &9u32.to_le_bytes(), &array(kind, length, &[0; 64])].concat();
            assert!(one_key(&list).starts_with("m.gguf: truncated or damaged: key \"k\""), "{}", one_key(&list));
        }
    }
    let long_name = "n".repeat(70_000);
    let mut writer = small();
    writer.u32(&long_name, 0);
    assert!(error(writer.finish()).contains("70000 bytes; at most 65535 are allowed"));
}

/// A file that is really so long that a header in it could ask for too much: nothing is read for that.
#[test]
fn headers_end_somewhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let length: u64 = 1 << 40;
    let header = [&start(0, 1)[..], &string("k"), &8u32.to_le_bytes(), &(length - 1000).to_le_bytes()].concat();
    std::fs::write(file.path(), header).unwrap();
    if file.as_file().set_len(length).is_err() {
        return; // a file system without sparse files
    }
    let error = block_on(Gguf::read(&Storage::open(file.path()).unwrap())).unwrap_err().to_string();
    assert!(error.contains("no header is longer than 134217728 bytes"), "{error}");
}

#[test]
fn broken_metadata() {
    let with = |change: fn(&mut GgufWriter)| {
        let mut writer = small();
        change(&mut writer);
        error(writer.finish())
    };
    assert!(
        with(|w| {
            w.u32("u8", 1);
        })
        .contains("key \"u8\" is given twice")
    );
    assert!(
        with(|w| {
            w.key("x", 13, [0]);
        })
        .contains("key \"x\" has a value of unknown type 13")
    );
    assert!(
        with(|w| {
            w.key("x", 7, [2]);
        })
        .contains("key \"x\" is 2, expected 0 (false) or 1 (true)")
    );
    assert!(
        with(|w| {
            w.key("x", 9, array(13, 0, &[]));
        })
        .contains("elements of unknown type 13")
    );
    assert!(
        with(|w| {
            w.key("x", 9, array(9, 1, &array(0, 0, &[])));
        })
        .contains("an array of arrays")
    );
    assert!(
        with(|w| {
            w.key("x", 8, [&1u64.to_le_bytes()[..], b"\xff"].concat());
        })
        .contains("is not UTF-8")
    );
    assert!(
        with(|w| {
            w.key("\x1b[2J", 13, [0]);
        })
        .contains(r#"key "\u{1b}[2J" has"#)
    );
    let mut deep = array(0, 0, &[]);
    for _ in 0..100_000 {
        deep = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &deep[..0]].concat();
    }
    assert!(error([start(0, 1), string("k"), 9u32.to_le_bytes().to_vec(), deep].concat()).contains("array of arrays"));
}

#[test]
fn broken_tensors() {
    let with = |change: fn(&mut GgufWriter)| {
        let mut writer = small();
        change(&mut writer);
        error(writer.finish())
    };
    let a = |w: &mut GgufWriter, dimensions: &[u64]| w.tensor_mut("a").dimensions = dimensions.to_vec();
    assert!(with(|w| w.tensor_mut("b").name = "a".into()).contains("tensor \"a\" is given twice"));
    assert!(with(|w| w.tensor_mut("a").ty = 5).contains("tensor \"a\" has the unknown number format 5"));
    assert!(with(|w| w.tensor_mut("a").dimensions.clear()).contains("tensor \"a\" has 0 dimensions, expected 1 to 4"));
    assert!(with(|w| w.tensor_mut("a").dimensions = vec![32; 5]).contains("has 5 dimensions, expected 1 to 4"));
    let dimensions = |dimensions: &[u64]| {
        let mut writer = small();
        a(&mut writer, dimensions);
        error(writer.finish())
    };
    assert!(dimensions(&[0, 3]).contains("has dimensions [0, 3], which Q4_1 cannot have"));
    assert!(dimensions(&[31, 32]).contains("has dimensions [31, 32], which Q4_1 cannot have"));
    assert!(dimensions(&[32, 1 << 62]).contains("more than any file can hold"));
    assert!(dimensions(&[1 << 32, 1 << 32]).contains("more than any file can hold"));
    assert!(dimensions(&[32, 1 << 50]).contains("truncated: tensor \"a\" ends at byte"));
    let offset = |offset: u64| {
        let mut writer = small();
        writer.tensor_mut("b").offset = Some(offset);
        error(writer.finish())
    };
    assert!(offset(0).contains("tensor \"b\" starts at byte"), "{}", offset(0));
    assert!(offset(32).contains("inside tensor \"a\", which ends at"), "{}", offset(32));
    assert!(offset(65).contains("no multiple of the alignment 32"));
    assert!(offset(96).contains("truncated: tensor \"b\" ends at byte"));
    assert!(offset(u64::MAX - 31).contains("which no file reaches"));
    assert!(offset(1 << 63).contains("truncated: tensor \"b\" ends at byte"));
}
