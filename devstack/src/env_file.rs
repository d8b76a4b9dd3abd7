//! Environment variables as a map, and as a file that a shell can `source` and [`Env::parse`] reads back.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};

use crate::private_file;

/// An ordered set of environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Sets `name`; replaces an earlier value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Like [`Self::set`], in an expression.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Like [`Self::with`], for a path.
    #[must_use]
    pub fn with_path(self, name: &str, path: &Path) -> Self {
        self.with(name, path.display().to_string())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Adds all of `other`; replaces earlier values.
    pub fn extend(&mut self, other: &Env) {
        self.0.extend(other.0.clone());
    }

    /// All names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Lines `export NAME='value'` for a shell.
    pub fn to_text(&self) -> String {
        self.iter()
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
            .collect()
    }

    /// Reads the form of [`Env::to_text`]. Skips empty lines and comments.
    pub fn parse(text: &str) -> Result<Self> {
        let mut env = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts = line
                .strip_prefix("export ")
                .and_then(|rest| rest.strip_suffix('\''))
                .and_then(|rest| rest.split_once("='"));
            let Some((name, value)) = parts else {
                bail!("line {} is not of the form export NAME='value'", index + 1);
            };
            env.set(name, value.replace(r"'\''", "'"));
        }
        Ok(env)
    }

    /// Writes the lines to `file`, which only its owner can read: it contains passwords.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = format!(
            "# Written by `cargo xtask`; valid while it runs. Use: source {}\n{}",
            file.display(),
            self.to_text()
        );
        private_file::write(file, &text).context("cannot write the environment file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let env = Env::default()
            .with("PLAIN", "127.0.0.1:9080")
            .with("EMPTY", "")
            .with("QUOTED", "it's $HOME \"and\" `more` = '");
        assert_eq!(Env::parse(&env.to_text()).unwrap(), env);
    }

    #[test]
    fn a_shell_reads_the_same_values() {
        let value = "it's $HOME \"and\" `more`\\ = '";
        let text = Env::default().with("QUOTED", value).to_text();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{text}\nprintf %s \"$QUOTED\""))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }

    #[test]
    fn foreign_lines_are_refused() {
        assert!(Env::parse("PATH=/bin").is_err());
    }
}
