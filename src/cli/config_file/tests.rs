use super::*;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// A program with flags of every sort, declared as the real one's.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(subcommand)]
    command: Commands,
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Commands {
    Train(Train),
    Other {
        #[arg(long)]
        prompt: Option<String>,
    },
}

#[derive(Debug, PartialEq, clap::Args)]
struct Train {
    #[arg(long)]
    config: Option<String>,
    #[arg(long)]
    model: Option<std::path::PathBuf>,
    #[arg(long, default_value_t = 1000)]
    iters: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value = "q_proj,v_proj")]
    target_modules: String,
    #[arg(long, value_enum, default_value_t = Method::Diablo)]
    method: Method,
    #[arg(long)]
    mask_prompt: bool,
    #[arg(long)]
    blocks: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Method {
    Diablo,
    Lora,
}

/// A folder with `run.toml`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(config: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path(), config).unwrap();
        folder
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("run.toml")
    }

    /// Parses `args` with `CONFIG` standing for `--config` and the file.
    fn parse(&self, args: &str) -> Result<(Train, String)> {
        let mut all = vec![OsString::from("program")];
        for arg in args.split_whitespace() {
            match arg {
                "CONFIG" => all.extend(["--config".into(), self.path().into()]),
                "CONFIG=" => all.push(format!("--config={}", self.path().display()).into()),
                other => all.push(other.into()),
            }
        }
        let args = expand(all, &Program::command())?;
        let matches = Program::command().try_get_matches_from(args).unwrap_or_else(|e| panic!("{e}"));
        let program = Program::from_arg_matches(&matches).unwrap();
        let command = Program::command();
        let (name, of_subcommand) = matches.subcommand().unwrap();
        let effective = effective_toml(of_subcommand, command.find_subcommand(name).unwrap());
        let Commands::Train(mut train) = program.command else { panic!("{program:?}") };
        train.config = None;
        Ok((train, effective))
    }

    fn train(&self, args: &str) -> Train {
        self.parse(args).unwrap().0
    }

    /// The message, without the folder.
    fn error(&self) -> String {
        let error = self.parse("train CONFIG").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message.replace(&self.path().display().to_string(), "run.toml")
    }
}

fn error(config: &str) -> String {
    Folder::new(config).error()
}

fn defaults() -> Train {
    Folder::new("").train("train")
}

#[test]
fn keys_are_flags_and_flags_given_count_more() {
    let folder = Folder::new(
        "# a run\nmodel = 'a b/model'\niters = 1_5\nlearning_rate = 2e-4\ntarget-modules = [\"q_proj\", \"k_proj\"]\n\
         method = \"lora\"\nmask-prompt = true\nblocks = 0x10\n",
    );
    let expected = Train {
        model: Some("a b/model".into()),
        iters: 15,
        learning_rate: 2e-4,
        target_modules: "q_proj,k_proj".into(),
        method: Method::Lora,
        mask_prompt: true,
        blocks: Some(16),
        ..defaults()
    };
    for args in ["train CONFIG", "train CONFIG=", "--json train --json CONFIG", "train CONFIG --mask-prompt"] {
        assert_eq!(folder.train(args), expected, "{args}");
    }
    for args in ["train CONFIG --iters 7 --method=diablo", "train --iters 7 --method diablo CONFIG"] {
        assert_eq!(folder.train(args), Train { iters: 7, method: Method::Diablo, ..folder.train("train CONFIG") });
    }
    assert_eq!(Folder::new("mask_prompt = false").train("train CONFIG"), defaults());
    assert_eq!(Folder::new("\u{feff}seed = 0").train("train CONFIG"), defaults());
}

#[test]
fn a_table_of_the_subcommand_counts_more_than_the_top() {
    let folder = Folder::new("iters = 1\nseed = 2\n[other]\nnonsense = 1\n[train]\niters = 3\nblocks = 4\n");
    assert_eq!(folder.train("train CONFIG"), Train { iters: 3, seed: 2, blocks: Some(4), ..defaults() });
    assert_eq!(error("[train]\n[train.x]\n"), unknown(2, "x"));
    assert_eq!(error("[trian]\n"), unknown(1, "trian"));
}

fn unknown(line: usize, key: &str) -> String {
    format!("run.toml:{line}: unknown key {key:?}; keys are the flags of diablo train, see its --help")
}

