//! What is known about a setting, apart from its value.

/// What is known about one variable; `docs` are generated from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The default, or `None` where a value is required or the setting is off without one.
    pub default: Option<String>,
    /// True if the process does not start without it.
    pub required: bool,
    /// True if its value must not be printed.
    pub secret: bool,
    /// A value that would be accepted; may be empty.
    pub example: String,
    /// What it is for, in one or two sentences.
    pub about: String,
    /// What its value has to be, with the unit and the limits: `seconds from 1 to 60`.
    pub accepts: String,
    /// The value in use, with credentials taken out.
    pub shown: String,
    /// Older names under which it may still be set.
    pub formerly: Vec<FormerName>,
}

/// What an operator has to know of a setting, for example a part of its value that has no effect. The process logs it
/// once, when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The variable's name.
    pub variable: String,
    /// What it is, without the value.
    pub text: String,
}

/// An older name of a setting. It works for one release beside the new one, with a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerName {
    /// The name.
    pub name: String,
    /// The release that renamed the setting, `0.2.0`.
    pub since: String,
}

impl FormerName {
    /// The release that no longer knows the name: the next minor one.
    pub fn gone_in(&self) -> String {
        let mut parts = self.since.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{major}.{}.0", minor + 1)
    }
}
