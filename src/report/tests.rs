//! The page and the curve in the terminal, from runs that went well, badly, or hardly at all.

use super::*;
use crate::train::{EvalReport, StepReport};

fn step(step: usize, loss: f64) -> TrainEvent {
    let learning_rate = 2e-4 * (1.0 - step as f64 / 400.0).max(0.0) * (step as f64 / 20.0).min(1.0);
    let grad_norm = 0.6 + loss / 4.0;
    TrainEvent::Step(StepReport { step, loss, grad_norm, learning_rate, tokens: 2048, tokens_per_second: 5100.0 })
}

fn eval(step: usize, loss: f64) -> TrainEvent {
    TrainEvent::Eval(EvalReport { step: Some(step), loss, perplexity: loss.exp(), tokens: 900 })
}

/// A value between −1 and 1 that looks random.
fn noise(i: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

fn run(steps: usize, evals: usize) -> Vec<TrainEvent> {
    let loss = |i: usize| 1.35 + 1.9 * (-(i as f64) / (steps as f64 / 5.0)).exp();
    let mut events = vec![eval(0, 3.4)];
    for i in 1..=steps {
        let TrainEvent::Step(mut report) = step(i, loss(i) + 0.22 * noise(i)) else { continue };
        let done = i as f64 / steps as f64;
        report.learning_rate = 2e-4 * (20.0 * done).min(1.0) * (0.5 + 0.5 * (done * std::f64::consts::PI).cos());
        report.grad_norm = 0.5 + 2.0 * (-8.0 * done).exp() + 0.25 * noise(i + 7).abs();
        report.tokens_per_second = if i == 1 { 900.0 } else { 5_150.0 + 320.0 * noise(i + 13) };
        events.push(TrainEvent::Step(report));
        if i % (steps / evals.max(1)).max(1) == 0 && evals > 0 {
            events.push(eval(i, loss(i) + 0.08 + 0.25 * done * done));
        }
    }
    events.push(TrainEvent::Warning { step: steps / 2, message: "the loss is 3 deviations above the last 50".into() });
    events.push(TrainEvent::Checkpoint { step: steps, path: "adapters".into() });
    events.push(TrainEvent::Test(EvalReport { step: None, loss: 1.55, perplexity: 4.71, tokens: 900 }));
    events
}

fn norms(layers: usize, modules: &[&str], blocks: usize) -> Vec<BlockNorms> {
    let mut all = Vec::new();
    for layer in 0..layers {
        for (index, module) in modules.iter().enumerate() {
            let norm = |block: usize| {
                let depth = (layer as f64 / layers as f64 * 3.0 + index as f64).sin().abs();
                let seed = (layer * 31 + index) * 1009 + block;
                (0.05 + 0.35 * depth + 0.12 * noise(seed).abs() + 0.05 * (block as f64 / 5.0).sin()) as f32
            };
            all.push(BlockNorms { layer, module: (*module).into(), norms: (0..blocks).map(norm).collect() });
        }
    }
    all
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// The page of nothing but `events`.
fn page_of(events: &[TrainEvent]) -> String {
    Report { title: "model", summary: &[], settings: &[], events, blocks: &[], samples: &[] }.to_html().unwrap()
}

fn page_of_blocks(blocks: &[BlockNorms]) -> String {
    Report { title: "model", summary: &[], settings: &[], events: &[], blocks, samples: &[] }.to_html().unwrap()
}

/// The texts of the elements and the values of the attributes are not looked at; what opens must close, in order.
fn check(html: &str) {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_end_matches('/').split_whitespace().next().unwrap_or("");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains(" on") && name != "script" && name != "img" && name != "iframe", "<{tag}>");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if tag.ends_with('/') || VOID.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    for value in ["NaN", "inf\"", "inf,", ",inf", "://", "@import", "url("] {
        assert!(!html.contains(value), "{value} in the page");
    }
}

#[test]
fn a_whole_run() {
    let events = run(300, 6);
    let blocks = norms(30, &["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], 64);
    let samples = [Sample {
        prompt: "What is the capital of Assyria?".into(),
        before: String::new(),
        after: "Nineveh".into(),
        expected: Some("Nineveh".into()),
    }];
    let (summary, settings) = (pairs(&[("loss", "1.40")]), pairs(&[("iters", "300")]));
    let (summary, settings) = (&summary[..], &settings[..]);
    let report = Report { title: "SmolLM2", summary, settings, events: &events, blocks: &blocks, samples: &samples };
    let html = report.to_html().unwrap();
    check(&html);
    assert!(html.len() < 1_100_000, "{} bytes", html.len());
    // The loss three times, three charts beside each other, five modules, the mark in the head.
    assert_eq!(html.matches("<svg").count(), 3 + 3 + 5 + 1);
    assert_eq!(html.matches("<title>layer ").count(), 30 * 5 * 64);
    for text in [
        "<title>SmolLM2 · ",
        "<dd>1.40</dd>",
        "<dt>iters</dt>",
        "Nineveh",
        ">nothing</p>",
        "Lowest validation",
        "Test loss 1.550",
        "above the last 50",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn runs_that_hardly_were() {
    let odd = [
        vec![],
        vec![step(1, 3.0)],
        vec![eval(0, 3.0)],
        vec![step(1, 2.0), step(2, 2.0)],
        vec![step(1, 0.0), step(2, 0.0), step(3, 0.0)],
        vec![step(1, f64::NAN)],
        vec![step(1, f64::INFINITY), step(2, f64::NEG_INFINITY), eval(2, f64::NAN)],
        vec![step(1, 1.0), step(2, f64::NAN), step(3, 2.0)],
        vec![step(1, f64::MAX), step(2, f64::MIN), step(3, 1e299), step(4, -1e299)],
        vec![step(1, 1e-300), step(2, 1e-308)],
        vec![step(1, 1e15), step(2, 1e15 + 1.0)],
        vec![step(usize::MAX, 1.0), step(0, 2.0)],
        vec![eval(5, 1.0), eval(5, 1.0), eval(3, 2.0)],
        vec![TrainEvent::Eval(EvalReport { step: None, loss: 1.0, perplexity: 2.7, tokens: 1 })],
    ];
    for events in odd {
        check(&page_of(&events));
    }
    assert!(page_of(&[]).contains("No steps were recorded."));
    assert!(page_of(&[step(1, 3.0)]).contains("<circle"), "one step is a dot");
    assert!(page_of(&[step(1, 1.0), step(2, f64::NAN), step(3, 2.0)]).contains("2 values not finite"));
}

#[test]
fn long_runs_stay_small() {
    let mut events = run(100_000, 500);
    events.insert(50_000, step(50_000, 77.0));
    let started = web_time::Instant::now();
    let html = page_of(&events);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    check(&html);
    assert!(html.len() < 200_000, "{} bytes", html.len());
    assert!(html.matches("<tr>").count() <= 201);
    assert!(html.contains("<th scope=\"row\">100000</th>"));
    // The axis reaches up to the spike.
    assert!(html.contains("\n80\n</text>") || html.contains("\n60\n</text>"));
}

#[test]
fn heat_maps_of_any_shape() {
    assert!(!page_of_blocks(&[]).contains("What was learned"));
    let hard = |norms: Vec<f32>| vec![BlockNorms { layer: 3, module: "q_proj".into(), norms }];
    assert!(!page_of_blocks(&hard(vec![])).contains("What was learned"));
    assert!(!page_of_blocks(&hard(vec![f32::NAN])).contains("What was learned"));
    for norms in [vec![0.0; 7], vec![1.0], vec![f32::NAN, 1.0, f32::INFINITY], vec![1e-30, 1e30], vec![-1.0, 2.0]] {
        let html = page_of_blocks(&hard(norms));
        check(&html);
        assert!(html.contains("What was learned"));
    }
    let lora = page_of_blocks(&norms(30, &["q_proj", "v_proj"], 1));
    check(&lora);
    assert!(lora.contains("<title>v_proj, layer 29: ") && lora.contains("a column a layer"));
    let mut ragged = norms(2, &["q_proj"], 4);
    ragged.extend(norms(3, &["k_proj"], 9));
    ragged.push(BlockNorms { layer: usize::MAX, module: "k_proj".into(), norms: vec![1.0] });
    check(&page_of_blocks(&ragged));
    let large = page_of_blocks(&norms(80, &["q", "k", "v", "o", "gate", "up", "down"], 512));
    check(&large);
    assert!(large.len() < 1_000_000, "{} bytes", large.len());
    assert!(large.contains("the largest of 4 blocks"));
}

#[test]
fn foreign_text_stays_text() {
    let hostile =
        "</p><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}\0\x1b[31m\u{85}&amp;";
    let rtl = "\u{202e}\u{2067}שלום";
    let samples =
        [Sample { prompt: hostile.into(), before: rtl.into(), after: hostile.into(), expected: Some(hostile.into()) }];
    let blocks = [
        BlockNorms { layer: 0, module: hostile.into(), norms: vec![1.0, 2.0] },
        BlockNorms { layer: 0, module: rtl.into(), norms: vec![1.0] },
    ];
    let rows = pairs(&[(hostile, hostile)]);
    for blocks in [&blocks[..], &[BlockNorms { norms: vec![1.0], ..blocks[0].clone() }]] {
        let events = [step(1, 1.0), TrainEvent::Warning { step: 1, message: hostile.into() }];
        let report =
            Report { title: hostile, summary: &rows, settings: &rows, events: &events, blocks, samples: &samples };
        let html = report.to_html().unwrap();
        check(&html);
        assert!(html.contains("&lt;script&gt;alert(1)"));
        assert!(html.contains("{{ 7 * 7 }}{% raw %}"), "text is no template");
        assert!(html.contains("␀␛[31m\u{fffd}&amp;amp;"));
        assert!(html.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        assert!(html.contains("dir=\"auto\">\u{202e}"));
    }
}

#[cfg(not(target_family = "wasm"))]
mod in_the_terminal {
    use super::*;

    #[test]
    fn a_small_curve() {
        let train: Vec<_> = (1..=9).map(|i| (i, 10.0 - i as f64)).collect();
        let curve = loss_curve(&train, &[(5, 3.0), (9, 1.0)], 50, false);
        let expected = [
            "  │⠒⠢⠤⣀⡀",
            "8 ┤    ⠈⠉⠒⠒⠤⠤⣀⡀",
            "  │           ⠈⠉⠒⠢⠤⣀⡀",
            "6 ┤                 ⠈⠉⠑⠒⠢⠤⢄⣀",
            "4 ┤                         ⠉⠑⠒⠤⣀⡀",
            "  │                       ●      ⠈⠉⠒⠢⠤⣀⣀",
            "2 ┤                                     ⠉⠉⠒⠢⠤⣀⡀",
            "  │                                           ⠈⠉⠒●",
            "  └──────┬──────────┬───────────┬──────────┬──────",
            "         2          4           6          8",
            "   ⠤⠤ training loss   ● validation",
        ];
        assert_eq!(curve.lines().collect::<Vec<_>>(), expected);
        assert!(curve.ends_with('\n'));
    }

    #[test]
    fn it_fits() {
        let train: Vec<_> = (1..=1000).map(|i| (i, 3.0 + noise(i))).collect();
        let valid: Vec<_> = (0..=10).map(|i| (100 * i, 2.5)).collect();
        for columns in [0, 50, 51, 60, 80, 120, 160, 1000] {
            let curve = loss_curve(&train, &valid, columns, false);
            let width = curve.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(width <= columns.clamp(50, 160), "{width} of {columns}\n{curve}");
            assert!(!curve.contains('\x1b'));
            let colored = loss_curve(&train, &valid, columns, true);
            assert!(colored.contains("\x1b[94m●\x1b[0m"));
        }
    }

    #[test]
    fn any_values() {
        assert_eq!(loss_curve(&[], &[], 80, false), "");
        assert_eq!(loss_curve(&[(1, f64::NAN)], &[(1, f64::INFINITY)], 80, true), "");
        let hard = [0.0, 1.0, -1e299, 1e299, f64::MAX, 1e-300, f64::NAN];
        for a in hard {
            for b in hard {
                for columns in [10, 77] {
                    _ = loss_curve(&[(1, a), (2, b)], &[(1, b)], columns, false);
                    _ = loss_curve(&[(usize::MAX, a)], &[(0, b)], columns, false);
                    _ = loss_curve(&[], &[(7, b)], columns, true);
                }
            }
        }
        assert!(loss_curve(&[(1, 2.0)], &[], 60, false).lines().count() > 8);
    }
}

/// Writes pages to look at: `cargo test --lib report -- --ignored pages`.
#[test]
#[ignore = "writes files to look at"]
fn pages_to_look_at() {
    let folder = std::env::temp_dir().join("report");
    std::fs::create_dir_all(&folder).unwrap();
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let summary = pairs(&[
        ("Validation loss", "3.40 → 1.52"),
        ("Best", "1.49"),
        ("Time", "1 min 34 s"),
        ("Trained", "2.13 M values, 1.58 %"),
        ("Device", "NVIDIA GeForce RTX 4070 Laptop GPU (Vulkan)"),
    ]);
    let settings = pairs(&[
        ("model", "SmolLM2-135M-Instruct"),
        ("method", "diablo"),
        ("blocks", "64"),
        ("target modules", "q_proj, k_proj, v_proj, up_proj, down_proj"),
        ("iters", "300"),
        ("batch size", "4"),
        ("gradient accumulation", "2"),
        ("learning rate", "2e-4"),
        ("schedule", "cosine"),
        ("warm-up steps", "15"),
        ("weight decay", "0"),
        ("max grad norm", "1"),
        ("max sequence length", "1024"),
        ("seed", "0"),
        ("adapter", "/home/someone/projects/a-rather-long-folder-name/adapters/smollm2-support-answers"),
    ]);
    let samples = [
        Sample {
            prompt: "Our printer reports error E-52 after the firmware update. What should we try first?".into(),
            before: "There are many reasons why a printer may report an error. First, you should check that the printer is plugged in. Then, you should check that the printer is plugged in.".into(),
            after: "E-52 means the print head was not found after the update.\n1. Switch it off for 30 seconds.\n2. Reseat the head until it clicks.\n3. Run Service > Head check.".into(),
            expected: Some("E-52: the print head is not recognised. Power off 30 s, reseat the head, run Service > Head check.".into()),
        },
        Sample {
            prompt: "كيف أعيد ضبط الجهاز؟".into(),
            before: String::new(),
            after: "اضغط زر الطاقة مع زر الإلغاء لمدة عشر ثوان.".into(),
            expected: None,
        },
    ];
    let (summary, settings, samples) = (&summary[..], &settings[..], &samples[..]);
    let write = |name: &str, events: &[TrainEvent], blocks: &[BlockNorms]| {
        let report = Report { title: "SmolLM2-135M-Instruct", summary, settings, events, blocks, samples };
        std::fs::write(folder.join(name), report.to_html().unwrap()).unwrap();
    };
    write("usual.html", &run(300, 12), &norms(30, &["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], 64));
    write("lora.html", &run(40, 0), &norms(30, &all, 1));
    let mut long = run(100_000, 200);
    long.insert(60_000, step(60_000, 9.0));
    write("long.html", &long, &norms(80, &all, 512));
    let mut rough = run(900, 90);
    for event in &mut rough {
        if let TrainEvent::Step(report) = event {
            report.grad_norm *= (4.0 * noise(report.step)).exp();
            report.loss += if report.step % 97 == 0 { 3.0 } else { 0.0 };
        }
    }
    let mut outliers = norms(7, &all, 12);
    outliers[17].norms[3] = 90.0;
    write("rough.html", &rough, &outliers);
    write("short.html", &[step(1, 3.0)], &norms(2, &["q_proj"], 4));
    for columns in [60, 120] {
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for event in run(300, 12) {
            match event {
                TrainEvent::Step(report) => train.push((report.step, report.loss)),
                TrainEvent::Eval(report) => valid.extend(report.step.map(|step| (step, report.loss))),
                _ => {}
            }
        }
        let plain = loss_curve(&train, &valid, columns, false);
        std::fs::write(folder.join(format!("curve-{columns}.txt")), plain).unwrap();
        let colored = loss_curve(&train, &valid, columns, true);
        std::fs::write(folder.join(format!("curve-{columns}.ansi")), colored).unwrap();
    }
}
