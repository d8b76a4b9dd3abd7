//! Settings from environment variables.
//!
//! A getter never fails: it records the mistake and returns a placeholder (the default, or an empty text).
//! [`Env::finish`] reports all mistakes together.

mod env;
mod error;
mod secret;
mod variable;

pub use env::Env;
pub use error::{ConfigError, Mistake};
pub(crate) use secret::{PLAIN_PARAMETERS, without_credentials};
pub use secret::{Secret, redact_url};
pub use variable::{FormerName, Remark, Variable};

/// Declares a struct of settings and the function that reads them, in this order. The doc comment of a setting is its
/// description in `--help` and docs/configuration.md.
///
/// ```
/// service_kit::declare_settings! {
///     /// Settings of a queue.
///     pub struct Settings;
///     /// Reads them; `size` is the default of `QUEUE_SIZE`.
///     pub fn read(env, size: usize);
///
///     /// Maximum number of waiting calls.
///     size: usize = env.number_or("QUEUE_SIZE", size, 1..=1_000);
///     /// Timeout of a waiting call.
///     timeout: std::time::Duration = env.seconds_or("QUEUE_TIMEOUT_SECONDS", 5);
/// }
/// let mut env = service_kit::Env::from_pairs([("QUEUE_SIZE", "7")]);
/// assert_eq!(Settings::read(&mut env, 3).size, 7);
/// assert_eq!(env.variables()[1].about, "Timeout of a waiting call.");
/// ```
#[macro_export]
macro_rules! declare_settings {
    (
        $(#[doc = $of_all:literal])+
        pub struct $name:ident;
        $(#[doc = $how:literal])+
        $visibility:vis fn $read:ident($env:ident $(, $argument:ident: $type:ty)*);

        $($(#[doc = $about:literal])+ $setting:ident: $of:ty = $value:expr;)+
    ) => {
        $(#[doc = $of_all])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $about])+ pub $setting: $of,)+
        }

        impl $name {
            $(#[doc = $how])+
            $visibility fn $read($env: &mut $crate::config::Env $(, $argument: $type)*) -> Self {
                $(
                    $env.about(&$crate::config::one_line(&[$($about),+]));
                    let $setting: $of = $value;
                )+
                // The last of them may be no variable.
                $env.about("");
                Self { $($setting),+ }
            }
        }
    };
}

/// The text of a doc comment, given its lines.
pub fn one_line(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
