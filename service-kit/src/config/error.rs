//! The report of all mistakes in the settings. It never contains values, because a value may be a secret.

use std::fmt;

/// One variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable's name.
    pub variable: String,
    /// What is wrong with it.
    pub problem: String,
    /// A value that would be accepted; may be empty.
    pub example: String,
}

/// Every mistake found in the environment. Its text has one line per variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes, in the order in which the variables were read. Never empty.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the settings cannot be used:", self.mistakes.len())?;
        for mistake in &self.mistakes {
            write!(f, "\n  {}: {}", mistake.variable, mistake.problem)?;
            if !mistake.example.is_empty() {
                write!(f, " (example: {}={})", mistake.variable, mistake.example)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