#[test]
fn without_a_file_nothing_changes() {
    let command = Program::command();
    for args in [
        "program",
        "program --json",
        "program train --iters 5",
        "program train --config",
        "program other --config x",
        "program nothing --config x",
        "program train -- --config x",
    ] {
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        assert_eq!(expand(args.clone(), &command).unwrap(), args);
    }
    let args = ["program", "train", "--config", "no/such.toml"].map(OsString::from).to_vec();
    let error = expand(args, &command).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: reading failed: "), "{error}");
    let folder = Folder::new("");
    std::fs::write(folder.path(), b"iters = \xff").unwrap();
    assert!(folder.parse("train CONFIG").unwrap_err().to_string().contains("run.toml: reading failed: "));
}

#[test]
fn the_last_file_counts() {
    let folder = Folder::new("iters = 5");
    assert_eq!(folder.train("train --config nowhere CONFIG").iters, 5);
}

#[test]
fn says_which_key_is_wrong() {
    for (config, expected) in [
        (
            "\nitres = 5",
            "run.toml:2: unknown key \"itres\" (did you mean \"iters\"?); keys are the flags of diablo train, see its --help",
        ),
        ("iters = 5\njson = true", &unknown(2, "json")),
        ("help = true", &unknown(1, "help")),
        ("config = 'x'", "run.toml:1: a configuration cannot name another one"),
        ("mask_prompt = true\niters = 1\nmask-prompt = true", "run.toml:3: \"mask-prompt\" stands here twice"),
        ("mask-prompt = 1", "run.toml:1: \"mask-prompt\" is a number, expected true or false"),
        ("iters = true", "run.toml:1: \"iters\" is true or false, expected a number"),
        ("model = false", "run.toml:1: \"model\" is true or false, expected a string"),
        ("model = 1979-05-27", "run.toml:1: \"model\" is a date, expected a string"),
        ("target-modules = [['q_proj']]", "run.toml:1: \"target-modules\" is a list, expected a string"),
        ("iters.x = 5", "run.toml:1: \"iters\" is a table, expected a number"),
        ("iters = 'many'", "run.toml:1: \"iters\": invalid value 'many': invalid digit found in string"),
        ("iters = 1.5", "run.toml:1: \"iters\": invalid value '1.5': invalid digit found in string"),
        ("\n\niters = -1", "run.toml:3: \"iters\": invalid value '-1': invalid digit found in string"),
        ("method = 'lroa'", "run.toml:1: \"method\": invalid value 'lroa' [possible values: diablo, lora]"),
        (
            "[other]\n[train]\nitres = 1",
            "run.toml:3: unknown key \"itres\" (did you mean \"iters\"?); keys are the flags of diablo train, see its --help",
        ),
    ] {
        assert_eq!(error(config), *expected, "{config}");
    }
}

#[test]
fn what_is_not_toml_says_where() {
    for (config, place) in [
        ("iters 5", "1:7"),
        ("iters = 5\nseed =", "2:7"),
        ("{\"iters\": 5}", "1:1"),
        ("iters = 1\niters = 2", "2:1"),
        ("model = 'é' x", "1:13"),
        ("model = \"", "1:10"),
    ] {
        let error = error(config);
        assert!(error.starts_with(&format!("run.toml:{place}: not TOML: ")), "{config}: {error}");
    }
    assert!(error(&format!("model = {}", "[".repeat(100_000))).contains(": not TOML: "));
}

#[test]
fn effective_settings_read_back_to_the_same_run() {
    for args in [
        "train",
        "train --iters 7 --learning-rate 1e-5 --mask-prompt --json",
        "train --learning-rate .5 --model 007 --seed 18446744073709551615",
        "train --learning-rate 5. --model 1e5 --method lora --blocks +3",
        "train --model true --target-modules [] --seed 00012",
        "train --model it's\"\\n\\é --learning-rate NaN --iters 1 --iters 2",
    ] {
        let (train, effective) = Folder::new("").parse(args).unwrap();
        let (again, same) = Folder::new(&effective).parse("train CONFIG").unwrap();
        // NaN is not equal to itself.
        assert_eq!(format!("{again:?}"), format!("{train:?}"), "{args}: {effective}");
        assert_eq!(same, effective);
    }
    let effective = Folder::new("").parse("train --learning-rate 1e-5 --model a --json").unwrap().1;
    let expected = "model = \"a\"\niters = 1000\nlearning-rate = 1e-5\nseed = 0\ntarget-modules = \"q_proj,v_proj\"\n\
                    method = \"diablo\"\nmask-prompt = false\n";
    assert_eq!(effective, expected);
}
