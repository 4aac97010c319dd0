//! What may be typed after `taskvec-device`.

#[cfg(feature = "serve")]
use std::{net::SocketAddr, num::NonZeroUsize};

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use taskvec_runtime::Provider;

/// Attach skills to a base model on this device, and answer with them.
#[derive(Debug, Parser)]
#[command(name = "taskvec-device", version, arg_required_else_help = true, propagate_version = true)]
pub(crate) struct Arguments {
    /// Print the result as JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The device's folder: its packs and the composition in force
    #[arg(long, global = true, value_name = "FOLDER", default_value = "taskvec-store")]
    pub(crate) store: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a pack, or make it of an update, and put it onto this device; nothing comes into force
    Install(Install),
    /// Remove a pack that is not in force from this device
    Remove(Remove),
    /// List the packs of this device and which are in force
    List,
    /// Show the base, the engines found here, and the composition in force
    Info(OnBase),
    /// Attach a pack, after its probes have passed, and keep it in force from now on
    Attach(Attach),
    /// Detach a skill; the base comes back bit for bit
    Detach(Detach),
    /// Go back to the composition before the committed one
    Rollback,
    /// Remove packs that no kept composition needs, and what was left aside
    Gc,
    /// Look at everything on this device and say what is not as it should be
    Doctor(Doctor),
    /// Answer for images or arrays with the skills in force
    Run(Run),
    /// Serve answers and changes on a Unix socket or on the loopback, until SIGINT or SIGTERM
    #[cfg(feature = "serve")]
    Serve(Serve),
    /// Say whose packs this device attaches: nobody's until a key is pinned
    #[command(subcommand)]
    Trust(Trust),
}

/// The keys that this device has pinned.
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Pin a public key: packs that it has signed are attached from now on
    Add {
        /// The public key, as `taskvec key new` wrote it
        #[arg(value_name = "PUBFILE")]
        key: PathBuf,
    },
    /// List the pinned keys
    List,
    /// Take a pinned key away
    Remove {
        /// Id of the key, or its first digits
        #[arg(value_name = "KEYID")]
        id: String,
    },
    /// Say how many of the pinned keys must have signed a pack
    Threshold {
        /// At least 1, at most as many as are pinned
        #[arg(value_name = "COUNT")]
        count: usize,
    },
}

/// The base model and the engine, for commands that need a session.
#[derive(Debug, Args)]
pub(crate) struct OnBase {
    /// Base bundle
    #[arg(long, value_name = "FOLDER")]
    pub(crate) base: PathBuf,
    /// Which engine infers
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub(crate) engine: EngineName,
    /// Path of the ONNX Runtime library, if it is not where it is looked for
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Execution providers of ONNX Runtime in order of preference, each with a device if it has several (`openvino:NPU`);
    /// the first that proves itself here is used, the CPU's at last
    #[arg(long, value_name = "NAME[:DEVICE]", value_delimiter = ',')]
    pub(crate) provider: Vec<Provider>,
    /// The only way in which weights may reach ONNX Runtime (default: the provider's first that works here); `packed` is a
    /// wish, and the provider's own come after it
    #[arg(long, value_enum)]
    pub(crate) tier: Option<TierName>,
    /// Let packs into force that no pinned key has signed: whoever made them decides what the model answers
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
}

/// Install a pack.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The pack's file, or an update of packs that are installed
    #[arg(value_name = "PACK")]
    pub(crate) pack: PathBuf,
    /// Install it even if too few pinned keys have signed it
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
}

/// Remove a pack.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the skill, or the first digits of its digest
    pub(crate) skill: String,
}

/// Look at everything; with a base also at what a boot would bring into force on it.
#[derive(Debug, Args)]
#[command(mut_arg("base", |base| base.required(false)))]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) on: Option<OnBase>,
}

/// Attach a pack.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[command(flatten)]
    pub(crate) on: OnBase,
    /// The file of a pack or of an update, or the name of an installed pack; with its alpha if it is not the recommended one
    #[arg(value_name = "PACK[@ALPHA]")]
    pub(crate) pack: PackAtAlpha,
}

/// Detach a skill.
#[derive(Debug, Args)]
pub(crate) struct Detach {
    #[command(flatten)]
    pub(crate) on: OnBase,
    /// Name of the skill, or the first digits of its digest
    pub(crate) skill: String,
}

