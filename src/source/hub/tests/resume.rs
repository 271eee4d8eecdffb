//! Connections that break, and what is kept.

use super::*;
use std::fs;

const WEIGHTS: &str = "model.safetensors";
const AT: &str = "store/model.safetensors";

fn ranges(expected: &[Option<usize>]) -> Vec<Option<String>> {
    expected.iter().map(|from| from.map(|from| format!("bytes={from}-"))).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_stood() {
    let mut setup = Setup::new(model());
    for bytes in [1, 100_000, 0, 70_000] {
        setup.server.fault(AT, Fault::Break(bytes));
    }
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);
    let from = [None, Some(1), Some(100_001), Some(100_001), Some(170_001)];
    assert_eq!(setup.ranges(AT), ranges(&from));
    assert_eq!(setup.told.waits.len(), 4);
    assert!(setup.told.bytes.windows(2).all(|pair| pair[0].1 <= pair[1].1));
}

#[test]
fn what_was_got_is_kept_for_the_next_run() {
    let mut setup = Setup::new(model());
    setup.server.fault(AT, Fault::Break(200_000));
    for _ in 0..4 {
        setup.server.fault(AT, Fault::Drop);
    }
    let error = setup.error(REPO);
    assert!(
        error.contains("5 times in a row") && error.contains("200000 of 300001 bytes are there and kept"),
        "{error}"
    );
    let (blob, partial) = setup.blob(WEIGHTS);
    assert_eq!(fs::metadata(&partial).unwrap().len(), 200_000);
    assert!(!blob.exists() && !setup.cached("refs/main").exists());
    setup.server.requests();

    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);
    assert_eq!(setup.ranges(AT), ranges(&[Some(200_000)]));
    assert!(!partial.exists());
}

/// A try that brings enough starts the count anew: a slow line with many breaks gets there.
#[test]
fn as_many_breaks_as_it_takes() {
    let mut files = texts();
    files.push((WEIGHTS.to_owned(), bytes(10 << 20, 3)));
    let mut setup = Setup::new(files);
    for _ in 0..9 {
        setup.server.fault(AT, Fault::Break((1 << 20) + 1));
    }
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);
    assert_eq!(setup.told.waits.len(), 9);
}

#[test]
fn servers_that_do_not_heed_the_range() {
    let mut setup = Setup::new(model());
    setup.server.fault(AT, Fault::Break(100_000));
    setup.server.fault(AT, Fault::IgnoreRange);
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);

    for range in ["", "Content-Range: bytes 0-300000/300001\r\n", "Content-Range: nonsense\r\n"] {
        let mut setup = Setup::new(model());
        setup.server.fault(AT, Fault::Break(100_000));
        let body = "x".repeat(200_001);
        let answer = format!("HTTP/1.1 206 Partial\r\nContent-Length: {}\r\n{range}\r\n{body}", body.len());
        setup.server.fault(AT, Fault::Answer(answer));
        let path = setup.fetch(REPO).unwrap();
        setup.check(&path, &[WEIGHTS]);
        assert_eq!(setup.ranges(AT), ranges(&[None, Some(100_000), None]), "{range}");
    }
}

#[test]
fn remains_of_something_else() {
    let whole = bytes(300_001, 1);
    let mut wrong_start = whole[..1000].to_vec();
    wrong_start[500] ^= 1;
    let mut wrong_end = whole.clone();
    wrong_end[300_000] ^= 1;
    for (remains, from) in [
        (whole.clone(), vec![]),
        (whole[..1].to_vec(), vec![Some(1)]),
        (wrong_start, vec![Some(1000), None]),
        (wrong_end, vec![None]),
        (vec![0; 300_002], vec![None]),
        (vec![], vec![None]),
    ] {
        let mut setup = Setup::new(model());
        let (_, partial) = setup.blob(WEIGHTS);
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, &remains).unwrap();
        let path = setup.fetch(REPO).unwrap();
        setup.check(&path, &[WEIGHTS]);
        assert_eq!(setup.ranges(AT), ranges(&from), "{} bytes", remains.len());
    }
}

