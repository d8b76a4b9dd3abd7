//! Errors that carry advice, and several mistakes in arguments and variables as one error.

use std::error::Error;

/// An error and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Hinted {
    pub message: String,
    pub hint: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Hinted {
    /// An error without a cause.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), source: None }
    }

    /// The same error with its cause.
    pub fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// Collects mistakes. A command checks all arguments and variables before it connects to anything, so that a mistake
/// neither waits for a server nor hides another one.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<anyhow::Error>);

impl Mistakes {
    /// Records the error of a failed check.
    pub fn note<T>(&mut self, checked: Result<T, impl Into<anyhow::Error>>) {
        if let Err(mistake) = checked {
            self.push(mistake);
        }
    }

    pub fn push(&mut self, mistake: impl Into<anyhow::Error>) {
        self.0.push(mistake.into());
    }

    /// Fails with all recorded mistakes; a single one is the error itself.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if self.0.len() > 1 {
            return Err(Several(self.0).into());
        }
        self.0.pop().map_or(Ok(()), Err)
    }
}

/// Several mistakes at once.
#[derive(Debug, thiserror::Error)]
#[error("{} mistakes in arguments and variables", .0.len())]
pub struct Several(pub Vec<anyhow::Error>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_fail_together() {
        let mut mistakes = Mistakes::default();
        mistakes.note(Ok::<(), anyhow::Error>(()));
        assert!(mistakes.finish().is_ok());

        let mut mistakes = Mistakes::default();
        mistakes.push(anyhow::anyhow!("one"));
        mistakes.note(Err::<(), _>(anyhow::anyhow!("two")));
        let error = mistakes.finish().expect_err("two mistakes");
        let several = error.downcast_ref::<Several>().expect("several");
        assert_eq!(several.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn one_mistake_is_the_error_itself() {
        let mut mistakes = Mistakes::default();
        mistakes.push(anyhow::anyhow!("one"));
        assert_eq!(mistakes.finish().expect_err("a mistake").to_string(), "one");
    }
}