/// Answer for images, or for arrays.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) on: OnBase,
    /// A pack to attach for this run only, instead of the composition in force; may be given several times
    #[arg(long, value_name = "PACK[@ALPHA]")]
    pub(crate) pack: Vec<PackAtAlpha>,
    /// Whose head answers: a skill's name, or a head of the base (default: the first skill's)
    #[arg(long, value_name = "NAME")]
    pub(crate) head: Option<String>,
    /// Data set whose test images are answered and counted
    #[arg(long, value_name = "FOLDER", conflicts_with = "images", required_unless_present_any = ["images", "inputs"])]
    pub(crate) data: Option<PathBuf>,
    /// Arrays to answer for, where the base takes no pictures: a safetensors file with a tensor for each input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "data", "head"], requires = "outputs")]
    pub(crate) inputs: Option<PathBuf>,
    /// Where the answers to arrays are written: a safetensors file with a tensor for each output
    #[arg(long, value_name = "FILE", requires = "inputs")]
    pub(crate) outputs: Option<PathBuf>,
    /// Images to answer for (PNG or JPEG)
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
}

/// Serve over HTTP/1.1.
#[cfg(feature = "serve")]
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) on: OnBase,
    #[command(flatten)]
    pub(crate) door: Door,
    /// File with a token that every request must carry (`Authorization: Bearer TOKEN`); only its owner may read it
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Inferences at once (default: the cores of this machine)
    #[arg(long, value_name = "COUNT")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Inferences that may wait for a worker; one more is answered 503
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub(crate) queue: usize,
    /// Images of one request
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroUsize::new(16).expect("16 is not 0"))]
    pub(crate) images_max: NonZeroUsize,
    /// Bytes of one request's body; all bodies together may have four times as many
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub(crate) body_bytes_max: u32,
    /// Connections at once; one more waits
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroUsize::new(256).expect("256 is not 0"))]
    pub(crate) connections_max: NonZeroUsize,
    /// Compositions at once, with `default`
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroUsize::new(8).expect("8 is not 0"))]
    pub(crate) compositions_max: NonZeroUsize,
    /// Seconds that a client may take for a head, for a body, and to take its answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) patience: u64,
}

/// Where clients knock.
#[cfg(feature = "serve")]
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Door {
    /// Unix socket to serve on; only this user may open it
    #[cfg(unix)]
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,
    /// Loopback address to serve on, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<SocketAddr>,
}

/// The engine behind a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// ONNX Runtime if its library is found, else burn
    Auto,
    /// ONNX Runtime
    Ort,
    /// burn on the CPU: pure Rust, always there
    Burn,
}

/// How weights reach ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierName {
    /// As inputs that take precedence over the base's values
    Inputs,
    /// As inputs without the base's values behind them
    BareInputs,
    /// As constants of a session that is made for each composition
    Rebuild,
    /// As constants that are packed once, kept in the store (up to twice the base's size), and changed in their packed form
    Packed,
}

/// `FILE` or `FILE@ALPHA`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackAtAlpha {
    pub(crate) path: PathBuf,
    /// The pack's recommended alpha when none was typed.
    pub(crate) alpha: Option<f32>,
}

impl FromStr for PackAtAlpha {
    type Err = String;

    /// The text after the last `@` is an alpha when it is a number; one that is not finite is refused.
    fn from_str(text: &str) -> Result<Self, String> {
        let typed = text.rsplit_once('@').and_then(|(path, alpha)| Some((path, alpha.parse::<f32>().ok()?)));
        match typed {
            Some((path, alpha)) if alpha.is_finite() => Ok(Self { path: path.into(), alpha: Some(alpha) }),
            Some((_, alpha)) => Err(format!(
                "alpha is {alpha}, expected a finite number\nhelp: give one such as 1 or -0.5, or none for the pack's own"
            )),
            None => Ok(Self { path: text.into(), alpha: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_doctor_needs_a_base_only_for_what_needs_one() {
        let on = |words: &[&str]| match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
            Ok(Command::Doctor(Doctor { on })) => Ok(on.is_some()),
            _ => Err(()),
        };
        assert_eq!(on(&["taskvec-device", "doctor"]), Ok(false));
        assert_eq!(on(&["taskvec-device", "doctor", "--base", "here", "--engine", "burn"]), Ok(true));
        assert_eq!(on(&["taskvec-device", "doctor", "--engine", "burn"]), Err(()));
    }

    #[test]
    fn an_alpha_that_is_no_number_is_refused() {
        assert!("a.tvp@NaN".parse::<PackAtAlpha>().is_err());
        assert_eq!("a.tvp@2".parse(), Ok(PackAtAlpha { path: "a.tvp".into(), alpha: Some(2.0) }));
    }
}
