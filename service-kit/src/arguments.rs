//! The command line of a service: `--help`, `--version`, `--settings` and `--metrics`. Other arguments are ignored;
//! settings come from the environment.

use std::fmt::Write as _;

use crate::about::About;
use crate::catalog;
use crate::config::Variable;

/// The argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `--settings`: every setting as JSON, the source of docs/configuration.md.
    Settings,
    /// `--metrics`: every metric as JSON, the source of docs/metrics.md.
    Metrics,
}

impl Asked {
    /// Parses the first argument after the program's name.
    pub(crate) fn of(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        match arguments.nth(1)?.as_str() {
            "--help" | "-h" => Some(Self::Help),
            "--version" | "-V" => Some(Self::Version),
            "--settings" => Some(Self::Settings),
            "--metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    /// The output of the process.
    pub(crate) fn answer(self, about: &About, variables: &[Variable]) -> String {
        match self {
            Self::Help => help(about, variables),
            Self::Version => format!("{} {}", about.name, about.version),
            Self::Settings => serde_json::json!(variables).to_string(),
            Self::Metrics => metrics_as_json(about).to_string(),
        }
    }
}

fn help(about: &About, variables: &[Variable]) -> String {
    let mut text = format!(
        "{} {}\n\nRuns until SIGTERM or SIGINT. Its settings are environment variables.\n\n  \
         --settings     print them as JSON and end\n  \
         --metrics      print what is exported as JSON and end\n  \
         --healthcheck  check the process in this container: exit code 0 if it runs, else 1\n                 \
                        (--healthcheck=ready: 0 if it can serve)\n  \
         --version      print name and version and end\n",
        about.name, about.version
    );
    for variable in variables {
        let default = match (&variable.default, variable.required) {
            (Some(default), _) => format!("default {default}"),
            (None, true) => "required".to_owned(),
            (None, false) => "optional".to_owned(),
        };
        let secret = if variable.secret { ", secret" } else { "" };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "\n{} ({}, {default}{secret})\n    {}\n",
            variable.name, variable.accepts, variable.about
        );
    }
    text.trim_end().to_owned()
}

/// The metrics of a service, grouped by origin.
fn metrics_as_json(about: &About) -> serde_json::Value {
    serde_json::json!({
        "of the process": catalog::to_json(crate::metrics::of_the_process::ALL),
        "of every service": catalog::to_json(crate::metrics::ALL),
        "of its own": catalog::to_json(about.metrics),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    const ABOUT: About =
        About { name: "example", version: "1.2.3", admin_listen: "0.0.0.0:9180", metrics: &[] };

    fn variables() -> Vec<Variable> {
        let mut env = Env::from_pairs([("KEY", "hunter2")]);
        env.about("Opens the door.").optional_secret("KEY");
        env.about("How long it waits.").seconds_or("PAUSE_SECONDS", 5);
        env.variables().to_vec()
    }

    #[test]
    fn only_the_first_argument_asks() {
        let of = |all: &[&str]| Asked::of(all.iter().map(|text| (*text).to_owned()));
        assert_eq!(of(&["example"]), None);
        assert_eq!(of(&["example", "--settings"]), Some(Asked::Settings));
        assert_eq!(of(&["example", "-h"]), Some(Asked::Help));
        assert_eq!(of(&["example", "run", "--help"]), None);
    }

    #[test]
    fn answers_describe_and_never_show_values() {
        let help = Asked::Help.answer(&ABOUT, &variables());
        assert!(
            help.contains("PAUSE_SECONDS (seconds from 1 to 3153600000, default 5)\n    How long it waits."),
            "{help}"
        );
        assert!(help.contains("KEY (text, optional, secret)"), "{help}");
        assert!(help.contains("\n  --healthcheck  check"), "{help}");
        let json = Asked::Settings.answer(&ABOUT, &variables());
        assert!(json.contains(r#""name":"KEY""#) && json.contains(r#""secret":true"#), "{json}");
        assert!(!help.contains("hunter2") && !json.contains("hunter2"));
        assert_eq!(Asked::Version.answer(&ABOUT, &[]), "example 1.2.3");
    }
}
