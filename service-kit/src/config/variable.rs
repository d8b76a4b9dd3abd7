//! What is known about a setting, apart from its value.

use serde::Serialize;

/// The description of one variable, as docs/configuration.md shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Name of the environment variable.
    pub name: String,
    /// The default; `None` if a value is required or the setting is off without one.
    pub default: Option<String>,
    /// True if the process does not start without a value.
    pub required: bool,
    /// True if its value must not be printed.
    pub secret: bool,
    /// A value that would be accepted; may be empty.
    pub example: String,
    /// Its effect, in one or two sentences.
    pub about: String,
    /// The form of its value, with unit and limits: `seconds from 1 to 60`.
    pub accepts: String,
    /// The value in use, with credentials taken out.
    #[serde(skip)]
    pub shown: String,
    /// Older names under which it may still be set.
    pub formerly: Vec<FormerName>,
}

/// A warning about a setting, for example that a part of its value has no effect. The process logs it once, when it
/// starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Name of the environment variable.
    pub variable: String,
    /// The warning, without the value.
    pub text: String,
}

/// An older name of a setting. It works for one release in addition to the new one, with a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormerName {
    /// The older name.
    pub name: String,
    /// The release that renamed the setting, `0.2.0`.
    pub since: String,
    /// The release that no longer knows the name: the next minor one.
    pub gone_in: String,
}

impl FormerName {
    pub(super) fn new(name: &str, since: &str) -> Self {
        let mut parts = since.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let gone_in = format!("{major}.{}.0", minor + 1);
        Self { name: name.to_owned(), since: since.to_owned(), gone_in }
    }
}
