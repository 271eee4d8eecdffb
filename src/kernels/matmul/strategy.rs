//! Which code computes a GPU's dense products.

use crate::error::{Error, Result, did_you_mean};
use crate::kernels::Form;
use burn::cubecl::client::Client;
use std::cell::Cell;
use std::sync::OnceLock;

/// What computes a GPU's dense products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Burn's matmul, without its autotuning.
    Burn,
    /// `matmul.wgsl`: register tiles, no barriers.
    Register,
    /// `matmul_tiled.wgsl`: workgroup tiles.
    Tiled,
}

/// What serves real GPUs, until somebody has measured them: `diablo bench` has a row for each strategy at every shape of a
/// layer. It is never told by timing on the spot, since a run that is resumed must add in the same order.
const ON_GPUS: Strategy = Strategy::Burn;

/// The process's own choice, which goes before that of the adapter.
static CHOSEN: OnceLock<Strategy> = OnceLock::new();

thread_local! {
    /// The choice within [`Strategy::serve`], which goes before both.
    static SERVING: Cell<Option<Strategy>> = const { Cell::new(None) };
}

impl Strategy {
    /// All of them, each of which computes on any GPU.
    pub const ALL: [Self; 3] = [Self::Burn, Self::Register, Self::Tiled];
    /// The environment variable that chooses for a process of the native binary, for measuring.
    pub const VARIABLE: &str = "DIABLO_MATMUL";

    /// The strategy for the device behind `client`.
    pub(crate) fn of(client: &Client) -> Self {
        SERVING.get().or_else(|| CHOSEN.get().copied()).unwrap_or_else(|| match Form::of(client) {
            Form::Register => Self::Register,
            Form::Workgroup => ON_GPUS,
        })
    }

    /// Those that may serve a GPU whose kernels have this form, and so must compute what they should: natively each may be
    /// chosen where it suits; in a browser the one that serves is all there is.
    pub fn candidates(form: Form) -> &'static [Self] {
        match form {
            Form::Register => &[Self::Register],
            Form::Workgroup if cfg!(target_family = "wasm") => &[ON_GPUS],
            Form::Workgroup => &[Self::Burn, Self::Tiled],
        }
    }

    /// Its name, as [`Strategy::VARIABLE`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Burn => "burn",
            Self::Register => "register",
            Self::Tiled => "tiled",
        }
    }

    /// Makes the strategy of this name the one of the whole process, on every GPU; the first choice stands.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn choose(name: &str) -> Result<()> {
        let known = Self::ALL.map(Self::name);
        let strategy = Self::ALL.into_iter().find(|strategy| strategy.name() == name).ok_or_else(|| {
            let (variable, hint) = (Self::VARIABLE, did_you_mean(name, known));
            Error::Usage(format!("{variable} is \"{name}\"{hint}; expected one of {}, or unset", known.join(", ")))
        })?;
        CHOSEN.get_or_init(|| strategy);
        Ok(())
    }

    /// Runs `work`, whose products on a GPU are computed in this way as long as this thread asks for them.
    pub fn serve<T>(self, work: impl FnOnce() -> T) -> T {
        /// Gives the choice back, also where `work` panics.
        struct Before(Option<Strategy>);

        impl Drop for Before {
            fn drop(&mut self) {
                SERVING.set(self.0);
            }
        }

        let _before = Before(SERVING.replace(Some(self)));
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cube, gpu, with_form};
    use burn::tensor::Tensor;

    #[test]
    fn the_adapter_chooses_and_what_serves_goes_first() {
        let client = cube(Tensor::<1>::empty([1], &gpu()).into_dispatch()).client;
        let of = || Strategy::of(&client);
        for form in Form::ALL {
            with_form(form, || {
                let chosen = of();
                assert!(Strategy::candidates(form).contains(&chosen), "{form:?}: {chosen:?}");
                Strategy::Tiled.serve(|| {
                    assert_eq!(Strategy::Burn.serve(of), Strategy::Burn);
                    assert_eq!(of(), Strategy::Tiled);
                    std::thread::scope(|scope| assert_eq!(scope.spawn(of).join().expect("a thread"), chosen));
                });
                assert_eq!(of(), chosen);
            });
        }
        std::panic::catch_unwind(|| Strategy::Tiled.serve(|| panic!("a product that fails"))).expect_err("a panic");
        assert_eq!(SERVING.get(), None);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let error = Strategy::choose("tyled").expect_err("no such strategy").to_string();
        assert!(error.contains("DIABLO_MATMUL") && error.contains("did you mean \"tiled\""), "{error}");
        assert!(error.contains("burn, register, tiled"), "{error}");
    }
}