#[test]
fn wrong_contents_are_thrown_away() {
    let mut setup = Setup::new(model());
    setup.server.fault(AT, Fault::Content(bytes(300_001, 2)));
    let error = setup.error(REPO);
    assert!(error.contains("has the wrong hash (sha256 ") && error.ends_with("it was thrown away"), "{error}");
    let (blob, partial) = setup.blob(WEIGHTS);
    assert!(!blob.exists() && fs::metadata(&partial).unwrap().len() == 0);
    // Once is chance: the next run may try again.
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);
}

/// A server that breaks off, and lies whenever it goes on, must not keep us busy for ever.
#[test]
fn lies_come_to_an_end() {
    let mut files = texts();
    files.push((WEIGHTS.to_owned(), bytes(3 << 20, 1)));
    let mut setup = Setup::new(files);
    for _ in 0..10 {
        setup.server.fault(AT, Fault::Break(2 << 20));
        setup.server.fault(AT, Fault::Content(vec![7; 1 << 20]));
    }
    let error = setup.error(REPO);
    assert!(error.contains("has the wrong hash"), "{error}");
    assert_eq!(setup.told.waits.len(), 3);
}

#[test]
fn contents_of_another_length() {
    for length in [0, 5, 300_000, 300_002] {
        let mut setup = Setup::new(model());
        setup.server.fault(AT, Fault::Content(bytes(length, 2)));
        let path = setup.fetch(REPO).unwrap();
        setup.check(&path, &[WEIGHTS]);
        let told = format!("the server has {length} bytes where 300001 are listed");
        assert_eq!(setup.told.waits, [told]);
    }
}

#[test]
fn servers_that_are_busy_or_silent() {
    let mut setup = Setup::new(model());
    setup.hub.silence = Duration::from_secs(2); // so that a busy machine is not silent
    for answer in ["503 Busy", "429 Slow down", "403 Expired link"] {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        setup.server.fault(AT, Fault::Answer(answer));
    }
    setup.server.fault(AT, Fault::Silence(50_000, Duration::from_secs(10)));
    setup.server.fault("/api/models/", Fault::Drop);
    setup.server.fault("/api/models/", Fault::Answer("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n".to_owned()));
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &[WEIGHTS]);
    assert_eq!(setup.told.waits.len(), 6, "{:?}", setup.told.waits);
    let from = [None, None, None, None, Some(50_000)];
    assert_eq!(setup.ranges(AT), ranges(&from));
}

/// Whatever breaks wherever, the file is right in the end.
#[test]
fn random_faults() {
    let mut random = crate::random::Random::new(7);
    for round in 0..40 {
        let length = [0, 1, 2, 1000, 131_072, 200_003][random.below(6) as usize];
        let mut files = texts();
        files.push((WEIGHTS.to_owned(), bytes(length, round)));
        let mut setup = Setup::new(files);
        for _ in 0..random.below(5) {
            let at = random.below(length as u64 + 1) as usize;
            let fault = match random.below(4) {
                0 => Fault::Drop,
                1 => Fault::Break(at),
                2 => Fault::IgnoreRange,
                _ => Fault::Answer("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh".to_owned()),
            };
            let target = [AT, "/resolve/", "config.json", "/api/models/"][random.below(4) as usize];
            setup.server.fault(target, fault);
        }
        let path = setup.fetch(REPO).unwrap_or_else(|e| panic!("round {round}: {e}"));
        setup.check(&path, &TEXTS);
        setup.check(&path, &[WEIGHTS]);
    }
}

/// `/dev/full` is a disk without room.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let mut setup = Setup::new(model());
    let (blob, partial) = setup.blob(WEIGHTS);
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    let error = setup.error(REPO);
    assert!(error.starts_with(&format!("{REPO}/{WEIGHTS}: the disk of ")) && error.contains("make room"), "{error}");
    assert!(!blob.exists());
}
